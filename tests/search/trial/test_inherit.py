"""Trials that inherit from a supernet: trained once a study, whoever comes first, and also after a kill."""

import dataclasses
import io
import os
import shutil
import signal
import time
from collections.abc import Iterator
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest
import supernets
import torch
from filelock import FileLock
from rich.console import Console

from paredown.evaluators.build import build
from paredown.evaluators.supernet.checkpoint import SupernetRecord
from paredown.search.api.progress import ProgressDisplay
from paredown.search.drivers.process_server import worker_context
from paredown.search.errors import ConfigError
from paredown.search.run import search
from paredown.search.study_file.feasibility import probe
from paredown.search.study_file.setup import Setup
from paredown.search.trial import supernets as inheriting
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial
from paredown.search.trial.supernets import prepare_supernets, supernet_digest, trained_supernet
from paredown.spaces.candidate import Candidate
from paredown.spaces.exits.network import MultiExit
from paredown.spaces.families.catalogue import FAMILIES
from paredown.studies.errors import StudyError

EXITS = {"exits": 1, "after": "", "head": "linear", "rule": "confidence", "threshold": 0.7, "weight": 1.0}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more, and threads wait for each other where the machine is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """A study whose supernet is trained."""
    setup = supernets.study(tmp_path_factory.mktemp("study"), ["channel_pruning", "quantization"])
    said = io.StringIO()
    assert prepare_supernets(setup.plan, None, ProgressDisplay(Console(file=said)))
    assert "supernet of mbconv: 2 epochs in " in said.getvalue()
    return setup


def supernet_files(plan: TrialPlan) -> list[str]:
    return sorted(p.name for p in (plan.folder / inheriting.SUPERNET_FOLDER).iterdir() if p.suffix != ".lock")


def test_a_candidate_inherits_and_says_so(prepared: Setup) -> None:
    candidate, plan = prepared.space.draw(1).uncompressed, prepared.plan
    result = run_trial(candidate, plan)
    assert result.outcome == "done", result.reason
    digest = supernet_digest(plan, "mbconv")
    told = result.facts["inherited"]
    assert (told["supernet"], told["supernet_epochs"]) == (digest[:16], 2)
    assert told["supernet_seconds"] == round(trained_supernet(plan, "mbconv").record.seconds, 3) > 0
    assert supernet_files(plan) == [f"mbconv-{digest[:16]}.safetensors"]
    assert [epoch for epoch, _ in result.curve] == [0], "one epoch of fine-tuning"
    assert result.measurements["accuracy"].value > 0.2


def test_without_epochs_it_is_the_slice_with_new_batch_statistics(prepared: Setup) -> None:
    plan = dataclasses.replace(prepared.plan, training=dataclasses.replace(prepared.plan.training, inherit_epochs=0))
    assert supernet_digest(plan, "mbconv") == supernet_digest(prepared.plan, "mbconv"), "they share the supernet"
    result = run_trial(prepared.space.draw(1).uncompressed, plan)
    assert (result.outcome, result.curve) == ("done", ())
    accuracy = result.measurements["accuracy"]
    assert accuracy.value - accuracy.spread > 0.1, "better than chance"


def test_a_network_with_exits_inherits_all_but_its_exits(prepared: Setup) -> None:
    plain = prepared.space.draw(1).uncompressed
    candidate = Candidate(plain.family, plain.knobs, {"early_exit": EXITS})
    resolution = FAMILIES[plain.family].resolution(plain.knobs)
    shape, classes = (prepared.task.channels, resolution, resolution), len(prepared.task.classes)
    network, without = build(candidate, shape, classes), build(plain, shape, classes)
    inheriting.inherit(candidate, prepared.plan, network)
    inheriting.inherit(plain, prepared.plan, without)
    assert isinstance(network, MultiExit)
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(network.eval().all_logits(images)[-1], without.eval()(images))


def test_exits_of_a_network_that_starts_trained_are_fine_tuned(prepared: Setup) -> None:
    plain = prepared.space.draw(1).uncompressed
    candidate = Candidate(plain.family, plain.knobs, {"early_exit": {**EXITS, "threshold": 0.5}})
    training = dataclasses.replace(prepared.plan.training, inherit_epochs=0, finetune_epochs=2)
    result = run_trial(candidate, dataclasses.replace(prepared.plan, training=training))
    assert result.outcome == "done", result.reason
    assert [epoch for epoch, _ in result.curve] == [0, 1]
    alone = run_trial(plain, dataclasses.replace(prepared.plan, training=training))
    assert alone.curve == (), "nothing to recover from"
    untrained = dataclasses.replace(training, finetune_epochs=0)
    result = run_trial(candidate, dataclasses.replace(prepared.plan, training=untrained))
    assert result.outcome == "rejected"
    assert "training.inherit_epochs and training.finetune_epochs are 0; allowed: 1 or more" in result.reason


def test_exits_that_nothing_would_train_are_refused_at_the_beginning(tmp_path: Path) -> None:
    setup = supernets.study(tmp_path, ["early_exit"], inherit_epochs=0, finetune_epochs=0)
    with pytest.raises(ConfigError, match=r"test: space.knobs: early_exit: .* training.inherit_epochs and"):
        probe(setup, "test")


