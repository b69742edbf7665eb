"""The supply of networks that a profile measures: families first, without running dry, and blocks in the gaps."""

from collections import Counter
from concurrent.futures import Future
from itertools import islice

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from paredown.evaluators.latency.bench import Asked
from paredown.evaluators.latency.bench_processes import MeasuredNetwork
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.fitting import ProfiledNetwork
from paredown.evaluators.latency.node_times import NodeTimes
from paredown.evaluators.latency.profiling import (
    AGAIN_EVERY,
    AHEAD,
    HEAVY_BYTES,
    HEAVY_TIMES,
    _alternating,
    _finished,
    _in_time,
    _light,
    without_exports,
)
from paredown.evaluators.latency.random_networks import RandomNetwork, on_other_images, random_networks
from paredown.evaluators.metrics.latency_ms import runner
from paredown.spaces.families.catalogue import PUBLISHED

LOW_RANK_SEEDS = (3, 11, 14)
"""Seeds of networks some of whose factors have no values of their own."""


def network(seed: int, format_: str, family: str = "mbconv") -> RandomNetwork:
    model, shape = block_network(seed, format_)
    return RandomNetwork(f"{family}-{seed}", format_, shape, model)


def exported(seed: int, family: str = "mbconv") -> list[RandomNetwork]:
    return [network(seed, format_, family) for format_ in ("fp32", "int8")]


def test_families_are_measured_as_long_as_they_are_exported() -> None:
    networks = list(islice(_alternating(Asked(), lambda seed, family: _finished(exported(seed, family))), 100))
    assert not [one.name for one in networks if one.name.startswith("blocks-")]
    assert len({one.name for one in networks}) == 50, "each seed once, in two number formats"
    assert all(one.shape == network(seed, "fp32").shape for seed, one in enumerate(networks[::2])), "none is resized"


@pytest.mark.parametrize("every", [3, 10**9], ids=["seldom", "never"])
def test_each_family_has_its_share_also_where_one_seldom_fits_or_never(every: int) -> None:
    def families(seed: int, family: str) -> Future[list[RandomNetwork]]:
        asked[family] += 1
        fits = family != "macro" or asked[family] % every == 0
        return _finished(exported(seed, family) if fits else [])

    asked = Counter[str]()
    found = Counter(one.family for one in islice(_alternating(Asked(), families), 240))
    rest = [found[family] for family in PUBLISHED if family != "macro"]
    assert max(rest) - min(rest) <= 4
    assert found["macro"] > 0.6 * min(rest) if every == 3 else not found["macro"] and asked["macro"] < 240


def test_other_images_are_of_the_family_that_was_measured_least() -> None:
    ready = [_finished(exported(1)), _finished(exported(2)), _finished(exported(3, "resnet"))]
    networks = _alternating(Asked(), lambda seed, family: ready.pop(0) if ready else Future())
    assert [next(networks).family for _ in range(6)] == ["mbconv"] * 4 + ["resnet"] * 2
    assert {next(networks).name for _ in range(2)} == {"resnet-3"}


def test_other_images_and_blocks_fill_the_gaps_and_families_that_do_not_fit_end_nothing() -> None:
    waiting: list[Future[list[RandomNetwork]]] = []

    def families(seed: int, family: str) -> Future[list[RandomNetwork]]:
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
    found = [next(networks) for _ in range(6)]
    assert {one.name for one in found} == {"mbconv-7"}
    assert [one.format for one in found] == ["fp32", "int8", "fp32", "fp32", "int8", "int8"]
    assert len({(one.format, one.shape) for one in found}) == 6, "each on two other sizes"
    assert next(networks).name == "blocks-4"


def test_large_files_are_kept_for_after_the_exports() -> None:
    small, large = bytes(10), bytes(int(HEAVY_BYTES))
    networks = [
        RandomNetwork(name, "fp32", (3, side, side), model)
        for name, side, model in (("a", 8, small), ("b", 8, large), ("b", 16, large), ("c", 8, small))
    ]
    heavy: list[RandomNetwork] = []
    assert [one.name for one in _light(networks, heavy)] == ["a", "c"]
    assert heavy == networks[1:3]


@pytest.mark.parametrize("pace_s", [0.1, 1.0])
def test_what_is_measured_later_has_its_time_on_fast_and_slow_machines(pace_s: float) -> None:
    networks = (RandomNetwork(str(at), "fp32", (3, 8, 8), b"") for at in range(10**6))
    measured, heavy = list[MeasuredNetwork](), list[RandomNetwork]()
    for one in _in_time(networks, measured, heavy, (0.0, 400.0), now=lambda: pace_s * len(measured)):
        if int(one.name) % 3 == 0:
            heavy.append(one)
        else:
            measured.append(MeasuredNetwork(one))
    later = len(measured) // AGAIN_EVERY + HEAVY_TIMES * len(heavy)
    assert 395 <= pace_s * (len(measured) + later) <= 400 + 3 * pace_s


@pytest.mark.slow
def test_a_network_runs_on_images_of_other_sizes_its_position_embeddings_with_it() -> None:
    found = {name.partition("-")[0]: others for name, others in map(_on_others, range(40)) if name}
    assert set(found) == set(PUBLISHED)
    assert {len({one.shape for one in others}) for others in found.values()} <= {1, 2}
    assert all(runner(one.model, one.shape)() for others in found.values() for one in others)


@pytest.mark.slow
def test_no_weights_are_left_at_zero_behind_which_all_integers_would_lie_on_one_grid() -> None:
    networks = [network for seed in LOW_RANK_SEEDS for network in random_networks(seed, ("fp32",))]
    assert len(networks) == len(LOW_RANK_SEEDS)
    for network in networks:
        weights = [w for w in onnx.load_from_string(network.model).graph.initializer if len(w.dims) > 1]
        assert all(numpy_helper.to_array(weight).any() for weight in weights), network.name


def _on_others(seed: int) -> tuple[str, list[RandomNetwork]]:
    own = random_networks(seed, ("fp32",))
    return (own[0].name, on_other_images(own[0])) if own else ("", [])


def test_what_exports_cost_beside_is_taken_out_by_number_format() -> None:
    def one(format_: str, latency_ms: float) -> ProfiledNetwork:
        return ProfiledNetwork("any", format_, np.zeros((1, 1)), NodeTimes(np.zeros(1), 1.0, 1), latency_ms, 1e6)

    beside = [one(format_, 1.0 + at) for at in range(4 * AGAIN_EVERY) for format_ in ("fp32", "int8")]
    costs = {"fp32": 1.02, "int8": 1.01}
    again = [one(each.format, each.latency_ms / costs[each.format]) for each in beside[::AGAIN_EVERY]]
    again[0] = one("fp32", 7.0)  # one that something else disturbed
    for before, after in zip(beside, without_exports(beside, again), strict=True):
        assert before.latency_ms / after.latency_ms == pytest.approx(costs[before.format])
