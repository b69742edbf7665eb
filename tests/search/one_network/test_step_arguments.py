"""Steps as people write them, and networks as they name them."""

from pathlib import Path
from typing import Any

import pytest

from paredown.evaluators.build import build
from paredown.search.errors import ConfigError
from paredown.search.one_network.compress import check_out
from paredown.search.one_network.setup import set_up_single
from paredown.search.one_network.step_arguments import check_steps, compressed, read_steps
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Choice, Range


def test_every_step_can_be_written() -> None:
    for name, step in STEPS.items():
        knobs = {k: knob.highest if k == step.switch else knob.lowest for k, knob in step.knobs.items()}
        text = f"{name}:" + ",".join(f"{k}={value}" for k, value in knobs.items())
        assert read_steps([text]) == {name: knobs}


def test_values_have_the_knobs_type_and_may_lie_between_what_a_search_tries() -> None:
    steps = read_steps(
        ["channel_pruning:ratio=0.4", "quantization:weights=INT8", "distillation:weight=0.6,temperature=2"]
    )
    assert steps["channel_pruning"] == {"ratio": 0.4}
    assert steps["quantization"] == {"weights": "int8"}
    assert steps["distillation"] == {"weight": 0.6, "temperature": 2}
    assert isinstance(steps["distillation"]["temperature"], int)
    assert read_steps([]) == {}


