"""Study files: what is wrong is said with file and key, before anything is written."""

import itertools
from pathlib import Path

import pytest
import toy_trials
from PIL import Image

from paredown.evaluators.build import build
from paredown.search.errors import ConfigError
from paredown.search.run import search
from paredown.search.study_file import quantity
from paredown.search.study_file.feasibility import probe
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import set_up
from paredown.spaces.candidate import Candidate
from paredown.spaces.errors import InfeasibleCandidate
from paredown.studies.study import Study

GOOD = """
study: s
task: digits
objectives: [accuracy, size_bytes]
space:
  knobs: {mbconv.width: 0.5, mbconv.depth: 1.0}
"""
ROOT = Path(__file__).parents[3]


def begin(file: Path) -> None:
    setup = set_up(read_config(file, {}), str(file), file.parent, file.parent / "out")
    url = f"sqlite:///{file.parent}/s.db"
    search(setup, url, where=str(file), run=toy_trials.never)


def refusal(folder: Path, text: str) -> str:
    """Return why a study is refused, having checked that nothing was started or written."""
    file = folder / "study.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as refused:
        begin(file)
    assert [p.name for p in folder.iterdir()] == ["study.yaml"]
    said = str(refused.value)
    assert said.startswith(f"{file}: ")
    return said.removeprefix(f"{file}: ")


