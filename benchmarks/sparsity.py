"""Zeros among the weights: accuracy before and after, on digits at 16 px, and what bf16 training costs here.

Two networks of some 80,000 weights: a small ResNet with dense 3 x 3 convolutions and the mbconv family's with depthwise
ones. Each is trained for 10 epochs, made sparse, and fine-tuned; the accuracy is that of the 359 validation images.
Prints one JSON line a run. Seconds are those of the processor, in one thread, so that other programs do not count.

    python benchmarks/sparsity.py pruning|penalty|precision [--network resnet|mbconv] [--finetune-epochs 8] [--seeds 1]
"""

import argparse
import contextlib
import itertools
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from paredown.evaluators.tasks.spec import TaskSpec, load_task
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit
from paredown.evaluators.training.inference import recalibrate, score
from paredown.evaluators.training.loss_terms import LossTerms
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.masks import weights_of
from paredown.spaces.compression.step import TransformContext
from paredown.spaces.compression.target import Target
from paredown.spaces.families.catalogue import FAMILIES

SIDE, EPOCHS, RATE = 16, 10, 6e-3
KNOBS = {
    "scaling": "free",
    "depth": 2.0,
    "width": 3.0,
    "resolution": SIDE,
    "kernel": 3,
    "expansion": 4,
    "squeeze_excite": False,
    "activation": "relu",
}
ONE_SHOT = {"ratio": 0.8, "scope": "global", "pattern": "none", "schedule": "one_shot"}
RUNS: dict[str, list[dict[str, dict[str, Any]]]] = {
    "pruning": [
        {},
        *(
            {"unstructured_pruning": ONE_SHOT | more}
            for more in ({}, {"schedule": "gradual"}, {"scope": "layer"}, {"pattern": "2:4", "ratio": 0.5})
        ),
    ],
    "penalty": [
        {"sparsity_penalty": {"kind": kind, "strength": strength}}
        for kind in ("l1", "group_lasso")
        for strength in (0.1, 0.3, 0.4, 0.5)
    ],
}


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inner, outer, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outer),
            nn.ReLU(),
            nn.Conv2d(outer, outer, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outer),
        )
        shortcut = nn.Sequential(nn.Conv2d(inner, outer, 1, stride, bias=False), nn.BatchNorm2d(outer))
        self.shortcut: nn.Module = nn.Identity() if stride == 1 else shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both ways."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet() -> nn.Module:
    """Return the ResNet."""
    stem = [nn.Conv2d(1, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    blocks = [Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


NETWORKS = {"resnet": resnet, "mbconv": lambda: FAMILIES["mbconv"].build(KNOBS, (1, SIDE, SIDE), 10)}


def run(
    name: str, data: TrainingData, steps: dict[str, dict[str, Any]], seed: int, finetune_epochs: int
) -> dict[str, Any]:
    """Train, make sparse, fine-tune; return what came out."""
    plan = TrainingPlan(patience=4, accelerator="cpu", seed=seed)
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    pulls = [(STEPS[step].proximal, knobs) for step, knobs in steps.items()]
    terms = LossTerms(proximals=[lambda m, r, p=p, k=k: p(m, k, r) for p, k in pulls if p is not None])
    deadline = time.monotonic() + 3600
    fit(model, data, plan, epochs=EPOCHS, learning_rate=RATE, deadline=deadline, terms=terms)
    recalibrate(model, data)
    trained = score(model, data.validation, data.normalise)[0]
    images = torch.from_numpy(data.normalise(data.train.images[:64]))
    with contextlib.ExitStack() as stack:
        holds = []
        for step, knobs in steps.items():
            transform, finetuning = STEPS[step].transform, STEPS[step].finetuning
            if transform is not None:
                model = transform(model, knobs, TransformContext(images[:1], images))
            if finetuning is not None:
                holds.append(stack.enter_context(finetuning(model, knobs, Target())))
        more = {"epochs": finetune_epochs, "learning_rate": RATE / 2}
        fit(model, data, plan, **more, deadline=deadline, holds=holds)  # type: ignore[arg-type]
    recalibrate(model, data)
    weights = list(weights_of(model).values())
    filters = [w.flatten(1) for w in weights if w.dim() > 2]
    return {
        "network": name,
        "steps": steps,
        "seed": seed,
        "trained": round(trained, 4),
        "finetuned": round(score(model, data.validation, data.normalise)[0], 4),
        "zeros": round(sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights), 3),
        "zero_filters": sum(int((f == 0).all(1).sum()) for f in filters),
        "filters": sum(len(f) for f in filters),
        "weights": sum(w.numel() for w in weights),
    }


def seconds_an_epoch(name: str, data: TrainingData, precision: Any) -> dict[str, Any]:
    """Train for 3 epochs; return the least time of one, the first left out."""
    torch.manual_seed(0)
    ends: list[float] = []

    def on_epoch(epoch: int, metrics: dict[str, float]) -> str:
        ends.append(time.process_time())
        return ""

    model, plan = NETWORKS[name](), TrainingPlan(accelerator="cpu", precision=precision)
    fit(model, data, plan, epochs=3, learning_rate=RATE, deadline=time.monotonic() + 3600, on_epoch=on_epoch)
    least = min(b - a for a, b in itertools.pairwise(ends))
    accuracy = score(model, data.validation, data.normalise)[0]
    return {
        "network": name,
        "precision": precision,
        "seconds_an_epoch": round(least, 2),
        "accuracy": round(accuracy, 4),
    }


def main() -> None:
    """Print the results of one group of runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("group", choices=[*RUNS, "precision"])
    parser.add_argument("--network", choices=NETWORKS)
    parser.add_argument("--finetune-epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = TrainingData.of(load_task(TaskSpec("digits", "{}", Path())), SIDE)
    for name in [given.network] if given.network else NETWORKS:
        if given.group == "precision":
            for precision in ("fp32", "bf16"):
                print(json.dumps(seconds_an_epoch(name, data, precision)), flush=True)
            continue
        for steps in RUNS[given.group]:
            for seed in range(given.seeds):
                print(json.dumps(run(name, data, steps, seed, given.finetune_epochs)), flush=True)


if __name__ == "__main__":
    main()
