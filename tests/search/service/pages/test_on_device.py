"""The model for a device: costs that a process finds once, limits that answer at once, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import toy_study

pytest.importorskip("dash")

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.search.errors import ConfigError
from paredown.search.service.pages.devices_page import matrix_table
from paredown.search.service.pages.place import Place
from paredown.search.service.pages.snapshot import Snapshot, Snapshots
from paredown.search.service.pages.which_model import OnDevice, answer_on_device, on_device
from paredown.search.service.service import Service
from paredown.search.service.settings import Settings
from paredown.studies.access.tokens import Token
from paredown.studies.device_models import with_costs
from paredown.studies.errors import NothingFits
from paredown.studies.queue.job import Job
from paredown.studies.study import Study

FLASH = known_metrics()["flash_bytes"]


class Served:
    """A study of alice's with trials, and its snapshots."""

    def __init__(self, folder: Path) -> None:
        self.service = Service(Settings(f"sqlite:///{folder / 'studies.db'}", folder / "out"))
        self.job: Job = self.service.jobs.add("alice", "mine", {"study": "mine", "trials": 9}, str(folder / "out"))
        made = toy_study.CONFIG | {"objectives": ["accuracy", "size_bytes"], "limits": {}}
        url, objectives = f"sqlite:///{folder / 'studies.db'}", toy_study.objectives()
        self.study = Study.create(url, "alice.mine", made, objectives, str(folder / "out"))
        self.study.use(toy_study.SAMPLERS["random"](toy_study.Problem(0, 20)))
        self.snapshots = Snapshots(self.service)

    @property
    def snapshot(self) -> Snapshot:
        found = self.snapshots.of(self.job)
        assert found is not None
        return found


@pytest.fixture
def served(tmp_path: Path) -> Served:
    found = Served(tmp_path)
    toy_study.run(found.study, 5)
    return found


def with_flash(snapshot: Snapshot, limit: float | None = None) -> OnDevice:
    """Return a device on which a model takes twice its size, and the last one cannot run."""
    *able, refused = snapshot.models
    models = tuple(
        replace(m, measurements={**m.measurements, "flash_bytes": Measurement("flash_bytes", 2 * m["size_bytes"])})
        for m in able
    )
    limits = () if limit is None else (Objective(FLASH, False, limit),)
    return OnDevice(models, (f"trial {refused.trial} computes with fp16",), limits, frozenset({"flash_bytes"}))


def test_an_answer_is_found_once_until_something_new_has_come(served: Served) -> None:
    asked: list[str] = []
    for what in ("on f746", "on f746", "on pi4", "on f746"):
        found = served.snapshots.answer(served.job, served.snapshot, what, lambda what=what: asked.append(what) or what)
        assert found == what
    assert asked == ["on f746", "on pi4"]
    toy_study.run(served.study, 1)
    served.snapshots.answer(served.job, served.snapshot, "on f746", lambda: asked.append("again"))
    assert asked == ["on f746", "on pi4", "again"]


def test_the_best_model_that_a_device_can_run_is_chosen_within_its_limits_and_others(served: Served) -> None:
    snapshot = served.snapshot
    seen = with_flash(snapshot)
    best = max(seen.models, key=lambda m: (m["accuracy"], -m["size_bytes"]))
    free = answer_on_device(seen, snapshot, {}, "f746")
    assert free.model.trial == best.trial
    assert free.reasons[0].startswith("f746 cannot run 1 of 5 models: trial ")
    assert free.reasons[1] == "No limit keeps out a model with a better accuracy."

    tight = answer_on_device(with_flash(snapshot, best["flash_bytes"] - 1), snapshot, {}, "f746")
    assert tight.model["flash_bytes"] < best["flash_bytes"]
    assert any(f"would allow trial {best.trial}: accuracy +" in reason for reason in tight.reasons)
    smaller = answer_on_device(seen, snapshot, {"size_bytes": best["size_bytes"] - 1}, "f746")
    assert smaller.model["size_bytes"] < best["size_bytes"]
    loosened = with_flash(snapshot, best["flash_bytes"] - 1)
    given = {"flash_bytes": best["flash_bytes"]}
    assert answer_on_device(loosened, snapshot, given, "f746").model == tight.model, "a looser limit changes nothing"
    with pytest.raises(NothingFits, match="f746 does not tell npu_cycles, so no limit on it can be judged"):
        answer_on_device(seen, snapshot, {"npu_cycles": 5.0}, "f746")


def test_a_device_that_runs_nothing_says_why(served: Served) -> None:
    with pytest.raises(NothingFits, match="f746 runs none of 2 models: too large"):
        answer_on_device(OnDevice((), ("too large", "too large"), ()), served.snapshot, {}, "f746")
    with pytest.raises(NothingFits, match="none of"):
        answer_on_device(with_flash(served.snapshot, 1.0), served.snapshot, {}, "f746")


@pytest.mark.parametrize("device", ["/etc/passwd", "nope", "../f746.toml"])
def test_a_device_is_one_of_the_catalogue(served: Served, device: str) -> None:
    with pytest.raises(ConfigError, match="device"):
        on_device(served.service, served.snapshots, served.job, device)


def test_a_model_keeps_no_cost_of_another_device_but_what_it_is_ranked_by(served: Served) -> None:
    model = served.snapshot.models[0]
    other = {name: Measurement(name, 1.0) for name in ("ram_bytes", "device_latency_ms", "device_energy_uj")}
    costs = {"ram_bytes": Measurement("ram_bytes", 2.0)}
    searched = replace(model, measurements={**model.measurements, **other})
    seen = with_costs(searched, costs, served.snapshot.objectives)
    assert seen.values == model.values | {"ram_bytes": 2.0}
    latency = Objective(known_metrics()["device_latency_ms"])
    assert with_costs(searched, {}, [latency]).values == model.values | {"device_latency_ms": 1.0}


def test_the_matrix_shows_the_energy_where_a_device_has_one(served: Served) -> None:
    energy = {"value_uj": 1234.5, "low_uj": 905.2, "high_uj": 1680, "how": "predicted"}
    rows = [
        {"device": "u575", "trial": 1, "metrics": {"accuracy": 0.9}, "reason": "", "energy": energy},
        {"device": "f746", "trial": None, "metrics": {}, "reason": "too large", "energy": None},
    ]
    place = Place(served.service, Token("key", "test", "alice", ("read",), 0.0, None, None), ("devices",))
    shown = str(matrix_table(place, "mine", {"devices": rows}, ["accuracy"]))
    assert shown.count("Energy of one run") == 1
    assert "1230 uJ (905 to 1680), predicted" in shown
