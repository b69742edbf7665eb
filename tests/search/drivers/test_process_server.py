"""The server of which workers are forks: nothing waits for it in vain, and Ctrl-C does not reach it."""

import inspect
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from paredown.search.drivers.process_server import main_module_hidden

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere workers start from nothing")

STOPPED_SERVER = """
    import os, signal, sys
    from pathlib import Path

    import psutil
    import toy_trials
    from paredown.search.drivers.process_server import begin_loading
    from paredown.search.run import search

    def server():
        return next(p for p in psutil.Process().children() if "multiprocessing.forkserver" in " ".join(p.cmdline()))

    begin_loading()
    server().send_signal(signal.SIGSTOP)  # as if it loaded for ever
    folder = Path(sys.argv[1])
    setup = toy_trials.toy_setup(folder, sampler="random", trials=4, timeout=2)
    summary = search(setup, f"sqlite:///{folder}/toy.db", where="toy.yaml", run=toy_trials.good)
    server().kill()
    print(summary.reason, summary.study.counts())
    sys.stdout.flush()
    os._exit(0)
"""
INTERRUPTED = """
    import sys, time
    from paredown.search.cli.stop_signals import end_at_once
    from paredown.search.drivers.process_server import begin_loading

    end_at_once()
    begin_loading()
    print("begun", flush=True)
    time.sleep(60)  # until it is interrupted
"""


def python(script: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(script), *arguments]


def test_the_deadline_holds_while_the_server_loads(tmp_path: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONPATH": paths}
    done = subprocess.run(
        python(STOPPED_SERVER, str(tmp_path)), env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "the time is up {}\n", done.stderr


@pytest.mark.parametrize("after_s", [0.3, 1.0])
def test_ctrl_c_while_the_server_loads_says_one_sentence(after_s: float) -> None:
    command = python(INTERRUPTED)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(after_s)  # the moment is what is tried: early and late in loading
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=120)  # standard error is closed when the server is gone too
    assert process.returncode == 3
    assert said == "paredown: stopped; all that is finished is saved, the same command goes on\n"


def test_what_looks_for_sources_meanwhile_finds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", "/program.py", raising=False)
    inspect.getmodule(sys._getframe(), "nowhere.py")  # it remembers the file of each module
    with main_module_hidden():
        assert not hasattr(main, "__file__")
        assert inspect.getmodule(sys._getframe(), "nowhere.py") is None
    assert main.__file__ == "/program.py"
