"""The JSON schema that editors are given: it takes what a study takes and refuses what a study refuses."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from paredown.search.cli.app import app, main
from paredown.search.errors import ConfigError
from paredown.search.study_file.json_schema import attribute_docs, study_schema
from paredown.search.study_file.schema import checked_config
from paredown.search.study_file.setup import set_up

ROOT = Path(__file__).parents[3]
EXAMPLES = [file for file in sorted((ROOT / "examples").glob("*.yaml")) if "\nstudy:" in file.read_text()]
BASIC = {"study": "s", "task": "digits", "objectives": ["accuracy", "size_bytes"]}


class Yaml12(yaml.SafeLoader):
    """YAML as editors read it: 6e-3 is a number and off a text."""


Yaml12.yaml_implicit_resolvers = {
    first: [(tag, known) for tag, known in resolvers if not tag.endswith((":float", ":bool"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))  # type: ignore[no-untyped-call]
Yaml12.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.\d+|\d+\.\d*|\d+(?=[eE]))(?:[eE][-+]?\d+)?$"),
    list("-+.0123456789"),
)


@functools.cache
def validator() -> Any:
    schema = study_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def is_taken_by_a_study(data: dict[str, Any]) -> bool:
    try:
        set_up(checked_config(data, "study.yaml", {}), "study.yaml", ROOT, ROOT / "nothing-is-written")
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_keep_the_schema(file: Path) -> None:
    validator().validate(yaml.load(file.read_text(), Yaml12))
    assert len(EXAMPLES) > 3


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"task": {"digits": {"seed": 3}}},
        {"limits": {"size_bytes": "60k", "accuracy": 0.9, "macs": "1.5M"}},
        {"timeout": "8h", "trial_timeout": 90, "workers": "auto"},
        {"training": {"cache_size": "500MB", "epochs": 3}},
        {"training": {"cache_size": "off"}},
        {"training": {"cache": "2GiB"}, "polish": 3, "max_stall": 4, "halving": {"first": 2}},
        {"halving": {"min_epochs": 2, "factor": 3}, "patience_trials": 7, "local_search_trials": 2},
        {"sampler": "optuna.samplers:RandomSampler", "seed": 7},
        {"space": {"families": ["resnet", "mbconv"], "steps": ["early_exit"]}},
        {"space": {"knobs": {"mbconv.width": [0.5, 0.75, 2.0], "mbconv.kernel": 3, "mbconv.expansion": [2, 4]}}},
        {"space": {"knobs": {"mbconv.width": {"low": 0.5, "high": 1.0}, "mbconv.squeeze_excite": None}}},
        {"space": {"knobs": {"mbconv.scaling": "free", "mbconv.resolution": 16}, "baseline": {"mbconv.depth": 1.0}}},
        {"space": {"steps": ["early_exit"], "knobs": {"early_exit.after": ["", "1", 2], "early_exit.exits": [0, 1]}}},
    ],
    ids=str,
)
def test_what_a_study_takes_it_takes(keys: dict[str, Any]) -> None:
    assert is_taken_by_a_study(BASIC | keys)
    validator().validate(BASIC | keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"study": "s/../t"},
        {"trails": 3},
        {"trials": 0},
        {"task": "letters"},
        {"task": {"digits": {"sed": 1}}},
        {"objectives": ["accuracy"]},
        {"objectives": ["accuracy", "accurcy"]},
        {"objectives": ["accuracy", "accuracy"]},
        {"limits": {"size_bytes": "few"}},
        {"limits": {"weight": 1}},
        {"timeout": "8x"},
        {"timeout": -5},
        {"training": {"epoch": 3}},
        {"training": {"mode": "inherited"}},
        {"training": {"cache_size": "much"}},
        {"training": {"cache_size": 1, "cache": 1}},
        {"halving": {}},
        {"halving": {"first": 1, "min_epochs": 1}},
        {"halving": {"min_epochs": 0}},
        {"polish": 1, "local_search_trials": 1},
        {"sampler": 3},
        {"workers": 0},
        {"workers": "many"},
        {"space": {"families": ["vgg"]}},
        {"space": {"steps": ["magic"]}},
        {"space": {"knobs": {"mbconv.witdh": 1.0}}},
        {"space": {"knobs": {"mbconv.width": 99}}},
        {"space": {"knobs": {"mbconv.width": [0.5, 99]}}},
        {"space": {"knobs": {"mbconv.width": []}}},
        {"space": {"knobs": {"mbconv.width": "wide"}}},
        {"space": {"knobs": {"mbconv.width": {"low": 0.5, "hihg": 1.0}}}},
        {"space": {"knobs": {"mbconv.activation": "tanh"}}},
        {"space": {"baseline": {"mbconv.width": 9}}},
    ],
    ids=str,
)
def test_what_a_study_refuses_it_refuses(keys: dict[str, Any]) -> None:
    assert not is_taken_by_a_study(BASIC | keys)
    assert not validator().is_valid(BASIC | keys)


def test_every_key_is_described_and_no_earlier_name_is_proposed() -> None:
    schema = validator().schema
    parts = {"study": schema, **schema["$defs"]}
    keys = {f"{part}.{key}": value for part, one in parts.items() for key, value in one["properties"].items()}
    assert [key for key, value in keys.items() if not value.get("description")] == []
    deprecated = {key.partition(".")[2] for key, value in keys.items() if value.get("deprecated")}
    assert deprecated == {"polish", "max_stall", "first", "cache"}


def test_descriptions_are_those_of_the_docstrings() -> None:
    class Described:
        """One.

        Attributes:
            first: A line
                and another: with a colon.
            second: The last.

        Further words: not an attribute.
        """

    assert attribute_docs(Described) == {"first": "A line and another: with a colon.", "second": "The last."}
    assert attribute_docs(int) == {}


def test_the_command_prints_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for arguments in ([], ["-o", str(tmp_path / "new/study.schema.json")]):
        with pytest.raises(SystemExit) as left:
            main(lambda arguments=arguments: app(["schema", *arguments]))  # type: ignore[misc]
        assert left.value.code == 0
        printed.append(capsys.readouterr().out)
    assert json.loads(printed[0]) == json.loads((tmp_path / "new/study.schema.json").read_text()) == study_schema()
    assert printed[1].startswith("schema  ")
