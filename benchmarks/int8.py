"""int8 against float32 in ONNX Runtime: the ratio of latencies at batch 1 on one thread.

Networks at 32 x 32 with more than 5 million multiply-adds: residual ones with ReLU, of 16 and of 32 channels in the
first stage, and an mbconv with ReLU, untrained (speed does not depend on the weights). Runs of both files alternate;
the figure is the median of the ratios of such pairs, with its 95 % confidence interval, and that three times over.

    .venv/bin/python benchmarks/int8.py

Writes benchmarks/results/int8.json.
"""

import argparse
import json
import statistics
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from paredown.evaluators.device import this_device
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.measurement_lock import measurement_lock
from paredown.evaluators.metrics.evaluation_input import EvaluationInput
from paredown.evaluators.metrics.latency_ms import median_with_interval, paired_ratios, runner
from paredown.evaluators.metrics.macs import MACS
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.knob import Knobs

ROOT = Path(__file__).parents[1]
SHAPE, CLASSES = (3, 32, 32), 10
PAIRS = 200
SETTINGS: dict[str, Knobs] = {
    "fp16": {"weights": "fp16"},
    "bf16": {"weights": "bf16"},
    "int8": {"weights": "int8"},
    "int8 weights alone": {"weights": "int8", "activations": "fp32"},
    "4 bits": {"weights": "mixed", "early": 4, "middle": 4, "late": 4},
}


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        same = channels_in == channels and stride == 1
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels_in, channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map `n x channels_in x h x w` to `n x channels x h/stride x w/stride`."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet(width: int, blocks: int) -> nn.Module:
    """Return a residual network of three stages, the second and third at half the resolution of the one before."""
    stages = []
    for stage in range(3):
        for block in range(blocks):
            inside = width * 2 ** (stage - 1) if stage and not block else width * 2**stage
            stages.append(Block(inside, width * 2**stage, 2 if stage and not block else 1))
    stem = nn.Sequential(nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    return nn.Sequential(stem, *stages, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, CLASSES))


def mbconv() -> nn.Module:
    """Return an mbconv with ReLU."""
    knobs: dict[str, str | int | float | bool] = {"scaling": "free", "depth": 2.0, "width": 3.0, "resolution": 32}
    knobs |= {"kernel": 3, "expansion": 4, "squeeze_excite": False, "activation": "relu"}
    return FAMILIES["mbconv"].build(knobs, SHAPE, CLASSES)


NETWORKS = {"resnet 16": lambda: resnet(16, 1), "resnet 32": lambda: resnet(32, 1), "mbconv": mbconv}


def relative_latency(model: bytes, reference: bytes) -> tuple[float, float]:
    """Return the median ratio of a model's latency to a reference's, and the half width of its 95 % interval."""
    with measurement_lock():
        return median_with_interval(paired_ratios(runner(model, SHAPE), runner(reference, SHAPE), PAIRS))


def measure(network: nn.Module, repeats: int) -> dict[str, object]:
    """Return multiply-adds and bytes, and for each setting the latency as a share of float32's, and the bytes."""
    macs = MACS.evaluate(EvaluationInput(network, SHAPE)).value
    model = export(network, SHAPE)
    images = np.random.default_rng(0).normal(size=(64, *SHAPE)).astype(np.float32)
    reference = slimmed(model)
    document: dict[str, object] = {"macs": macs, "size_bytes": len(reference)}
    for name, knobs in SETTINGS.items():
        assert QUANTIZATION.rewrite is not None
        calibration = RewriteContext(images, np.zeros(64, np.int64), target=this_device().target)
        file = slimmed(QUANTIZATION.rewrite(model, knobs, calibration))
        found = [relative_latency(file, reference) for _ in range(repeats)]
        document[name] = {
            "latency_to_fp32": [round(ratio, 3) for ratio, _ in found],
            "half_interval": [round(half, 3) for _, half in found],
            "times_as_fast": round(1 / statistics.median(ratio for ratio, _ in found), 2),
            "size_bytes": len(file),
        }
    return document


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    document: dict[str, object] = {
        "device": str(this_device()),
        "int8_sums_saturate": this_device().int8_sums_saturate,
    }
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        network = make().train()
        with torch.no_grad():
            network(torch.randn(32, *SHAPE))  # statistics that are not the initial ones
        document[name] = measure(network.eval(), options.repeats)
        print(name, json.dumps(document[name], indent=2))
    (options.out / "int8.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
