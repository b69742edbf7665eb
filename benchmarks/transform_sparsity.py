"""Does a transform keep more of a network than zeroing as many raw weights?

Networks are trained on the digits; then each filter keeps as few coefficients as hold a share of its energy, in each
domain. Beside it as many raw weights are kept, the largest of each filter, or the largest of all layers together.
Accuracy on the validation images, before and after the same fine-tuning, and bytes of the packed file.

    .venv/bin/python benchmarks/transform_sparsity.py

Writes benchmarks/results/transform_sparsity.json.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.packing.container import pack
from paredown.evaluators.tasks.catalogue import TASKS
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import TrainingPlan, fit, keep
from paredown.evaluators.training.inference import recalibrate, score
from paredown.spaces.compression.step import Hold, RewriteContext, TransformContext
from paredown.spaces.compression.target import Target
from paredown.spaces.compression.transform_sparsity import SMALLEST_FILTER, TRANSFORM_SPARSITY, sparsified
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knobs

ROOT = Path(__file__).parents[1]
SHAPE = (1, 16, 16)
RATE = 6e-3
DOMAINS: dict[str, dict[str, str]] = {
    "dct": {"domain": "dct"},
    "dft": {"domain": "dft"},
    "stft": {"domain": "stft"},
    "haar": {"domain": "wavelet", "wavelet": "haar"},
    "db4": {"domain": "wavelet", "wavelet": "db4"},
}
MBCONV = {
    "scaling": "free",
    "depth": 1.0,
    "width": 1.5,
    "resolution": 16,
    "kernel": 3,
    "expansion": 4,
    "squeeze_excite": False,
    "activation": "relu",
}


class Residual(nn.Module):
    """Dense 3 x 3 convolutions, two of them in a residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = self._convolution(1, 16)
        self.down = self._convolution(16, 32, stride=2)
        self.body = nn.Sequential(self._convolution(32, 32), self._convolution(32, 32))
        self.head = nn.Linear(32, 10)

    @staticmethod
    def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
        layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x 1 x h x w` to `n x 10`."""
        x = self.down(self.stem(x))
        x = x + self.body(x)
        y: Tensor = self.head(x.mean((2, 3)))
        return y


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "residual": Residual,
    "mbconv": lambda: FAMILIES["mbconv"].build(MBCONV, SHAPE, 10),
}


def weights_of(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights that a transform would treat."""
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    return [layer.weight for layer in layers if layer.weight[0].numel() >= SMALLEST_FILTER]


def masks_per_filter(model: nn.Module, knobs: Knobs) -> list[Tensor]:
    """Return which raw weights remain where each filter keeps as many as it keeps coefficients."""
    masks = []
    for weight in weights_of(model):
        counts = np.count_nonzero(sparsified(weight.detach().numpy(), knobs)[0], axis=1)
        ranks = weight.detach().abs().flatten(1).argsort(1, descending=True).argsort(1)
        masks.append((ranks < torch.from_numpy(counts)[:, None]).reshape(weight.shape))
    return masks


def masks_over_all(model: nn.Module, knobs: Knobs) -> list[Tensor]:
    """Return which raw weights remain where all layers together keep as many as they keep coefficients."""
    weights = weights_of(model)
    count = sum(int(np.count_nonzero(sparsified(w.detach().numpy(), knobs)[0])) for w in weights)
    least = torch.cat([w.detach().abs().flatten() for w in weights]).topk(count).values.min()
    return [w.detach().abs() >= least for w in weights]


@contextmanager
def masked(model: nn.Module, masks: list[Tensor]) -> Iterator[Hold]:
    """Hold weights at zero."""
    yield Hold(lambda progress: [w.mul_(mask) for w, mask in zip(weights_of(model), masks, strict=True)] and None)


def scores(
    model: nn.Module, enter: Callable[[nn.Module], Any], data: TrainingData, plan: TrainingPlan, knobs: Knobs | None
) -> dict[str, float]:
    """Return accuracy before and after fine-tuning, and what the packed file weighs."""
    with enter(model) as hold:
        keep([hold], 1.0)
        recalibrate(model, data)
        before, _ = score(model, data.validation, data.normalise)
        deadline = time.monotonic() + plan.max_seconds
        fit(model, data, plan, epochs=plan.finetune_epochs, learning_rate=RATE / 2, deadline=deadline, holds=[hold])
    recalibrate(model, data)
    after, _ = score(model, data.validation, data.normalise)
    onnx = export(model, SHAPE)
    if knobs is not None:
        assert TRANSFORM_SPARSITY.rewrite is not None
        onnx = TRANSFORM_SPARSITY.rewrite(
            onnx, knobs, RewriteContext(np.zeros((1, *SHAPE), np.float32), np.zeros(1, int))
        )
    return {"before": before, "after": after, "packed_bytes": len(pack(slimmed(onnx)))}


def run(name: str, seed: int, shares: list[float], data: TrainingData, plan: TrainingPlan) -> dict[str, Any]:
    """Train one network and compress it in each way."""
    torch.manual_seed(seed)
    model = NETWORKS[name]()
    fit(model, data, plan, epochs=plan.epochs, learning_rate=RATE, deadline=time.monotonic() + 600)
    recalibrate(model, data)
    accuracy, _ = score(model, data.validation, data.normalise)
    found: dict[str, Any] = {"network": name, "seed": seed, "accuracy": accuracy, "shares": {}}
    found["packed_bytes"] = len(pack(slimmed(export(model, SHAPE))))
    total = sum(w.numel() for w in weights_of(model))
    for share in shares:
        rows = found["shares"][str(share)] = {}
        for domain, chosen in DOMAINS.items():
            knobs: Knobs = {"rule": "energy", "amount": share, **chosen}
            masks = masks_per_filter(model, knobs), masks_over_all(model, knobs)
            assert TRANSFORM_SPARSITY.transform is not None
            assert TRANSFORM_SPARSITY.finetuning is not None
            sparse = TRANSFORM_SPARSITY.transform(model, knobs, TransformContext(torch.zeros(1, *SHAPE)))
            rows[domain] = {
                "kept": sum(int(mask.sum()) for mask in masks[0]) / total,
                "transform": scores(
                    sparse, lambda m, k=knobs: TRANSFORM_SPARSITY.finetuning(m, k, Target()), data, plan, knobs
                ),
            }
            if domain == "dct":
                for label, mask in zip(("raw_per_filter", "raw_over_all"), masks, strict=True):
                    zeroed = copy.deepcopy(model)
                    rows[domain][label] = scores(zeroed, lambda m, k=mask: masked(m, k), data, plan, None)
    return found


def main() -> None:
    """Compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--finetune-epochs", type=int, default=4)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.8, 0.95])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/transform_sparsity.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    loader = TASKS["digits"]
    data = TrainingData.of(loader.load(loader.options(), ROOT), SHAPE[1])
    results = []
    for name in NETWORKS:
        for seed in range(options.seeds):
            plan = TrainingPlan(epochs=options.epochs, finetune_epochs=options.finetune_epochs, seed=seed)
            results.append(run(name, seed, options.shares, data, plan))
    for name in NETWORKS:
        mine = [r for r in results if r["network"] == name]
        print(f"{name}: accuracy {statistics.mean(r['accuracy'] for r in mine):.4f}")
        for share in map(str, options.shares):
            for domain in DOMAINS:
                rows = [r["shares"][share][domain] for r in mine]
                kept = statistics.mean(row["kept"] for row in rows)
                line = f"  energy {share} {domain:5} keeps {kept:.3f}"
                for way in ("transform", "raw_per_filter", "raw_over_all"):
                    if way in rows[0]:
                        before, after, size = (
                            statistics.mean(row[way][key] for row in rows)
                            for key in ("before", "after", "packed_bytes")
                        )
                        line += f" | {way} {before:.3f} -> {after:.3f} {size:.0f} B"
                print(line)
    options.out.write_text(json.dumps({"shape": SHAPE, "epochs": options.epochs, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
