"""Structural methods on digits: channel pruning beside torch-pruning's own recipe, and one example of each method.

    python benchmarks/structural.py --seeds 3     # channel pruning to half the multiply-adds
    python benchmarks/structural.py --methods     # one setting of each method on the residual network
    python benchmarks/structural.py --latency     # grouped convolutions with and without their gathers

All start from the same trained network and fine-tune for the same epochs at the same rate. torch-pruning's recipe is
its `MagnitudePruner` with its defaults, the output layer left out. The ratio of each recipe is found by bisection, in
steps of 1/64, so that at most half of the multiply-adds are left; rounded channels may leave clearly fewer. Accuracies
are of the validation images, on which the best epoch is picked as well: they compare recipes, they do not promise.
"""

import argparse
import contextlib
import copy
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_pruning
from torch import Tensor, nn

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.macs import MACS
from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import recalibrate, score
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING
from paredown.spaces.compression.grouped_convolution import ChannelOrder
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.compression.surgery import replace
from paredown.spaces.compression.target import Target
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Range, Value
from paredown.spaces.space import joint_space

SHAPE = (1, 16, 16)
EPOCHS, FINETUNE_EPOCHS, RATE = 12, 4, 4e-3
FINEST = 64
Recipe = Callable[[nn.Module, float, TransformContext], nn.Module]


class Block(nn.Module):
    """Residual block of two 3 x 3 convolutions, with a projection where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x inputs x h x w` to `n x outputs x h/stride x w/stride`."""
        return torch.relu(self.body(x) + self.skip(x))


def resnet() -> nn.Module:
    """Return a stem of 16 channels, three stages of two blocks, a head."""
    blocks = [
        Block(16, 16, 1),
        Block(16, 16, 1),
        Block(16, 32, 2),
        Block(32, 32, 1),
        Block(32, 64, 2),
        Block(64, 64, 1),
    ]
    stem = (nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def mbconv() -> nn.Module:
    """Return the family's network at phi 2 with 16 x 16 inputs."""
    space = joint_space(FAMILIES, {}, Range(8, 16, 4), {"mbconv.phi": 2.0}, {})
    return FAMILIES["mbconv"].build(space.baseline.knobs, SHAPE, 10)


def theirs(model: nn.Module, ratio: float, material: TransformContext) -> nn.Module:
    """Prune by torch-pruning's MagnitudePruner with its defaults."""
    pruned = copy.deepcopy(model).eval()
    output = [m for m in pruned.modules() if isinstance(m, nn.Linear)][-1]
    importance = torch_pruning.importance.MagnitudeImportance()
    pruner = torch_pruning.pruner.MagnitudePruner(
        pruned, material.example, importance=importance, pruning_ratio=ratio, ignored_layers=[output]
    )
    pruner.step()
    return pruned


def ours(**knobs: Value) -> Recipe:
    """Return the step under these knobs."""
    transform = CHANNEL_PRUNING.transform
    assert transform is not None
    return lambda model, ratio, material: transform(model, {"ratio": ratio} | knobs, material)


RECIPES: dict[str, Recipe] = {
    "torch-pruning, defaults": theirs,
    "layer, l2, multiple 4": ours(),
    "layer, l2, multiple 1": ours(multiple=1),
    "global, taylor, multiple 4": ours(scope="global", importance="taylor"),
}


def macs(model: nn.Module) -> float:
    """Return multiply-adds of one input."""
    return MACS.evaluate(EvaluationInput(model, SHAPE)).value


def halving_ratio(prune: Callable[[float], nn.Module], cost: Callable[[nn.Module], float], most: float) -> float:
    """Return the ratio at which a network costs at most so much, while 1/64 less leaves more.

    Args:
        prune: Returns the network pruned by a ratio.
        cost: Of a network.
        most: The network may cost.

    Raises:
        InfeasibleCandidate: No ratio leaves so little.
    """
    low, high = FINEST // 8, FINEST * 3 // 4  # enough is left, too much is gone
    if (least := cost(prune(high / FINEST))) > most:
        raise InfeasibleCandidate(f"channel_pruning: ratio {high / FINEST:g} leaves {least:g}, more than {most:g}")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if cost(prune(middle / FINEST)) <= most else (middle, high)
    return high / FINEST


def halved(recipe: Recipe, model: nn.Module, material: TransformContext) -> nn.Module:
    """Return the network pruned to at most half the multiply-adds, and no further than that takes."""

    def prune(ratio: float) -> nn.Module:
        return recipe(model, ratio, TransformContext(material.example, material.images, material.labels))

    return prune(halving_ratio(prune, macs, macs(model) / 2))


METHODS: dict[str, dict[str, Value]] = {
    "layer_pruning": {"ratio": 0.5, "criterion": "loss"},
    "channel_pruning": {"ratio": 0.25},
    "grouped_convolution": {"groups": 4},
    "low_rank": {"ratio": 0.875, "rule": "energy", "energy": 0.8, "kernel": "spatial"},
    "stripe_pruning": {"ratio": 0.5, "axis": "stripe"},
}


def methods() -> list[dict[str, Any]]:
    """Train the residual network once, then apply and fine-tune each method alone."""
    model, data, plan, material, before = trained(resnet, 0)
    rows = []
    for name, knobs in METHODS.items():
        given, step = TransformContext(material.example, material.images, material.labels), STEPS[name]
        assert step.transform is not None
        small = step.transform(model, knobs, given)
        recalibrate(small, data)
        at_once = score(small, data.validation, data.normalise)[0]
        with contextlib.ExitStack() as stack:
            holds = [] if step.finetuning is None else [stack.enter_context(step.finetuning(small, knobs, Target()))]
            fit(
                small,
                data,
                plan,
                epochs=FINETUNE_EPOCHS,
                learning_rate=RATE / 2,
                deadline=math.inf,
                holds=holds,
            )
        recalibrate(small, data)
        nonzero = sum(int((p != 0).sum()) for p in small.parameters())
        row = {"method": name, "knobs": knobs, "macs": macs(small) / macs(model)}
        row |= {"params": parameters(small) / parameters(model), "nonzero": nonzero / parameters(model)}
        row |= {"before": before, "at_once": at_once, "after": score(small, data.validation, data.normalise)[0]}
        rows.append(row)
        print(row, flush=True)
    return rows


def latency() -> dict[str, dict[str, float]]:
    """Return how many times faster than dense ones grouped convolutions run, by channels and groups."""
    step, found = STEPS["grouped_convolution"], {}
    assert step.transform is not None
    for channels in (32, 64):
        torch.manual_seed(0)
        layers = [m for _ in range(6) for m in (nn.Conv2d(channels, channels, 3, 1, 1), nn.ReLU())]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))
        dense = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), *layers, *head).eval()
        networks = {"dense": dense}
        for groups in (2, 4, 8):
            grouped = step.transform(dense, {"groups": groups}, TransformContext(torch.zeros(1, 3, 32, 32))).eval()
            bare = copy.deepcopy(grouped)
            for order in [m for m in bare.modules() if isinstance(m, ChannelOrder)]:
                replace(bare, order, nn.Identity())
            networks |= {f"{groups} groups": grouped, f"{groups} groups without gathers": bare}
        sessions = {name: open_session(slimmed(export(m, (3, 32, 32)))) for name, m in networks.items()}
        image = np.zeros((1, 3, 32, 32), np.float32)
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(300):
            for name, session in sessions.items():
                begin = time.perf_counter()
                logits(session, image)
                seconds[name].append(time.perf_counter() - begin)
        pairs = {name: zip(seconds["dense"], taken, strict=True) for name, taken in seconds.items()}
        found[f"{channels} channels"] = {n: statistics.median(a / b for a, b in pair) for n, pair in pairs.items()}
        print(channels, found[f"{channels} channels"], flush=True)
    return found


