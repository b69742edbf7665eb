"""The predictor learns a machine whose costs are known, says how sure it is, and survives its file."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from gated_network import Gated

from paredown.evaluators.errors import DeviceError
from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.latency.apart import apart
from paredown.evaluators.latency.block_networks import block_network
from paredown.evaluators.latency.fitting import ProfiledNetwork, fitted
from paredown.evaluators.latency.instructions import AVX512
from paredown.evaluators.latency.kernels import macs_of
from paredown.evaluators.latency.node_counts import counts_of
from paredown.evaluators.latency.node_features import AT, CLASSES, measures
from paredown.evaluators.latency.node_times import NodeTimes
from paredown.evaluators.latency.predictor import BESIDE, LatencyPredictor, inputs_of, load_predictor
from paredown.evaluators.latency.random_networks import in_format
from paredown.evaluators.latency.runtime_nodes import runtime_nodes
from paredown.evaluators.metrics.measurement import Measurement

NETWORKS = 60


def costs_us(read: np.ndarray) -> np.ndarray:
    """Return what nodes cost on a machine that calls in 2 us, computes 20 MAC a ns and moves 3 elements a ns."""
    counts = counts_of(read, AVX512)
    return 2 + counts["macs"] / 20e3 + (counts["elements_in"] + counts["elements_out"]) / 3e3


def profiled(seed: int) -> ProfiledNetwork:
    model, _ = block_network(seed, ("fp32", "int8")[seed % 2])
    graph = read_graph(model)
    read = measures(graph, runtime_nodes(graph, AVX512), AVX512)
    costs = costs_us(read)
    macs = sum(macs_of(graph, operator) for operator in graph.operators)
    times = NodeTimes(costs + 2, float((costs + 2).sum()), len(costs))
    return ProfiledNetwork(str(seed), "fp32", read, times, costs.sum() / 1e3, macs)


@pytest.fixture(scope="module")
def predictor() -> LatencyPredictor:
    facts = {"device": "a machine", "threads": 1, "batch_size": 1}
    return fitted([profiled(seed) for seed in range(NETWORKS)], facts, steps=60)


def test_costs_that_are_known_are_learned(predictor: LatencyPredictor) -> None:
    held_out = predictor.facts["held_out"]
    assert held_out["median_error"] < 0.1
    assert held_out["kendall_tau"] > 0.9
    errors = []
    for seed in range(1000, 1010):
        model, _ = block_network(seed, "fp32")
        found = predictor.predict(model)
        truth = profiled_ms(model)
        errors.append(abs(found.value_ms / truth - 1))
        assert found.low_ms < found.value_ms < found.high_ms
    assert np.median(errors) < 0.1


def profiled_ms(model: bytes) -> float:
    graph = read_graph(model)
    return float(costs_us(measures(graph, runtime_nodes(graph, AVX512), AVX512)).sum() / 1e3)


def test_a_file_keeps_what_it_predicts(predictor: LatencyPredictor, tmp_path: Path) -> None:
    predictor.save(tmp_path / "host.latency.npz")
    model, _ = block_network(77, "int8")
    loaded = load_predictor(tmp_path / "host.latency.npz")
    assert loaded.predict(model).value_ms == pytest.approx(predictor.predict(model).value_ms, rel=1e-4)
    assert loaded.facts["held_out"] == predictor.facts["held_out"]


def test_what_was_not_profiled_is_marked(predictor: LatencyPredictor) -> None:
    graph = read_graph(block_network(5, "fp32")[0])
    read = measures(graph, runtime_nodes(graph, AVX512), AVX512)
    assert not predictor._outside(read[:1], predictor.facts["latency_ms"][0])
    read[0, AT["side"]] = 31
    assert any("side of a " in reason for reason in predictor._outside(read, 1.0))
    assert any(" ms (" in reason for reason in predictor._outside(read, 1e6))


def test_a_predictor_counts_for_the_processor_that_was_profiled(predictor: LatencyPredictor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = export(torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 1)).eval(), (3, 8, 8))
    assert predictor.instructions is AVX512, "that of files that name none"
    other = replace(predictor, facts={**predictor.facts, "instructions": "avx2"})
    classes = [{CLASSES[int(row[0])] for row in each._read(model)[0]} for each in (predictor, other)]
    assert "direct_pointwise" in classes[0]
    assert "blocked_pointwise" in classes[1], "blocks have 8 channels there"
    replace(predictor, facts={**predictor.facts, "instructions": "of the future"}).save(tmp_path / "host.latency.npz")
    with pytest.raises(DeviceError, match="another version of paredown"):
        load_predictor(tmp_path / "host.latency.npz")


def test_fp16_runs_as_fp32_where_it_was_not_profiled(predictor: LatencyPredictor) -> None:
    torch.manual_seed(0)
    model = export(Gated().eval(), (3, 8, 8))
    single, half = predictor.predict(model), predictor.predict(in_format(model, "fp16", (3, 8, 8)))
    assert half.value_ms == pytest.approx(single.value_ms)
    assert half.outside == (*single.outside, "fp16, which runs as fp32 here")
    with_half = replace(predictor, facts={**predictor.facts, "formats": ["fp32", "fp16"]}, interval=np.ones((2, 2)))
    assert with_half.predict(in_format(model, "fp16", (3, 8, 8))).value_ms != pytest.approx(single.value_ms)


@pytest.mark.parametrize("text", ["", "no archive"])
def test_a_file_that_is_no_predictor_says_how_to_make_one(text: str, tmp_path: Path) -> None:
    (tmp_path / "host.latency.npz").write_text(text)
    with pytest.raises(DeviceError, match=r"host\.latency\.npz.*paredown device profile"):
        load_predictor(tmp_path / "host.latency.npz")


def test_a_file_of_a_version_whose_members_saw_less_is_refused(predictor: LatencyPredictor, tmp_path: Path) -> None:
    file = tmp_path / "host.latency.npz"
    predictor.save(file)
    with np.load(file) as stored:
        arrays = dict(stored)
    facts = json.loads(str(arrays["facts"]))
    arrays["facts"] = np.array(json.dumps(facts | {"features": facts["features"][: -len(BESIDE)]}))
    np.savez(file, **arrays)
    with pytest.raises(DeviceError, match="another version of paredown; make it again with `paredown device profile`"):
        load_predictor(file)


def test_far_predictions_are_told_apart_on_the_same_device_alone() -> None:
    measured = Measurement("latency_ms", 1.0, 0.02, "measured", "here")
    assert apart(measured, Measurement("device_latency_ms", 1.19, device="here")) == ""
    assert "+25%" in apart(measured, Measurement("device_latency_ms", 1.25, device="here"))
    assert "-30%" in apart(measured, Measurement("device_latency_ms", 0.7, device="here"))
    assert apart(measured, Measurement("device_latency_ms", 2.0, device="f746")) == ""


def test_intervals_are_found_for_each_number_format() -> None:
    dice, networks = np.random.default_rng(0), []
    for seed in range(2 * NETWORKS):
        one, name = profiled(seed), ("fp32", "int8")[seed % 2]
        noise = np.exp(dice.normal(0, 0.2 if name == "int8" else 0.0))
        networks.append(replace(one, name=f"resnet-{seed}", format=name, latency_ms=one.latency_ms * noise))
    found = fitted(networks, {"device": "a machine", "threads": 1, "batch_size": 1}, steps=60)
    widths = []
    for format_ in ("fp32", "int8"):
        prediction = found.predict(block_network(2000, format_)[0])
        widths.append(prediction.high_ms / prediction.low_ms)
    assert found.interval.shape == (2, 2)
    assert widths[1] > 1.3 * widths[0]


@pytest.mark.parametrize("members", [(), (3,)], ids=["one member", "each member"])
def test_what_members_see_of_a_network_does_not_depend_on_its_place_in_a_profile(members: tuple[int, ...]) -> None:
    dice = np.random.default_rng(0)
    sizes = (1, 5, 2)
    standard, guessed = dice.normal(size=(sum(sizes), 4)), dice.uniform(0.2, 90, size=(*members, sum(sizes)))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    together = inputs_of(standard, guessed, owner)
    for at, size in enumerate(sizes):
        own = owner == at
        assert np.array_equal(
            together[..., own, :], inputs_of(standard[own], guessed[..., own], np.zeros(size, np.int64))
        )


def test_nodes_that_take_longer_after_slow_ones_are_learned() -> None:
    def after_others(network: ProfiledNetwork) -> ProfiledNetwork:
        costs = network.times.nodes_us - 2
        longer = costs * np.where(np.roll(costs, 1) > 2 * costs, 1.3, 1.0)
        return replace(
            network, times=NodeTimes(longer + 2, float((longer + 2).sum()), len(longer)), latency_ms=longer.sum() / 1e3
        )

    facts = {"device": "a machine", "threads": 1, "batch_size": 1}
    networks = [after_others(profiled(seed)) for seed in range(NETWORKS)]
    found = fitted(networks, facts, steps=400).facts
    assert found["held_out"]["median_error"] < 0.66 * found["held_out_table_sum"]["median_error"]
