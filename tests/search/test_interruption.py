"""What signals do to a search, and to a command around it."""

import os
import signal
import threading
import time

import pytest

from paredown.search import interruption
from paredown.search.interruption import StopRequest, stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_the_second_does_what_it_did_before(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "TWICE_S", 0.0)
    answered: list[int] = []
    before = signal.signal(number, lambda number, frame: answered.append(number))
    try:
        with stop_on_signals() as stop:
            assert not stop.is_asked
            os.kill(os.getpid(), number)
            assert stop.is_asked
            assert answered == []
            os.kill(os.getpid(), number)
            assert answered == [number]
        os.kill(os.getpid(), number)
        assert answered == [number, number], "the answer of before is in force again"
    finally:
        signal.signal(number, before)


def test_one_key_press_that_comes_twice_is_one_request() -> None:
    with stop_on_signals() as stop:  # pytest's own answer to the second would be KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
    assert stop.is_asked


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_on_signals() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert not stop.is_asked
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_leaves_the_signals_alone() -> None:
    before, within = signal.getsignal(signal.SIGINT), []

    def search() -> None:
        with stop_on_signals() as stop:
            within.append((signal.getsignal(signal.SIGINT), stop.is_asked))

    thread = threading.Thread(target=search)
    thread.start()
    thread.join()
    assert within == [(before, False)]


def test_a_request_keeps_its_first_moment() -> None:
    stop = StopRequest()
    stop.ask()
    first = stop.asked_at
    assert first is not None
    assert first <= time.monotonic()
    stop.ask()
    assert stop.asked_at == first