@pytest.mark.parametrize(
    ("replaced", "by", "begins", "holds"),
    [
        ("study: s", "study: s\ntrails: 3", "trails: no such key", "allowed: study, task"),
        ("space:", "training: {epoch: 3}\nspace:", "training.epoch: no such key", "epochs"),
        ("space:", "training: {mode: inherited}\nspace:", "training.mode: ", "'scratch' or 'inherit'"),
        ("space:", "measure_on: {timeout: 1m}\nspace:", "measure_on.resource: Field required", ""),
        ("space:", "measure_on: {resource: CPU}\nspace:", "measure_on.resource: 'CPU' is what every", "ray start"),
        ("space:", "measure_on: {resource: pi4}\nspace:", "measure_on.resource: pi4: only a cluster", "--ray-address"),
        (
            "space:",
            "measure_on: {resource: pi4}\nresources: {custom: {pi4: 1}}\nspace:",
            "measure_on.resource: pi4 is also in resources.custom",
            "one of the two",
        ),
        (
            "space:\n",
            "measure_on: {resource: pi4}\nspace:\n  steps: [early_exit]\n",
            "measure_on: networks with early exits are measured where they are trained",
            "leave early_exit out",
        ),
        (
            "objectives: [accuracy, size_bytes]",
            "objectives: [accuracy, latency_ms]\nmeasure_on: {resource: pi4}\nhalving: {min_epochs: 1}",
            "halving: latency_ms is measured on pi4 when a trial is over",
            "device_latency_ms",
        ),
        (
            "space:",
            "training: {supernet_epochs: 0}\nspace:",
            "training.supernet_epochs: ",
            "greater than or equal to 1",
        ),
        ("space:", "training: {cache_size: much}\nspace:", "training.cache_size: 'much' is not a size", "500MB"),
        ("mbconv.width", "mbconv.witdh", "space.knobs: mbconv.witdh: no such knob", "mbconv.width"),
        ("accuracy, size", "accurcy, size", "objectives: 'accurcy' does not exist", "accuracy"),
        ("accuracy, size", "size_bytes, size", "objectives: 'size_bytes' is named twice", "each metric once"),
        ("[accuracy, size_bytes]", "[accuracy]", "objectives: ", "at least 2"),
        ("width: 0.5", "width: {low: 2.0, high: 1.0}", "space.knobs: mbconv.width: ", "upside down"),
        ("width: 0.5", "width: {low: 0.5, hihg: 1.0}", "space.knobs: mbconv.width: unknown key 'hihg'", "low, high"),
        ("width: 0.5", "width: 99", "space.knobs: mbconv.width: 99 is not allowed", "0.5 to 3.0"),
        ("width: 0.5", "width: [0.5, 99]", "space.knobs: mbconv.width: 99 is not allowed", "0.5 to 3.0"),
        ("width: 0.5", "width: wide", "space.knobs: mbconv.width: 'wide' is no number", "0.5 to 3.0"),
        ("task: digits", "task: letters", "task: 'letters' does not exist", "digits, image_folder, python"),
        ("task: digits", "task: {digits: {sed: 1}}", "task.digits.sed: ", "options: seed"),
        ("task: digits", "task: {image_folder: gone}", "task.image_folder.path: no folder", "train/"),
        ("task: digits", "task: image_folder:gone", "task.image_folder.path: no folder", "train/"),
        ("task: digits", "task: letters:gone", "task: 'letters' does not exist", "digits, image_folder, python"),
        ("task: digits", "task: digits:gone", "task.digits", ""),
        ("task: digits", "task: {python: nowhere:f}", "task.python.function: cannot import 'nowhere'", ""),
        ("study: s", "study: s\nsampler: magic", "sampler: 'magic' does not exist", "package.module:name"),
        ("study: s", "study: s\nsampler: nowhere:f", "sampler: cannot import 'nowhere'", "tpe, nsga2"),
        ("study: s", "study: s\nsampler: optuna.samplers:Magic", "sampler: optuna.samplers has no function or", "tpe"),
        ("study: s", "study: s\nsampler: pathlib:Path", "sampler: pathlib:Path cannot be made: TypeError", "tpe"),
        ("study: s", "study: s\nsampler: builtins:type", "sampler: builtins:type returned type, which", "no Optuna"),
        (
            "study: s",
            "study: s\nsampler: optuna.samplers:GridSampler",
            "sampler: optuna.samplers:GridSampler cannot",
            "",
        ),
        (
            "study: s",
            "study: s\nlocal_search_trials: 40",
            "local_search_trials: 40 is not allowed",
            "0 to 39, below trials",
        ),
        ("study: s", "study: s\nlocal_search_trials: -1", "local_search_trials: ", "(got -1)"),
        ("study: s", "study: s\ndriver: slurm", "driver: 'slurm' does not exist", "local, ray"),
        ("space:", "space:\n  families: [vgg]", "space.families: 'vgg' does not exist", "mbconv"),
        ("space:", "space:\n  steps: [magic]", "space.steps: 'magic' does not exist", "quantization"),
        ("study: s", "study: s/../t", "study: ", "pattern"),
        ("study: s", "study: s\ntrials: many", "trials: ", "(got 'many')"),
        ("study: s", "study: s\nworkers: 0", "workers: 0 is not allowed", "1 to 256, or auto"),
        ("study: s", "study: s\npatience_trials: 0", "patience_trials: ", "(got 0)"),
        ("study: s", "study: s\nhalving: {}", "halving.min_epochs: Field required", ""),
        ("study: s", "study: s\nhalving: 3", "halving: ", "(got 3)"),
        ("study: s", "study: s\nhalving: {min_epochs: 0}", "halving.min_epochs: ", "(got 0)"),
        ("study: s", "study: s\nhalving: {min_epochs: 1.5}", "halving.min_epochs: ", "(got 1.5)"),
        ("study: s", "study: s\nhalving: {min_epochs: 2, factor: 1}", "halving.factor: ", "(got 1)"),
        ("study: s", "study: s\nhalving: {min_epochs: 2, brackets: 0}", "halving.brackets: ", "(got 0)"),
        (
            "study: s",
            "study: s\nhalving: {min_epochs: 2, facter: 3}",
            "halving.facter: no such key",
            "min_epochs, factor, brackets",
        ),
        ("study: s", "study: s\nhalving: {min_epochs: 20}", "halving.min_epochs: 20 is not below", "allowed: 1 to 19"),
        (
            "study: s",
            "training: {epochs: 1}\nstudy: s\nhalving: {min_epochs: 1}",
            "halving.min_epochs: 1 is",
            "allowed: none",
        ),
        (
            "study: s",
            "study: s\nhalving: {min_epochs: 2, brackets: 6}",
            "halving.brackets: 6 is more",
            "allowed: 1 to 5",
        ),
        ("study: s", "study: s\ntimeout: 8x", "timeout: '8x' is not a time such as", "8h"),
        ("study: s", "study: s\ntrial_timeout: -5", "trial_timeout: -5 is not a positive time", ""),
        ("study: s", "study: s\nlimits: {macs: -1}", "limits.macs: no candidate can meet -1", "above 0"),
        ("study: s", "study: s\nlimits: {accuracy: 1.5}", "limits.accuracy: no candidate can meet 1.5", "at most 1"),
        ("study: s", "study: s\nlimits: {macs: few}", "limits.macs: 'few' is not a limit", "60k"),
        ("study: s", "study: s\nlimits: {weight: 1}", "limits: 'weight' does not exist", "size_bytes"),
        ("study: s", "study: s\nlimits: {macs: 10}", "limits.macs: no candidate can meet 10", "tried has"),
        (
            "study: s",
            "study: s\nlimits: {size_bytes: 100}",
            "limits.size_bytes: no candidate can meet 100",
            "the smallest of",
        ),
        (
            "knobs: {",
            "steps: [early_exit]\n  knobs: {early_exit.after: ['', layer9], ",
            "space.knobs: early_exit.after: no exit can stand after 'layer9'",
            "allowed: stem.conv, stem.norm, stem.activation, stem, stages.0.0",
        ),
        ("knobs: {", "baseline: {mbconv.width: 9}\n  knobs: {", "space.baseline: mbconv.width: 9 is not", "0.5 to 3.0"),
        (
            "knobs: {",
            "steps: [early_exit]\n  knobs: {early_exit.after: 3, ",
            "space.knobs: early_exit.exits: 2 fits none of the ",
            "allowed: 0, 1 (early_exit: 2 exits are more than the 1 place that early_exit.after names",
        ),
        (
            "knobs: {",
            "steps: [early_exit]\n  knobs: {early_exit.rule: patience, early_exit.exits: {low: 0, high: 1}, ",
            "space.knobs: early_exit.rule: 'patience' with 1 exit never leaves early",
            "allowed: early_exit.exits from 2",
        ),
        (
            "knobs: {",
            "steps: [early_exit]\n  knobs: {early_exit.after: 1.1, ",
            "space.knobs: early_exit.after: 1.1 is not allowed",
            "in quotes",
        ),
        ("study: s", "study: [s", "is no valid YAML: ", "line"),
        ("study: s", "study: " + "[" * 100000, "lists or mappings within each other, more than 50 deep", ""),
        ("study: s", "study: 2026-13-45", "is no valid YAML: 2026-13-45 is taken for timestamp", "in quotes"),
        ("study: s", "study: s\ntrials: " + "9" * 5000, "is no valid YAML: 99999999", "line 3"),
        ("study: s", "study: !!int many", "is no valid YAML: many is taken for int", "line 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, replaced: str, by: str, begins: str, holds: str) -> None:
    assert replaced in GOOD
    said = refusal(tmp_path, GOOD.replace(replaced, by))
    assert said.startswith(begins)
    assert holds in said


def test_a_study_that_has_begun_is_not_refused_for_its_space(tmp_path: Path) -> None:
    setup, url = toy_trials.toy_setup(tmp_path, limits={"size_bytes": 100}, trials=1), f"sqlite:///{tmp_path}/s.db"
    with pytest.raises(ConfigError, match="no candidate can meet 100"):
        search(setup, url, where="test", run=toy_trials.good)
    objectives = setup.plan.objectives
    Study.create(url, setup.config.study, setup.stored, objectives, str(setup.plan.folder))
    study = search(setup, url, where="test", run=toy_trials.good).study
    assert study.counts() == {"done": 1}


def test_early_stopping_is_off_unless_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    for section, judged in (("", False), ("halving: {min_epochs: 19, brackets: 2}\n", True)):
        file.write_text(GOOD + section)
        setup = set_up(read_config(file, {}), str(file), tmp_path, tmp_path / "out")
        assert setup.plan.judged == judged
        assert "halving" not in setup.stored, "it may change between the runs of a study"


def fits_exits(candidate: Candidate) -> bool:
    try:
        build(candidate, (1, 16, 16), 10)
    except InfeasibleCandidate:
        return False
    return True


def test_a_place_of_exits_that_some_candidates_lack_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    knobs = "mbconv.depth: {low: 1.0, high: 2.0}, mbconv.scaling: free, mbconv.resolution: 16, early_exit.exits: 1"
    space = f"steps: [early_exit]\n  knobs: {{{knobs}, early_exit.after: '8'}}"
    file.write_text(GOOD.replace("knobs: {mbconv.width: 0.5, mbconv.depth: 1.0}", space))
    setup = set_up(read_config(file, {}), str(file), tmp_path, tmp_path / "out")
    fits = {fits_exits(setup.space.draw(number)) for number in range(16)}
    assert fits == {True, False}, "the shallow ones have no ninth layer"
    probe(setup, str(file))


@pytest.mark.parametrize(
    "knobs",
    [
        "",
        "early_exit.rule: patience",
        "early_exit.rule: patience, early_exit.exits: {low: 1, high: 2}",
        "early_exit.exits: 1",
        "early_exit.after: 3, early_exit.exits: {low: 0, high: 1}",
        "early_exit.exits: 0, early_exit.after: layer9",
    ],
)
def test_no_draw_of_a_study_with_exits_is_wasted(tmp_path: Path, knobs: str) -> None:
    file = tmp_path / "study.yaml"
    space = f"steps: [early_exit]\n  knobs: {{mbconv.resolution: 16, {knobs}}}"
    file.write_text(GOOD.replace("knobs: {mbconv.width: 0.5, mbconv.depth: 1.0}", space))
    setup = set_up(read_config(file, {}), str(file), tmp_path, tmp_path / "out")
    probe(setup, str(file))
    assert all(fits_exits(setup.space.draw(number)) for number in range(24))


def test_listed_numbers_of_exits_are_swept(tmp_path: Path) -> None:
    listed = {"early_exit.exits": [2, 0], "early_exit.threshold": [0.5, 0.95, 0.6], "early_exit.first_margin": [0.1]}
    space = {"steps": ["early_exit"], "knobs": listed | {"mbconv.resolution": 16, "mbconv.width": [0.5, 0.75]}}
    setup = toy_trials.toy_setup(tmp_path, space=space)
    assert setup.plan.swept == (("threshold", (0.5, 0.6, 0.95)),)
    probe(setup, "toy.yaml")


def test_a_file_that_is_no_mapping(tmp_path: Path) -> None:
    assert refusal(tmp_path, "- a\n- b\n").startswith("must hold keys such as study")
    assert refusal(tmp_path, "").startswith("must hold keys such as study")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        read_config(tmp_path / "gone.yaml", {})
    (tmp_path / "image.yaml").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(ConfigError, match=r"image\.yaml: is no text file"):
        read_config(tmp_path / "image.yaml", {})


def test_several_mistakes_are_named_at_once(tmp_path: Path) -> None:
    lines = refusal(tmp_path, GOOD + "trials: 0\nseed: -1\n").splitlines()
    assert len(lines) == 2


def test_options_win_and_are_blamed(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(GOOD)
    config = read_config(file, {"trials": 7, "timeout": "2h", "seed": None})
    assert (config.trials, config.timeout, config.seed) == (7, 7200, 0)
    with pytest.raises(ConfigError, match=r"^command line: trials: "):
        read_config(file, {"trials": 0})


def test_a_baseline_that_cannot_be_built_is_refused(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    images = tmp_path_factory.mktemp("images")
    for part, name in itertools.product(("train", "val"), ("a", "b")):
        (images / part / name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (64, 64), 60 * i).save(images / part / name / f"{i}.png")
    text = GOOD.replace("task: digits", f"task: {{image_folder: {images}}}").replace(
        "space:", "training: TRAINING\nspace:"
    )
    small = "families: [efficientnet]\n  knobs: {efficientnet.scaling: free, efficientnet.stem: image"
    text = text.replace("knobs: {mbconv.width: 0.5, mbconv.depth: 1.0", f"{small}, efficientnet.resolution: 16")
    for training in ("{}", "{mode: inherit}"):
        said = refusal(tmp_path, text.replace("TRAINING", training))
        assert said.startswith("space: the baseline cannot be built: efficientnet: images of 16 px are too small"), said
        assert said.endswith("allowed: from 32 px, or efficientnet.stem small from 8 px")

    alone = "families: [mbconv, mobilenet]\n  knobs: {mobilenet.stem: image, mobilenet.resolution: {low: 8, high: 28}"
    text = text.replace(f"{small}, efficientnet.resolution: 16", alone).replace("TRAINING", "{}")
    said = refusal(tmp_path, text)
    assert said.startswith(
        "space.knobs: none of the 33 networks of mobilenet that were tried can be built: mobilenet: "
    ), said


def test_the_default_study_is_the_example(tmp_path: Path) -> None:
    default = read_config(None, {})
    assert default == read_config(ROOT / "examples/digits.yaml", {})
    setup = set_up(default, "default study", tmp_path, tmp_path / "out")
    assert setup.space.size == 112_021_056  # changes only where the default study is meant to change


def test_the_default_study_need_not_name_knobs_that_never_count(tmp_path: Path) -> None:
    default = read_config(None, {})
    thirds = ("early", "middle", "late")
    idle = [f"{step}.{third}" for step in ("channel_pruning", "quantization") for third in thirds]
    idle.append("low_rank.energy")
    assert not set(idle) & set(default.space.knobs)
    pinned = default.model_copy(
        update={"space": default.space.model_copy(update={"knobs": default.space.knobs | dict.fromkeys(idle)})}
    )
    spaces = [set_up(c, "study", tmp_path, tmp_path / "out").space for c in (default, pinned)]
    assert spaces[0].describe() == spaces[1].describe()
    assert all(spaces[0].knobs[name].is_fixed for name in idle)


@pytest.mark.parametrize(
    ("text", "value"),
    [("60k", 60e3), ("60K", 60e3), ("1.5M", 1.5e6), ("2G", 2e9), ("4Ki", 4096), ("1Mi", 2**20), (" 7 ", 7), (0.5, 0.5)],
)
def test_numbers_as_people_write_them(text: str | float, value: float) -> None:
    assert quantity.number(text) == value


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("10m", 600), ("8h", 28800), ("2d", 172800), ("1.5h", 5400), (30, 30)]
)
def test_times_as_people_write_them(text: str | float, value: float) -> None:
    assert quantity.seconds(text) == value


@pytest.mark.parametrize("text", ["", "k", "60 apples", "nan", "inf", "1e999", "6kk", True, "8x"])
def test_what_is_no_number(text: str | bool) -> None:
    with pytest.raises(ConfigError, match="is not a number such as"):
        quantity.number(text)


@pytest.mark.parametrize("text", ["0s", "-3m", "8x", "h", "nan", True])
def test_what_is_no_time(text: str | bool) -> None:
    with pytest.raises(ConfigError, match=r"is not a (positive )?time"):
        quantity.seconds(text)
