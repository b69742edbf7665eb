"""Random networks out of what makes structural compression hard, random stacks of steps, and what must hold of them."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from odd_networks import CLASSES, PaddedAsNeeded, Standardised, unit
from torch import Tensor, nn

from paredown.evaluators.build import apply_structural_steps
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.files.onnx_session import logits, open_session
from paredown.evaluators.packing.container import pack, unpack
from paredown.evaluators.rehearsal import Unfit, rehearse
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.layers import weighted
from paredown.spaces.compression.step import RewriteContext
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.knob import Knobs

SIDE, WIDTH = 8, 16
SHAPE = (1, SIDE, SIDE)
IMAGES = np.random.default_rng(0).normal(size=(8, *SHAPE)).astype(np.float32)
TOLERANCE = 1e-3
"""Outputs of PyTorch and ONNX Runtime differ by less, as a share of the largest."""
KEEPS_SHAPES = ("unstructured_pruning", "transform_sparsity", "stripe_pruning")


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return x + y


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.join = unit(WIDTH, 8, 1), unit(WIDTH, 8), unit(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.join(torch.cat([self.left(x), self.right(x)], 1))
        return y


class Moved(nn.Module):
    def __init__(self, move: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.move = move

    def forward(self, x: Tensor) -> Tensor:
        return self.move(x)


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.squeeze, self.expand = nn.Conv2d(WIDTH, 8, 1), nn.Conv2d(8, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.expand(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return y


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        q, k, v = self.qkv(tokens).reshape(n, h * w, 3, 4, -1).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, h * w, -1)
        z: Tensor = x + self.out(y).transpose(1, 2).reshape(n, c, h, w)
        return z


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.wide, self.back = nn.Conv2d(WIDTH, 2 * WIDTH, 1), nn.Conv2d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.wide(x).chunk(2, 1)
        y: Tensor = self.back(value * gate.sigmoid())
        return y


def shuffled(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    return x.view(n, 4, c // 4, h, w).transpose(1, 2).reshape(n, c, h, w)


def flipped(x: Tensor) -> Tensor:
    return x.flip(1)


def rolled(x: Tensor) -> Tensor:
    return x.roll(5, 1)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: unit(WIDTH, WIDTH),
    "pointwise": lambda: unit(WIDTH, WIDTH, 1),
    "residual": lambda: Residual(nn.Sequential(unit(WIDTH, 24), nn.Conv2d(24, WIDTH, 3, padding=1))),
    "residual over a shuffle": lambda: Residual(nn.Sequential(unit(WIDTH, WIDTH, 1), Moved(shuffled))),
    "concatenation": Joined,
    "shuffle": lambda: Moved(shuffled),
    "flip": lambda: Moved(flipped),
    "roll": lambda: Moved(rolled),
    "grouped": lambda: unit(WIDTH, WIDTH, 3, 1, 4),
    "depthwise": lambda: unit(WIDTH, WIDTH, 3, 1, WIDTH),
    "multiplied": lambda: nn.Sequential(nn.Conv2d(WIDTH, 32, 3, padding=1, groups=WIDTH), nn.Conv2d(32, WIDTH, 1)),
    "gate": Gate,
    "attention": SelfAttention,
    "split": Split,
    "group norm": lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.GroupNorm(4, WIDTH), nn.SiLU()),
    "instance norm": lambda: nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.InstanceNorm2d(WIDTH)),
    "standardised": lambda: nn.Sequential(Standardised(WIDTH, WIDTH, 3, padding=1), nn.ReLU()),
    "padded inside": lambda: nn.Sequential(PaddedAsNeeded(WIDTH, WIDTH, 3), nn.ReLU()),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Conv2d(WIDTH, WIDTH, 1)),
    "pixels": lambda: nn.Sequential(unit(WIDTH, 32, 1), nn.PixelShuffle(2), unit(8, WIDTH, stride=2)),
}
STACKS: dict[str, Knobs] = {
    "layer_pruning": {"ratio": 0.25, "criterion": "similarity"},
    "channel_pruning": {"ratio": 0.5, "scope": "layer", "importance": "l2", "multiple": 4},
    "grouped_convolution": {"groups": 2},
    "low_rank": {"ratio": 0.5, "rule": "ratio", "kernel": "tucker2"},
    "stripe_pruning": {"ratio": 0.5, "axis": "stripe"},
    "unstructured_pruning": {"ratio": 0.5, "scope": "global", "pattern": "none", "schedule": "one_shot"},
    "transform_sparsity": {"domain": "dct", "rule": "ratio", "amount": 0.5},
    "quantization": {"weights": "int8", "activations": "fp32", "aware": False, "max_drop": 0.0},
}


def network(blocks: Sequence[str], seed: int = 0) -> nn.Module:
    """Return a network of these blocks between a first convolution and a classifier, with trained-like statistics."""
    torch.manual_seed(seed)
    inner = [BLOCKS[name]() for name in blocks]
    made = nn.Sequential(unit(1, WIDTH), *inner, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
    with torch.no_grad():
        made.train()(torch.from_numpy(IMAGES))
    return made.eval()


def check(blocks: Sequence[str], steps: Sequence[str], seed: int = 0) -> str:
    """Compress a random network; what must hold is asserted.

    Returns:
        "refused" or "compressed".
    """
    made = network(blocks, seed)
    try:
        rehearse(made, SHAPE, CLASSES)
    except Unfit:
        return "refused"
    chosen = {name: STACKS[name] for name in STEPS if name in steps}
    candidate = Candidate("fuzz", {}, chosen)
    try:
        done = apply_structural_steps(made, candidate, SHAPE)
    except InfeasibleCandidate as error:
        names = str(error).partition(":")[0]
        if names not in chosen:
            raise
        return "refused"
    check_named(made, candidate)
    images = torch.from_numpy(IMAGES)
    with torch.no_grad():
        expected = done.network.eval()(images).numpy()
    file = export(done.network, SHAPE)
    close(logits(open_session(file), IMAGES), expected)
    file = rewritten(file, chosen)
    shipped = slimmed(file)
    unpacked = unpack(pack(shipped))
    close(logits(open_session(unpacked), IMAGES), logits(open_session(shipped), IMAGES))
    # Coefficients of another domain are restored to rounding, everything else bit by bit.
    assert "transform_sparsity" in chosen or unpack(pack(unpacked)) == unpacked
    return "compressed"


def check_named(made: nn.Module, candidate: Candidate) -> None:
    """Each step alone names all that holds weights and is as it was."""
    for name, knobs in candidate.steps.items():
        with contextlib.suppress(InfeasibleCandidate):
            alone = apply_structural_steps(made, replace(candidate, steps={name: knobs}), SHAPE)
            after = {**dict(alone.network.named_modules()), **dict(alone.network.named_parameters())}
            for held, module in weighted(made).items():
                if held in alone.skipped.get(name, {}) or held not in after or name in KEEPS_SHAPES:
                    continue
                same = sizes(module) == sizes(after[held])
                assert not same or STEPS[name].transform is None, (
                    f"{name} changed nothing of {held} and does not say so"
                )


def sizes(held: nn.Module | nn.Parameter) -> list[torch.Size]:
    return [held.shape] if isinstance(held, nn.Parameter) else [p.shape for p in held.parameters()]


def rewritten(file: bytes, steps: Mapping[str, Knobs]) -> bytes:
    for name, knobs in steps.items():
        rewrite = STEPS[name].rewrite
        if rewrite is not None:
            file = rewrite(file, knobs, RewriteContext(IMAGES, np.arange(len(IMAGES)) % CLASSES))
    return file


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    assert np.isfinite(expected).all()
    assert np.abs(actual - expected).max() <= TOLERANCE * max(1e-6, float(np.abs(expected).max()))
