"""Trains the predictor of a device on what was profiled there.

Each member of the ensemble leaves out one fold of the networks; what it says of those is the held-out error, and scales
the intervals. A member learns from the latencies of whole networks and from how they divide among the nodes.
"""

import math
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from paredown.evaluators.device import cores_here
from paredown.evaluators.latency.instructions import Instructions, instructions_of
from paredown.evaluators.latency.node_counts import counts_of, features
from paredown.evaluators.latency.node_features import AT, CLASSES, MEASURES, Array
from paredown.evaluators.latency.node_times import NodeTimes, divided
from paredown.evaluators.latency.predictor import (
    MOST_CORRECTED,
    LatencyPredictor,
    corrected_us,
    inputs_of,
    standardised,
)
from paredown.evaluators.latency.table_sum import costs_of, fitted_table, groups_of, guessed_us
from paredown.evaluators.owner import end_with_owner

FOLDS = 5
WIDTH = 64
DROPOUT = 0.05
BATCH_NETWORKS = 16
LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-1
STEPS = 4000
WARM_UP = 0.3
"""Share of the training in which the learning rate rises."""
GUIDANCE = 1.0
"""Weight of the nodes beside the whole networks."""
WHOLE_BETA, NODE_BETA = 0.01, 0.1
"""Relative errors from which on an error counts linearly: outliers are other work on the machine."""
SMALLEST_US = 0.3
BLOCKS = "blocks-"
"""How the names of networks of random blocks begin."""
FEWEST_CALIBRATING = 50
"""Number of networks from which on an interval is found on them alone."""
FEWEST_IN_PARALLEL = 200
"""Number of networks from which on members are trained on all cores: processes take seconds to start."""
LEAST_MS = 0.05
"""Latency from which on networks count among the held-out ones: below, a call takes the time."""


@dataclass(frozen=True)
class ProfiledNetwork:
    """A network as it was profiled.

    Attributes:
        name: Its name; networks of one name differ in the number format and share a fold.
        format: Number format.
        read: Measures of its nodes.
        times: What the profiler says of them.
        latency_ms: Its latency.
        macs: Its multiply-accumulates.
    """

    name: str
    format: str
    read: Array
    times: NodeTimes
    latency_ms: float
    macs: float


def fitted(
    networks: Sequence[ProfiledNetwork], facts: dict[str, Any], seconds: float = math.inf, steps: int = STEPS
) -> LatencyPredictor:
    """Return the predictor of a profile.

    Args:
        networks: What was profiled.
        facts: What else is to be known of the profile.
        seconds: Seconds that training may take, roughly; a busy machine takes fewer steps.
        steps: Maximum number of steps of training of each member.
    """
    data = _Data.of(networks, instructions_of(facts))
    members = _members(data, seconds, steps)
    held_out, by_table = np.zeros(len(networks)), np.zeros(len(networks))
    for fold, member in enumerate(members):
        own = data.folds == fold
        held_out[own] = _predicted(data, member)[own]
        by_table[own] = _table_sum(data, member)[own]
    predictions = np.log([_predicted(data, member) for member in members])
    latencies = data.latencies
    errors = np.abs(np.log(held_out / latencies))
    counted = latencies >= LEAST_MS if (latencies >= LEAST_MS).any() else np.ones(len(latencies), bool)
    formats = sorted({network.format for network in networks})
    spread = predictions.std(axis=0)
    interval = [_interval(errors, spread, _calibrating(networks, counted, name)) for name in formats]
    classes = data.read[:, AT["class"]].astype(int)
    low, high = np.zeros((2, len(CLASSES), len(MEASURES)))
    for at in np.unique(classes):
        low[at], high[at] = (f(data.read[classes == at], axis=0) for f in (np.min, np.max))
    counts = np.bincount(classes, minlength=len(CLASSES)).astype(float)
    whole = {
        "networks": len(networks),
        "macs_line": [float(v) for v in np.polyfit(np.log([n.macs for n in networks]), np.log(latencies), 1)],
        "formats": formats,
        "latency_ms": [float(latencies.min()), float(latencies.max())],
        "held_out": summary(held_out[counted], latencies[counted]),
        "held_out_table_sum": summary(by_table[counted], latencies[counted]),
    }
    weights = tuple(
        (np.stack([m.layers[at][0] for m in members]), np.stack([m.layers[at][1] for m in members]))
        for at in range(len(members[0].layers))
    )
    tables = np.stack([member.table for member in members])
    return LatencyPredictor(
        facts | whole, tables, data.mean, data.scale, weights, low, high, counts, np.array(interval)
    )


def _calibrating(networks: Sequence[ProfiledNetwork], counted: NDArray[np.bool_], format_: str) -> NDArray[np.bool_]:
    """Return which networks intervals of a number format are found on: the families' own where they are many."""
    own = counted & np.array([network.format == format_ for network in networks])
    of_families = own & np.array([not network.name.startswith(BLOCKS) for network in networks])
    return next((some for some in (of_families, own) if some.sum() >= FEWEST_CALIBRATING), counted)


