"""A runner whose process is gone for certain is taken over at once; one that may live is not."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy_study import open_study, run, sample

from paredown.studies.runner_process import RunnerProcess
from paredown.studies.study import Study

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process is")

SAYS_WHO_IT_IS = """
import json, sys
from paredown.studies.runner_process import RunnerProcess
process = RunnerProcess.here()
print(json.dumps(process and process.to_json()), flush=True)
sys.stdin.read()
"""
LOOKS_AT_ANOTHER = """
import json, sys
from paredown.studies.runner_process import RunnerProcess
print(RunnerProcess.from_json(json.loads(sys.argv[1])).is_gone(RunnerProcess.here()))
"""
ASKS_FOR_A_TRIAL = """
import os, sys
from pathlib import Path
sys.path.append(sys.argv[2])
from toy_study import open_study, sample
print(open_study(Path(sys.argv[1])).ask(sample).number, flush=True)
sys.stdin.read()
"""
NEW_NAMESPACE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
OTHERS_PROC = ("unshare", "--pid", "--fork", "--kill-child")


@contextmanager
def program(code: str, *arguments: str, inside: tuple[str, ...] = ()) -> Iterator[tuple[Any, str]]:
    """Run a program that waits for its end, in a namespace of its own where asked; yield it and its first line."""
    command = [*inside, sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


@pytest.fixture
def namespaces() -> None:
    tried = subprocess.run([*NEW_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no PID namespace may be made here: {tried.stderr.strip()}")


def of(line: str) -> RunnerProcess:
    process = RunnerProcess.from_json(json.loads(line))
    assert process is not None
    return process


def test_a_process_is_gone_once_it_was_killed_also_while_nobody_has_asked_for_its_exit_code() -> None:
    here = RunnerProcess.here()
    with program(SAYS_WHO_IT_IS) as (process, line):
        other = of(line)
        assert other.pid == process.pid
        assert not other.is_gone(here)
        os.kill(other.pid, signal.SIGSTOP)
        assert not other.is_gone(here), "it may go on"
        os.kill(other.pid, signal.SIGKILL)
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert other.is_gone(here), "a zombie"
    assert other.is_gone(here)


def test_another_process_may_have_its_number() -> None:
    here = RunnerProcess.here()
    assert here is not None
    assert not here.is_gone(here)
    assert replace(here, start=here.start - 1).is_gone(here)


@pytest.mark.parametrize("what", ["another place", "nothing known here"])
def test_what_cannot_be_seen_from_here_is_not_gone(what: str) -> None:
    here = RunnerProcess.here()
    assert here is not None
    free = replace(here, pid=2**22 + 1)
    assert free.is_gone(here), "no process has this number"
    assert not free.is_gone(None if what == "nothing known here" else replace(here, place="another kernel"))


def test_a_process_of_another_user_that_is_hidden_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    here = RunnerProcess.here()
    assert here is not None

    def refused(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refused)
    assert not here.is_gone(here)


def test_numbers_of_another_namespace_prove_nothing(namespaces: None) -> None:
    here = RunnerProcess.here()
    with program(SAYS_WHO_IT_IS, inside=NEW_NAMESPACE) as (_, line):
        inside = of(line)
        assert here is not None
        assert inside.place.split()[0] == here.place.split()[0] == socket.gethostname(), "of one host name"
        assert inside.pid == 1, "and of a number that this namespace has, too"
        assert not replace(inside, pid=2**22 + 1).is_gone(here)
    assert not inside.is_gone(here), "it has ended, but nothing here shows it"


def test_within_a_namespace_a_process_is_seen_to_be_gone(namespaces: None) -> None:
    both = f"""
import subprocess, sys
other = subprocess.Popen([sys.executable, "-c", {SAYS_WHO_IT_IS!r}], stdin=-1, stdout=-1, text=True)
line = other.stdout.readline()
look = [sys.executable, "-c", {LOOKS_AT_ANOTHER!r}, line]
before = subprocess.run(look, capture_output=True, text=True).stdout.strip()
other.kill()
other.wait()
print(before, subprocess.run(look, capture_output=True, text=True).stdout.strip(), flush=True)
"""
    with program(both, inside=NEW_NAMESPACE) as (_, line):
        assert line.split() == ["False", "True"]


def test_a_process_that_sees_the_numbers_of_another_namespace_says_nothing(namespaces: None) -> None:
    with program(SAYS_WHO_IT_IS, inside=OTHERS_PROC) as (_, line):
        assert json.loads(line) is None


def taken_over(study: Study, number: int) -> bool:
    return study.recover() == 1 and study._given_back().number == number  # type: ignore[union-attr]


def test_the_trial_of_a_killed_process_runs_at_once(tmp_path: Path) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    with program(ASKS_FOR_A_TRIAL, str(tmp_path), str(Path(__file__).parent)) as (process, line):
        assert study.recover() == 0
        assert study.counts()["running"] == 1
        process.kill()
        process.wait()
    assert taken_over(study, int(line)), "its lease has most of its 30 seconds left"


@pytest.mark.parametrize("inside", [NEW_NAMESPACE, OTHERS_PROC], ids=["own numbers", "numbers of another"])
def test_a_process_of_another_namespace_keeps_its_trial_until_its_lease_lapses(
    inside: tuple[str, ...], namespaces: None, tmp_path: Path
) -> None:
    study = open_study(tmp_path)
    run(study, 1)
    arguments = (str(tmp_path), str(Path(__file__).parent))
    with program(ASKS_FOR_A_TRIAL, *arguments, inside=inside) as (process, line):
        assert line.strip() == "1"
        assert study.recover() == 0
        process.kill()
        process.wait()
        assert study.recover() == 0
    assert study.ask(sample) != 1
    assert study.counts()["running"] == 2