def parameters(model: nn.Module) -> int:
    """Return how many there are."""
    return sum(p.numel() for p in model.parameters())


def trained(
    build: Callable[[], nn.Module], seed: int
) -> tuple[nn.Module, TrainingData, TrainingPlan, TransformContext, float]:
    """Return a trained network, its data and plan, what steps may look at, and its accuracy."""
    task = load_task(TaskSpec("digits", "{}", Path()))
    data = TrainingData.of(task, SHAPE[1])
    plan = TrainingPlan(seed=seed, accelerator="cpu", patience=EPOCHS)
    torch.manual_seed(seed)
    model = build()
    fit(model, data, plan, epochs=EPOCHS, learning_rate=RATE, deadline=math.inf)
    recalibrate(model, data)
    images = torch.from_numpy(data.normalise(data.train.images[:256]))
    material = TransformContext(torch.zeros(1, *SHAPE), images, torch.from_numpy(data.train.labels[:256]))
    return model, data, plan, material, score(model, data.validation, data.normalise)[0]


def run(build: Callable[[], nn.Module], seed: int) -> list[dict[str, Any]]:
    """Train once, then prune and fine-tune by each recipe."""
    model, data, plan, material, before = trained(build, seed)
    rows = []
    for name, recipe in RECIPES.items():
        pruned = halved(recipe, model, material)
        recalibrate(pruned, data)
        at_once = score(pruned, data.validation, data.normalise)[0]
        fit(pruned, data, plan, epochs=FINETUNE_EPOCHS, learning_rate=RATE / 2, deadline=math.inf)
        recalibrate(pruned, data)
        after = score(pruned, data.validation, data.normalise)[0]
        row = {"recipe": name, "seed": seed, "macs": macs(pruned) / macs(model)}
        rows.append(row | {"before": before, "at_once": at_once, "after": after})
        print(build.__name__, row, f"{before:.3f} {at_once:.3f} {after:.3f}", flush=True)
    return rows


def main() -> None:
    """Run all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", action="store_true")
    parser.add_argument("--latency", action="store_true")
    options = parser.parse_args()
    folder = Path(__file__).parent / "results"
    if options.methods:
        (folder / "structural.json").write_text(json.dumps(methods(), indent=1) + "\n")
        return
    if options.latency:
        (folder / "grouped_latency.json").write_text(json.dumps(latency(), indent=1) + "\n")
        return
    started, results = time.monotonic(), {}
    for build in (resnet, mbconv):
        rows = [row for seed in range(options.seeds) for row in run(build, seed)]
        results[build.__name__] = rows
        for name in RECIPES:
            mine = [row for row in rows if row["recipe"] == name]
            means = {k: statistics.mean(row[k] for row in mine) for k in ("macs", "before", "at_once", "after")}
            print(f"{build.__name__:8} {name:28}", *(f"{k} {v:.4f}" for k, v in means.items()))
    document = {"seconds": round(time.monotonic() - started), "seeds": options.seeds, "networks": results}
    (folder / "channel_pruning.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
