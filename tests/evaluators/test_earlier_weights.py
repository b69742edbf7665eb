"""Weights that earlier versions stored open, and give the answers that they gave."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from upgrade_assets.networks import CANDIDATES, CLASSES, NAMED, SHAPE, answers

from paredown.evaluators.build import DECIDED, build, rebuild
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.spaces.earlier_names import present_name, present_names_in, present_state
from paredown.spaces.families.catalogue import FAMILIES

KEPT = sorted((Path(__file__).parents[1] / "upgrade_assets").glob("weights_*"))
WEIGHTS = [pytest.param(folder, name, id=f"{folder.name}-{name}") for folder in KEPT for name in CANDIDATES]
NAMES = [pytest.param(folder, name, id=f"{folder.name}-{name}") for folder in KEPT for name in NAMED]


@pytest.mark.parametrize(("folder", "name"), WEIGHTS)
def test_a_network_of_an_earlier_version_gives_its_answers(folder: Path, name: str) -> None:
    task = load_task(TaskSpec("digits", "{}", Path()))
    network, shape = rebuild(CANDIDATES[name], task, folder / f"{name}.safetensors")
    assert (shape, len(task.classes)) == (SHAPE, CLASSES)
    expected = torch.tensor(json.loads((folder / "logits.json").read_text())[name])
    torch.testing.assert_close(answers(network), expected)


@pytest.mark.parametrize(("folder", "name"), NAMES)
def test_each_parameter_has_one_name_now_and_the_name_in_a_supernet_that_it_had(folder: Path, name: str) -> None:
    candidate, shared_names = NAMED[name], FAMILIES[NAMED[name].family].shared_names
    network = build(candidate, SHAPE, CLASSES)
    kept = json.loads((folder / "names.json").read_text())[name]
    now = {earlier: present_name(network, earlier) for earlier in kept}
    assert list(now.values()) == [parameter for parameter, _ in network.named_parameters()]
    for earlier, shared in kept.items():
        assert (shared_names(candidate.knobs, now[earlier]) if shared_names else "") == shared


@pytest.mark.parametrize("name", [*CANDIDATES, *NAMED])
def test_present_names_are_left_alone(name: str) -> None:
    network = build((CANDIDATES | NAMED)[name], SHAPE, CLASSES)
    for module, _ in network.named_modules():
        assert present_name(network, module) == module
    state = network.state_dict()
    assert list(present_state(network, state)) == list(state)


def test_what_names_no_layer_is_left_alone() -> None:
    network = build(CANDIDATES["mbconv"], SHAPE, CLASSES)
    decided = {"low_rank": {"ranks": {"0": [2], "99.body.0": [3]}}, "layer_pruning": {"removed": ["4.body.6", "x"]}}
    assert present_names_in(network, decided) == {
        "low_rank": {"ranks": {"stem.conv": [2], "99.body.0": [3]}},
        "layer_pruning": {"removed": ["stages.1.0.squeeze_excite", "x"]},
    }


def test_the_kept_weights_are_under_earlier_names() -> None:
    with safe_open(KEPT[0] / "mbconv_pruned_low_rank.safetensors", framework="pt") as file:
        assert {"0.0.weight", "3.body.0.0.weight", "11.1.bias"} <= set(file.keys())
        assert "4.body.6.expand" in json.loads(file.metadata()[DECIDED])["low_rank"]["ranks"]