def test_it_goes_on_into_compression(prepared: Setup) -> None:
    draws = (prepared.space.draw(n) for n in range(50))
    candidate = next(c for c in draws if set(c.steps) == {"channel_pruning", "quantization"})
    result = run_trial(candidate, prepared.plan)
    assert result.outcome == "done", result.reason
    assert "inherited" in result.facts
    assert [epoch for epoch, _ in result.curve] == [0, 1]
    assert {"compress", "finetune"} <= set(result.facts["seconds"])


@pytest.mark.parametrize("key", ["supernet_epochs", "learning_rate", "seed"])
def test_what_acts_on_the_supernet_makes_another(prepared: Setup, key: str) -> None:
    training = dataclasses.replace(prepared.plan.training, **{key: 7})
    other = dataclasses.replace(prepared.plan, training=training)
    assert supernet_digest(other, "mbconv") != supernet_digest(prepared.plan, "mbconv")


def train_and_count(plan: TrialPlan, numbers: "SimpleQueue[int]") -> None:
    """Ask for the supernet and say how many epochs this process trained."""
    torch.set_num_threads(1)
    trained: list[int] = []
    trained_supernet(plan, "mbconv", lambda record: not trained.append(record.epochs))
    numbers.put(len(trained))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_processes_train_once(tmp_path: Path) -> None:
    plan = supernets.study(tmp_path).plan
    context = worker_context()
    numbers = context.SimpleQueue()
    workers = [context.Process(target=train_and_count, args=(plan, numbers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sorted(numbers.get() for _ in workers) == [0, 2]


def train_slowly(plan: TrialPlan) -> None:
    """Wait after the first epoch to be killed."""

    def wait(record: SupernetRecord) -> bool:
        time.sleep(300)
        return True

    torch.set_num_threads(1)
    trained_supernet(plan, "mbconv", wait)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_process_loses_at_most_an_epoch(tmp_path: Path) -> None:
    plan = supernets.study(tmp_path).plan
    process = worker_context().Process(target=train_slowly, args=(plan,))
    process.start()
    folder, until = plan.folder / inheriting.SUPERNET_FOLDER, time.monotonic() + 200
    while not list(folder.glob("*.safetensors")):
        assert time.monotonic() < until, "no checkpoint was written"
        time.sleep(0.1)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    trained: list[int] = []
    record = trained_supernet(plan, "mbconv", lambda record: not trained.append(record.epochs)).record
    assert trained == [2], "the first epoch was kept, the lock was not"
    assert record.epochs == 2


def test_time_that_is_up_ends_the_supernet_for_now(tmp_path: Path) -> None:
    setup = supernets.study(tmp_path)
    assert not prepare_supernets(setup.plan, time.monotonic())
    assert prepare_supernets(setup.plan, None)


def test_time_that_is_up_ends_the_wait_for_another_process(tmp_path: Path) -> None:
    plan, said = supernets.study(tmp_path).plan, io.StringIO()
    file = plan.folder / inheriting.SUPERNET_FOLDER / f"mbconv-{supernet_digest(plan, 'mbconv')[:16]}.lock"
    file.parent.mkdir(parents=True)
    with FileLock(file):
        assert not prepare_supernets(plan, time.monotonic() + 0.2, ProgressDisplay(Console(file=said)))
    assert said.getvalue() == "supernet of mbconv: another process trains it; waiting\n"
    assert prepare_supernets(plan, None)


def test_a_family_that_shares_no_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loner = dataclasses.replace(FAMILIES["mbconv"], shared_names=None)
    monkeypatch.setitem(FAMILIES, "mbconv", loner)
    monkeypatch.setitem(FAMILIES, "sharing", dataclasses.replace(loner, name="sharing", shared_names=lambda knobs: {}))
    with pytest.raises(ConfigError, match=r"test: training.mode: inherit: .* 'mbconv' .* allowed: .*sharing; or mode"):
        supernets.study(tmp_path)
    assert supernets.study(tmp_path, mode="scratch").plan.training.mode == "scratch"


def test_halving_counts_the_epochs_that_follow(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"halving.first: 1 is not below training.inherit_epochs \(1\)"):
        supernets.study(tmp_path, halving={"first": 1})
    setup = supernets.study(tmp_path, halving={"min_epochs": 1}, inherit_epochs=3)
    assert setup.plan.epochs(setup.space.baseline) == 3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_search_trains_one_supernet_and_goes_on(tmp_path: Path) -> None:
    setup, url = supernets.study(tmp_path, ["quantization"]), f"sqlite:///{tmp_path}/s.db"
    summary = search(setup, url, where="test")
    assert not summary.interrupted
    rows = [row for row in summary.study.rows() if row["facts"].get("inherited")]
    assert len(rows) == 3
    assert len({row["facts"]["inherited"]["supernet"] for row in rows}) == 1
    assert len(supernet_files(setup.plan)) == 1
    shutil.rmtree(setup.plan.folder / inheriting.SUPERNET_FOLDER)
    search(setup, url, where="test")
    assert not (setup.plan.folder / inheriting.SUPERNET_FOLDER).exists(), "a study that is done needs none"
    with pytest.raises(StudyError, match="another training"):
        search(supernets.study(tmp_path, ["quantization"], mode="scratch"), url, where="")
