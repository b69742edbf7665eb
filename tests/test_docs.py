"""The docs against the repository: links, anchors, files, commands and `--step` lines that they name."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.search.cli.app import app
from paredown.search.drivers.catalogue import DRIVERS
from paredown.search.one_network.step_arguments import read_steps
from paredown.search.study_file.schema import SECTIONS, StudyConfig
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.families.catalogue import FAMILIES

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
FOLDERS = "spaces|evaluators|studies|search|tests|benchmarks|examples|docs|paredown"
FILE = re.compile(rf"`(?:\.venv/bin/python |python )?((?:{FOLDERS})/[\w./-]*[\w/])[^`]*`")
STEP = re.compile(r"--step ([\w:.,=]+)")


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"`", "", heading)).strip().lower().replace(" ", "-") for heading in headings
    }


def commands() -> list[str]:
    """Return every command as users type it, such as `bench samplers`."""
    named = [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
    for group in app.registered_groups:
        assert group.typer_instance is not None
        if group.typer_instance.info.invoke_without_command is True:
            named.append(str(group.name))
        inside = group.typer_instance.registered_commands
        named += [f"{group.name} {c.name or getattr(c.callback, '__name__', '')}" for c in inside]
    return named


def whole(pages: list[Path]) -> str:
    return "\n".join(page.read_text() for page in pages)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
class TestEveryPage:
    def test_its_relative_links_lead_somewhere(self, page: Path) -> None:
        broken = []
        for link in LINK.findall(FENCE.sub("", page.read_text())):
            if re.match(r"[a-z]+:", link):
                continue
            path, _, anchor = link.partition("#")
            target = (page.parent / path).resolve() if path else page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(link)
        assert broken == []

    def test_its_steps_are_what_the_command_takes(self, page: Path) -> None:
        for text in STEP.findall(page.read_text()):
            read_steps([text])

    def test_its_yaml_can_be_read(self, page: Path) -> None:
        for block in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
            yaml.safe_load(block)


def test_the_files_that_pages_name_exist() -> None:
    """Decisions are left out: each tells of its time."""
    named = set(FILE.findall(whole([page for page in PAGES if "decisions" not in page.parts])))
    assert {"search/trial/run_trial.py", "examples/my_model.yaml"} <= named
    assert sorted(file for file in named if "NAME" not in file and not (ROOT / file).exists()) == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = [page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md"]
    assert [name for name in pages if f"({name})" not in index] == []
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()


def test_the_index_names_every_command_and_no_other() -> None:
    known = commands()
    assert len(known) >= 15
    index = (ROOT / "docs/index.md").read_text()
    assert [name for name in known if f"`paredown {name}`" not in index] == []
    for line in re.findall(r"^(?:\$ )?paredown (.*)$", whole(PAGES), re.MULTILINE):
        words = shlex.split(line, comments=True)
        assert words[0].startswith("--") or words[0] in {name.split()[0] for name in known}, line


def test_every_json_document_is_described() -> None:
    from typer.main import get_command

    page = (ROOT / "docs/json.md").read_text()
    root = get_command(app)
    found = []
    for name in commands():
        command = root
        for word in name.split():
            command = command.commands[word]  # type: ignore[attr-defined]
        if any("--json" in option.opts for option in command.params):
            found.append(name)
    assert {"front", "studies"} <= set(found)
    assert [name for name in found if f"## paredown {name}\n" not in page] == []


def test_the_guide_has_every_key_metric_and_driver() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    keys = [key for section in (StudyConfig, *SECTIONS.values()) for key in section.model_fields]
    names = [*keys, *known_metrics(), *DRIVERS]
    assert [name for name in names if not re.search(rf"`(?:[a-z]+\.)?{name}[`:]|`{name}: ", guide)] == []


def test_every_method_and_family_has_its_section() -> None:
    compression, architectures = ((ROOT / "docs" / name).read_text() for name in ("compression.md", "architectures.md"))
    sections = re.findall(r"^## (\w+)$", compression, re.MULTILINE)
    assert [name for name in sections if name in STEPS] == list(STEPS), "in the order in which they are applied"
    for name, step in STEPS.items():
        section = compression.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        knobs = section if name != "early_exit" else (ROOT / "docs/early_exits.md").read_text()
        assert [knob for knob in step.knobs if f"`{knob}`" not in knobs and f".{knob}`" not in knobs] == [], name
        assert f"--step {name}:" in section
    assert [name for name in FAMILIES if f"**`{name}`**" not in architectures] == []
