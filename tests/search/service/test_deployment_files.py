"""The compose file and the Dockerfile as files: nothing here can build an image."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from paredown.search.cli.app import app

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "examples" / "service"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text())
DOCKERFILE = (FOLDER / "Dockerfile").read_text().replace("\\\n", "")


@pytest.mark.parametrize("name", ["server", "worker"])
def test_services_run_commands_that_exist(name: str) -> None:
    program, command, *arguments = shlex.split(COMPOSE["services"][name]["command"])
    known = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert program == "paredown"
    assert {one for one in arguments if one.startswith("--")} <= options


def test_compose_builds_the_image_that_its_services_run() -> None:
    build = COMPOSE["services"]["server"]["build"]
    context = (FOLDER / build["context"]).resolve()
    assert context == ROOT
    assert context / build["dockerfile"] == FOLDER / "Dockerfile"
    assert COMPOSE["services"]["server"]["image"] == COMPOSE["services"]["worker"]["image"]


def test_the_image_holds_the_package_with_its_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    copied = [source for line in re.findall(r"^COPY (.*) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()]
    links = [link.resolve().name for link in (ROOT / "paredown").iterdir() if link.is_symlink()]
    assert {"pyproject.toml", project["project"]["readme"], "paredown", *links} == set(copied)
    extras = re.search(r"/source\[(.*?)\]", DOCKERFILE)
    assert extras is not None
    assert {"service", "postgres"} == set(extras[1].split(",")) <= project["project"]["optional-dependencies"].keys()
    assert re.search(r"^USER paredown$", DOCKERFILE, re.MULTILINE), "it does not run as root"