def _interval(errors: Array, spread: Array, own: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the floor and the factor of an interval, with which it holds 90 % of some held-out networks."""
    # Most members have seen a network, so their spread on it is too small; the median error serves as the floor.
    floor = float(np.median(errors[own]))
    return floor, max(1.0, float(np.quantile(errors[own] / (spread[own] + floor), 0.9)))


def summary(predicted: Array, measured: Array) -> dict[str, float]:
    """Return how far predictions are from measurements.

    Args:
        predicted: In ms.
        measured: In ms.
    """
    errors = np.abs(predicted / measured - 1)
    return {
        "networks": len(measured),
        "median_error": float(np.median(errors)),
        "within_5_percent": float((errors <= 0.05).mean()),
        "within_10_percent": float((errors <= 0.10).mean()),
        "kendall_tau": float(kendalltau(predicted, measured).statistic) if len(measured) > 1 else 1.0,
    }


@dataclass(frozen=True)
class _Data:
    read: Array
    costs: Array
    groups: NDArray[np.int64]
    standard: Array
    owner: NDArray[np.int64]
    nodes_us: Array
    latencies: Array
    folds: NDArray[np.int64]
    mean: Array
    scale: Array

    @classmethod
    def of(cls, networks: Sequence[ProfiledNetwork], instructions: Instructions) -> "_Data":
        read = np.concatenate([n.read for n in networks])
        names = {name: at % FOLDS for at, name in enumerate(dict.fromkeys(n.name for n in networks))}
        latencies = np.array([n.latency_ms for n in networks])
        counts = counts_of(read, instructions)
        seen = features(counts, instructions)
        mean, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-3
        return cls(
            read,
            costs_of(counts),
            groups_of(counts),
            standardised(seen, mean, scale),
            np.concatenate([np.full(len(n.read), at) for at, n in enumerate(networks)]),
            np.concatenate(divided([n.times for n in networks], latencies)),
            latencies,
            np.array([names[n.name] for n in networks]),
            mean,
            scale,
        )


@dataclass(frozen=True)
class _Member:
    table: Array
    layers: list[tuple[Array, Array]]


def _predicted(data: _Data, member: _Member) -> Array:
    guessed = guessed_us(data.costs, data.groups, member.table)
    nodes = corrected_us(guessed, inputs_of(data.standard, guessed, data.owner), member.layers)
    return np.bincount(data.owner, nodes, len(data.latencies)) / 1e3


def _table_sum(data: _Data, member: _Member) -> Array:
    guessed = guessed_us(data.costs, data.groups, member.table)
    return np.bincount(data.owner, guessed, len(data.latencies)) / 1e3


def _members(data: _Data, seconds: float, steps: int) -> list[_Member]:
    """Return one member for each fold, trained on the other ones; on as many cores as there are, one each."""
    cores = min(FOLDS, cores_here())
    if cores == 1 or len(data.latencies) < FEWEST_IN_PARALLEL:
        return [_trained(data, fold, seconds / FOLDS, steps) for fold in range(FOLDS)]
    each = seconds / math.ceil(FOLDS / cores)
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn"), end_with_owner) as pool:
        return list(pool.map(_trained, *zip(*((data, fold, each, steps) for fold in range(FOLDS)), strict=True)))


def _one_cycle(done: float) -> float:
    """Return the share of the learning rate that holds after a share of the training."""
    if done < WARM_UP:
        return max(done / WARM_UP, 0.04)
    return 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


def _trained(data: _Data, fold: int, seconds: float, steps: int) -> _Member:
    """Return a table and what corrects it, found on the networks of the other folds."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the products are small
    torch.manual_seed(fold)
    dice, members = np.random.default_rng(fold), np.flatnonzero(data.folds != fold)
    is_known = np.isfinite(data.nodes_us)
    used = np.isin(data.owner, members) & is_known
    table = fitted_table(data.costs[used], data.groups[used], data.nodes_us[used])
    guess = guessed_us(data.costs, data.groups, table)
    nodes_us = np.where(is_known, data.nodes_us, 1.0)
    values = (inputs_of(data.standard, guess, data.owner), guess, nodes_us, 1e3 * data.latencies, is_known)
    inputs, guessed, nodes, whole, known = (torch.tensor(v, dtype=torch.float32) for v in values)
    model = nn.Sequential(
        *(nn.Linear(inputs.shape[1], WIDTH), nn.SiLU(), nn.Dropout(DROPOUT)),
        *(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Dropout(DROPOUT), nn.Linear(WIDTH, 1)),
    )
    for parameter in model[-1].parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    places = [np.flatnonzero(data.owner == at) for at in range(len(data.latencies))]
    start = time.monotonic()
    for step in range(steps):
        done = max(step / steps, (time.monotonic() - start) / seconds)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * _one_cycle(done)
        chosen = dice.choice(members, min(BATCH_NETWORKS, len(members)), replace=False)
        at = torch.from_numpy(np.concatenate([places[n] for n in chosen]))
        owner = torch.from_numpy(np.repeat(np.arange(len(chosen)), [len(places[n]) for n in chosen]))
        corrected = MOST_CORRECTED * torch.tanh(model(inputs[at]).squeeze(1) / MOST_CORRECTED)
        taken: torch.Tensor = guessed[at] * corrected.exp()
        sums = torch.zeros(len(chosen)).index_add(0, owner, taken)
        truth = whole[torch.from_numpy(chosen)]
        errors = torch.log(sums / truth)
        weight = (torch.sqrt(nodes[at] / truth[owner]) + 0.02) * known[at]
        parts = F.smooth_l1_loss(
            (taken + SMALLEST_US).log(), (nodes[at] + SMALLEST_US).log(), reduction="none", beta=NODE_BETA
        )
        loss = F.smooth_l1_loss(errors, torch.zeros_like(errors), beta=WHOLE_BETA)
        loss = loss + GUIDANCE * (weight * parts).sum() / weight.sum().clamp(min=1e-6)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.set_num_threads(threads)
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    found = [(a.weight.detach().numpy().T.astype(float), a.bias.detach().numpy().astype(float)) for a in layers]
    return _Member(table, found)
