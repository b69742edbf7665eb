"""The supply of networks that a profile measures: families first, without running dry, and blocks in the gaps."""

from concurrent.futures import Future
from itertools import islice

import pytest

from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.profiling import AHEAD, Asked, Bench, _alternating, _finished
from paredown.evaluators.latency.random_networks import RandomNetwork


def exported(seed: int) -> list[RandomNetwork]:
    return [RandomNetwork(f"mbconv-{seed}", format_, (3, 8, 8), b"") for format_ in ("fp32", "int8")]


def test_families_are_measured_as_long_as_they_are_exported() -> None:
    networks = islice(_alternating(Asked(), lambda seed: _finished(exported(seed))), 100)
    names = [network.name for network in networks]
    assert not [name for name in names if name.startswith("blocks-")]
    assert len(set(names)) == 50, "each seed once, in two number formats"


def test_blocks_fill_the_gaps_and_families_that_do_not_fit_end_nothing() -> None:
    waiting: list[Future[list[RandomNetwork]]] = []

    def families(seed: int) -> Future[list[RandomNetwork]]:
        future: Future[list[RandomNetwork]] = Future()
        waiting.append(future)
        return future

    networks = _alternating(Asked(), families)
    assert [next(networks).name for _ in range(2)] == ["blocks-0", "blocks-1"]
    assert len(waiting) == AHEAD
    for future in waiting[:AHEAD]:
        future.set_result([])  # too large, or the steps do not fit
    assert next(networks).name == "blocks-2"
    assert next(networks).name == "blocks-3"
    assert len(waiting) == 2 * AHEAD, "as many more are asked for"
    waiting[-1].set_result(exported(7))
    assert [next(networks).format for _ in range(2)] == ["fp32", "int8"]
    assert next(networks).name == "blocks-4"


@pytest.mark.slow
def test_a_later_bench_tells_latencies_on_the_clock_of_the_earlier_one() -> None:
    model, shape = block_network(11, "fp32")
    network = RandomNetwork("blocks-11", "fp32", shape, model)
    own = Bench(Asked())
    later = Bench(Asked(), 2 * own.reference_ms)
    assert later.reference_ms == 2 * own.reference_ms
    assert later.drift_before == pytest.approx(-0.5, abs=0.15)
    assert later.latency_ms(network) / own.latency_ms(network) == pytest.approx(2, rel=0.3)
