"""Networks that are profiled are visited by several processes, and told on one clock."""

import statistics
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise

import numpy as np
import pytest

from paredown.evaluators.latency import bench_processes
from paredown.evaluators.latency.bench import Asked
from paredown.evaluators.latency.bench_processes import (
    VISIT_EVERY,
    VISITS,
    BenchProcesses,
    MeasuredNetwork,
)
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.node_times import NodeTimes
from paredown.evaluators.latency.random_networks import RandomNetwork

LIFE, NETWORKS = 12, 40


def network(seed: int) -> RandomNetwork:
    model, shape = block_network(seed % 4, "fp32")
    return RandomNetwork(f"blocks-{seed}", "fp32", shape, model)


@pytest.fixture(scope="module")
def measured() -> Iterator[tuple[BenchProcesses, list[MeasuredNetwork]]]:
    """A bench whose processes end early, and what it measured."""
    with pytest.MonkeyPatch.context() as patch, closing(BenchProcesses(Asked())) as bench:
        patch.setattr(bench_processes, "LIFE", LIFE)
        yield bench, list(bench.measured(map(network, range(NETWORKS)), 0.0075))


pytestmark = pytest.mark.slow


def test_a_network_is_visited_in_several_processes_by_turns(
    measured: tuple[BenchProcesses, list[MeasuredNetwork]],
) -> None:
    _, found = measured
    assert [one.network.name for one in found] == [f"blocks-{seed}" for seed in range(NETWORKS)]
    places = [[place for place, _ in one.times] for one in found]
    assert all(len(set(own)) == len(own) == VISITS for own in places)
    assert len({place for own in places for place in own}) > NETWORKS * VISITS // LIFE, "processes are replaced"


def test_others_come_between_two_visits(measured: tuple[BenchProcesses, list[MeasuredNetwork]]) -> None:
    bench, _ = measured
    supply = map(network, range(VISITS * VISIT_EVERY))
    first = next(bench.measured(supply, 0.0))
    assert first.network.name == "blocks-0"
    assert next(supply).name == f"blocks-{1 + (VISITS - 1) * VISIT_EVERY}"


def test_another_bench_tells_latencies_on_the_clock_of_the_first_one(
    measured: tuple[BenchProcesses, list[MeasuredNetwork]],
) -> None:
    bench, found = measured
    profiled = bench.profiled(found)
    with closing(BenchProcesses(Asked())) as other:
        again = other.profiled(list(other.measured(map(network, range(4)))), 2 * bench.reference_ms)
    for seed, one in enumerate(again):
        own = statistics.median(each.latency_ms for each in profiled[seed::4])
        assert one.latency_ms / own == pytest.approx(2, rel=0.2)
    assert all(np.nansum(one.times.nodes_us) > 0 for one in profiled)
    assert abs(bench.drift()) < 0.5


def test_a_look_at_the_references_in_a_disturbed_time_does_not_count() -> None:
    bench = BenchProcesses(Asked())
    bench._looks[:] = [[(1.05, 2.0), (1.0, 2.0), (1.0, 2.2), (1.0, 2.0), (1.0, 2.0)]]
    nodes = (np.zeros((1, 1)), NodeTimes(np.zeros(1), 1.0, 1), 1e6)
    one = MeasuredNetwork(network(0), [(0, (3.0, 1.0))], nodes)
    assert bench.reference_ms == 2.0
    assert bench.profiled([one])[0].latency_ms == pytest.approx(3.0)


def test_what_is_slow_in_one_visit_or_for_all_of_a_process_does_not_count() -> None:
    bench = BenchProcesses(Asked())
    bench._looks[:] = [*[[(1.0, 2.0)] * 3] * 3, [(1.1, 2.0)] * 3]  # in the last, the first reference is slow
    nodes = (np.zeros((1, 1)), NodeTimes(np.zeros(1), 1.0, 1), 1e6)
    times = [(0, (3.0, 1.0)), (1, (4.5, 1.0)), (2, (6.0, 2.0)), (3, (3.0, 1.1))]
    assert [one.latency_ms for one in bench.profiled([MeasuredNetwork(network(0), times, nodes)])] == [
        pytest.approx(2.0 * 3.0 / 2.0)
    ]


def test_where_half_of_the_processes_are_slow_the_mean_counts() -> None:
    bench = BenchProcesses(Asked())
    bench._looks[:] = [[(1.0, 1.0)]] * 4
    nodes = (np.zeros((1, 1)), NodeTimes(np.zeros(1), 1.0, 1), 1e6)
    one = MeasuredNetwork(network(0), [(0, (2.0, 1.0)), (1, (8.0, 1.0)), (2, (8.0, 1.0)), (3, (2.0, 1.0))], nodes)
    assert bench.profiled([one])[0].latency_ms == pytest.approx(5.0)


def test_networks_that_are_left_are_visited_as_often(measured: tuple[BenchProcesses, list[MeasuredNetwork]]) -> None:
    bench, _ = measured
    few = list(bench.measured(map(network, range(2)), 0.0))
    assert [len(one.times) for one in few] == [VISITS] * 2
    assert all(a.nodes is not None and a.network.name != b.network.name for a, b in pairwise([*few, *few[:1]]))
