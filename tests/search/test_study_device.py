"""A study keeps the device that it began on, whatever machine goes on with it."""

from dataclasses import replace
from pathlib import Path

import toy_trials

from paredown.evaluators.device import Device, this_device
from paredown.search.listener import ProgressListener
from paredown.search.run import search
from paredown.search.study_file.setup import Setup
from paredown.studies.study import Study

ELSEWHERE = Device("Another processor", not this_device().int8_sums_saturate, runtime_version="1.0")


class Remarks(ProgressListener):
    """Keeps what it is told in words."""

    def __init__(self) -> None:
        self.texts = list[str]()

    def remark(self, text: str) -> None:
        self.texts.append(text)


def begun(folder: Path, changed: dict[str, object], without: str = "") -> tuple[Setup, str]:
    """Return a setup made on this machine, and the database in which its study stands already."""
    setup, url = toy_trials.toy_setup(folder, sampler="random", trials=2), f"sqlite:///{folder}/toy.db"
    stored = {key: value for key, value in (setup.stored | changed).items() if key != without}
    Study.create(url, "toy", stored, setup.plan.objectives, str(setup.plan.folder))
    return setup, url


def devices_of(setup: Setup, url: str) -> tuple[set[str], str]:
    """Return the devices that the trials were told, and what the search said."""
    listener = Remarks()
    study = search(setup, url, listener=listener, where="toy.yaml", run=toy_trials.tells_device).study
    assert study.counts() == {"done": setup.config.trials}
    return {row["facts"]["device"] for row in study.rows()}, "\n".join(listener.texts)


def test_trials_get_the_device_of_the_study_and_one_remark_says_so(tmp_path: Path) -> None:
    setup, url = begun(tmp_path, {"device": ELSEWHERE.to_json()})
    assert setup.plan.device == this_device()
    told, said = devices_of(setup, url)
    assert told == {str(ELSEWHERE)}
    assert said.count("it began on Another processor, ONNX Runtime 1.0, 1 thread; this machine is") == 1
    more = replace(setup, config=setup.config.model_copy(update={"trials": 3}))
    assert devices_of(more, url)[0] == {str(ELSEWHERE)}
    assert Study.create(url, "toy", setup.stored, setup.plan.objectives, "out").config["device"]["name"] == (
        "Another processor"
    )


def test_a_study_stored_without_a_device_goes_on_with_this_one(tmp_path: Path) -> None:
    setup, url = begun(tmp_path, {}, without="device")
    told, said = devices_of(setup, url)
    assert told == {str(this_device())}
    assert "it began on" not in said


def test_a_study_begun_here_stores_this_device_and_says_nothing(tmp_path: Path) -> None:
    setup, url = toy_trials.toy_setup(tmp_path, sampler="random", trials=1), f"sqlite:///{tmp_path}/toy.db"
    told, said = devices_of(setup, url)
    assert told == {str(this_device())}
    assert "it began on" not in said
    study = Study.create(url, "toy", setup.stored, setup.plan.objectives, str(setup.plan.folder))
    assert Device.from_json(study.config["device"]) == this_device()