def test_a_text_may_hold_commas() -> None:
    assert read_steps(["early_exit:exits=2,after=layer1,layer2#2,head=linear"]) == {
        "early_exit": {"exits": 2, "after": "layer1,layer2#2", "head": "linear"}
    }
    with pytest.raises(ConfigError, match="'layer1' is not of the form KNOB=VALUE; knobs: exits"):
        read_steps(["early_exit:exits=2,layer1"])


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("magic", "'magic' does not exist; allowed: early_exit, distillation"),
        ("magic:ratio=0.5", "'magic' does not exist; allowed: early_exit, distillation"),
        ("channel_pruning", "needs ratio; allowed: 0.0 to 0.75"),
        ("channel_pruning:0.5", "'0.5' is not of the form KNOB=VALUE; knobs: ratio"),
        ("channel_pruning:ratoi=0.5", "'ratoi' is no knob; knobs: ratio"),
        ("channel_pruning:ratio=1.0", "ratio: 1.0 is not allowed; allowed: 0.0 to 0.75"),
        ("channel_pruning:ratio=-0.1", "ratio: -0.1 is not allowed"),
        ("channel_pruning:ratio=nan", "ratio: nan is not allowed"),
        ("channel_pruning:ratio=half", "ratio: 'half' is not allowed"),
        ("channel_pruning:ratio=0.5,ratio=0.6", "ratio is named twice"),
        ("channel_pruning:ratio=", "ratio: '' is not allowed"),
        ("quantization:weights=int9", "weights: 'int9' is not allowed; allowed: one of fp32, fp16"),
        ("distillation:temperature=2", "needs weight"),
        ("distillation:weight=0.3,temperature=3", "temperature: '3' is not allowed; allowed: one of 1, 2, 4"),
    ],
)
def test_what_is_wrong_with_a_step_is_named(text: str, holds: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_steps([text])
    assert str(refused.value).startswith(f"step {text.partition(':')[0]}")
    assert holds in str(refused.value)


def test_programs_are_told_the_same() -> None:
    with pytest.raises(ConfigError, match=r"^step channel_pruning: ratio: 1.0 is not allowed"):
        check_steps({"channel_pruning": {"ratio": 1.0}})
    with pytest.raises(ConfigError, match="named twice"):
        read_steps(["low_rank:ratio=0.5", "low_rank:ratio=0.25"])


def test_a_knob_without_effect_is_refused_with_what_it_needs(tmp_path: Path) -> None:
    space = set_up_single("resnet20", "digits", tmp_path).space
    with pytest.raises(
        ConfigError, match=r"^step quantization: aware=True has no effect here: only with weights=int8 or"
    ):
        compressed(space, {"quantization": {"weights": "fp16", "aware": True}})
    with pytest.raises(ConfigError, match=r"early=0.5 has no effect here: only with scope=stage$"):
        compressed(space, {"channel_pruning": {"ratio": 0.5, "early": 0.5}})


def test_what_does_not_go_together_is_left_to_the_step(tmp_path: Path) -> None:
    space = set_up_single("resnet20", "digits", tmp_path).space
    candidate = compressed(space, {"early_exit": {"exits": 1, "rule": "patience"}})
    assert (candidate.steps["early_exit"]["exits"], candidate.steps["early_exit"]["rule"]) == (1, "patience")
    with pytest.raises(InfeasibleCandidate, match="'patience' with 1 exit never leaves early"):
        build(candidate, (1, 32, 32), 10)


def test_a_step_that_is_off_is_no_part_of_the_candidate(tmp_path: Path) -> None:
    space = set_up_single("resnet20", "digits", tmp_path).space
    assert compressed(space, {"channel_pruning": {"ratio": 0.0}}) == space.baseline
    both = compressed(space, {"low_rank": {"ratio": 0.3}, "channel_pruning": {"ratio": 0.4}})
    assert both.steps == {
        "channel_pruning": {"ratio": 0.4} | both.steps["channel_pruning"],
        "low_rank": both.steps["low_rank"],
    }
    assert list(both.steps) == ["channel_pruning", "low_rank"]
    assert both.knobs == space.baseline.knobs


@pytest.mark.parametrize(
    ("model", "family", "knobs"),
    [
        ("resnet20", "resnet", {"blocks": 3, "resolution": 32}),
        ("efficientnet_b0", "efficientnet", {"scaling": "free", "resolution": 32, "stem": "small"}),
        ("mbconv", "mbconv", {"scaling": "compound"}),
    ],
)
def test_a_network_is_named(tmp_path: Path, model: str, family: str, knobs: dict[str, Any]) -> None:
    setup = set_up_single(model, "digits", tmp_path, seed=3, training={"epochs": 2})
    baseline = setup.space.baseline
    assert baseline.family == family
    assert {name: baseline.knobs[name] for name in knobs} == knobs
    assert (setup.plan.training.epochs, setup.plan.training.seed) == (2, 3)
    for name, value in baseline.knobs.items():
        knob = setup.space.knobs[f"{family}.{name}"]
        assert isinstance(knob, Choice | Range)
        assert value in knob


@pytest.mark.parametrize(
    ("model", "task", "more", "says"),
    [
        ("resnet21", "digits", {}, "model: 'resnet21' is no named network; allowed: .*resnet20.*or a family: mbconv"),
        ("imported", "digits", {}, "model: 'imported' is no named network"),
        ("gone:net", "digits", {}, "command line: model: cannot import 'gone'"),
        ("resnet20", "letters", {}, "task: 'letters' does not exist; allowed: digits"),
        ("resnet20", "digits:9", {}, "takes a mapping"),
        ("resnet20", "image_folder:gone", {}, "task.image_folder.path: no folder"),
        ("resnet20", "digits", {"resolution": 9}, "resolution: 9 is not allowed; allowed: 8 to 32 in steps of 4"),
        ("mbconv", "digits", {"resolution": 8}, "resolution: mbconv takes 32 px by its scaling"),
        ("resnet20", "digits", {"weights": "w.pt"}, "weights: only for a model given as package.module:function"),
        ("resnet20", "digits", {"training": {"epochs": 0}}, "training.epochs: 0 is not allowed"),
        ("resnet20", "digits", {"training": {"epochs": -1}}, "command line: training.epochs: .*got -1"),
        ("resnet20", "digits", {"seed": -1}, "command line: seed: .*got -1"),
    ],
)
def test_what_is_wrong_with_a_network_is_named(
    tmp_path: Path, model: str, task: str, more: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        set_up_single(model, task, tmp_path, **more)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="exists and is no exported model"):
        check_out(tmp_path)
    with pytest.raises(ConfigError, match="exists and is no exported model"):
        check_out(tmp_path / "thesis.tex")
    with pytest.raises(ConfigError, match=r"thesis\.tex/a/out cannot be written: .*thesis\.tex is a file"):
        check_out(tmp_path / "thesis.tex" / "a" / "out")
    (tmp_path / "empty").mkdir()
    for fine in ("empty", "new"):
        check_out(tmp_path / fine)
    (tmp_path / "manifest.json").write_text("{}")
    check_out(tmp_path)
