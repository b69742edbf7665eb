"""How the source is laid out, and what a wheel of it holds."""

import ast
import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("spaces", "evaluators", "studies", "search")
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EMPTY_NAMES = {"utils", "util", "helpers", "common", "core", "base", "manager", "handler", "misc"}


def named(file: Path) -> str:
    return str(file.relative_to(ROOT))


def length(file: Path) -> int:
    return len(file.read_text().splitlines())


def holds_only_a_docstring(file: Path) -> bool:
    body = ast.parse(file.read_text()).body
    return len(body) == 1 and ast.get_docstring(ast.Module(body, [])) is not None


def test_files_are_short() -> None:
    limits = [*((file, 300) for file in SOURCES), *((file, 500) for file in TESTS)]
    assert [f"{named(file)}: {length(file)}" for file, most in limits if length(file) > most] == []


def test_a_source_file_is_named_for_its_idea() -> None:
    assert [named(file) for file in SOURCES if EMPTY_NAMES & set(file.stem.split("_"))] == [], "names that say nothing"


def test_a_package_file_holds_only_a_docstring() -> None:
    packages = [file for file in SOURCES if file.name == "__init__.py"]
    assert len(packages) >= len(PACKAGES)
    assert [named(file) for file in packages if not holds_only_a_docstring(file)] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_come_from_this_repository(package: str) -> None:
    module = importlib.import_module(f"paredown.{package}")
    assert module.__file__ is not None
    assert Path(module.__file__).resolve().is_relative_to(ROOT / package)
    assert package not in sys.modules, "the bare name was imported: a second copy"


def test_the_default_study_is_the_example() -> None:
    assert (ROOT / "search/study_file/default.yaml").read_text() == (ROOT / "examples/digits.yaml").read_text()


@pytest.mark.slow
def test_a_wheel_holds_all_and_imports_beside_other_packages(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    source.mkdir()
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not tracked:
        pytest.skip("no git checkout")
    copy = ["tar", "-cf", str(tmp_path / "s.tar"), "--null", "--ignore-failed-read", "-T", "-"]
    subprocess.run(copy, cwd=ROOT, input=tracked, text=True, check=True, stderr=subprocess.DEVNULL)
    subprocess.run(["tar", "-xf", str(tmp_path / "s.tar"), "-C", str(source)], check=True)
    build = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    built = subprocess.run(build, cwd=source, capture_output=True, text=True, timeout=280, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    rooms = ("spaces/", "evaluators/", "studies/", "search/")
    wanted = {"paredown/py.typed", "paredown/__main__.py"}
    wanted |= {f"paredown/{name}" for name in tracked.split("\0") if name.startswith(rooms)}
    assert len(wanted) > 500
    assert wanted <= names, wanted - names
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"paredown"}

    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    (elsewhere / "spaces").mkdir(parents=True)
    (elsewhere / "spaces/__init__.py").write_text("HIS = 1\n")
    program = (
        "import spaces, paredown.spaces.candidate as ours, paredown.search.cli.app\n"
        "assert spaces.HIS == 1\n"
        f"assert ours.__file__.startswith({str(site)!r}), ours.__file__\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=elsewhere,
        env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
