"""Small networks whose weights are kept, of every family and of steps that decide by layers."""

from typing import Any

import torch
from torch import Tensor, nn

from paredown.spaces.candidate import Candidate

SHAPE, CLASSES = (1, 8, 8), 10
INVERTED: dict[str, Any] = {"depth": 1.0, "width": 0.5, "kernel": 3, "expansion": 2, "resolution": 8}
MBCONV = {"scaling": "free", **INVERTED, "squeeze_excite": True, "activation": "relu"}
MOBILENET = {"stem": "small", **INVERTED, "depth": 0.25, "width": 0.125, "squeeze_excite": True, "activation": "relu6"}
EFFICIENTNET = {"stem": "small", "scaling": "free", "depth": 0.3, "width": 0.2, "resolution": 8, "activation": "silu"}
RESNET = {
    "block": "basic",
    "blocks": 1,
    "widths": "equal",
    "width": 0.25,
    "activation": "relu",
    "resolution": 8,
    "shortcut": "projected",
}
VIT = {"patch": 4, "depth": 2, "heads": 1, "head_width": 8, "mlp_ratio": 1.0, "resolution": 8}
EXIT = {"exits": 1, "head": "linear", "rule": "confidence", "threshold": 0.5, "weight": 0.5}
ENERGY = {"ratio": 0.75, "rule": "energy", "energy": 0.7, "kernel": "tucker2"}
GLOBAL = {"ratio": 0.375, "scope": "global", "importance": "l2", "multiple": 4}


def macro(**stages: Any) -> dict[str, Any]:
    """Return the knobs of a small network of the family macro whose stages have the given knobs."""
    stage = {"operator": "inverted", "kernel": 3, "expansion": 1, "depth": 1, "width": 0.5, "skip": True}
    numbered = {
        f"{name}_{i}": value for i in range(1, 5) for name, value in (stage | {"squeeze_excite": False}).items()
    }
    return numbered | {"activation": "relu", "resolution": 8} | stages


CANDIDATES = {
    "mbconv": Candidate("mbconv", MBCONV),
    "mbconv_pruned_low_rank": Candidate("mbconv", MBCONV, {"channel_pruning": GLOBAL, "low_rank": ENERGY}),
    "mbconv_shallow_stripes": Candidate(
        "mbconv",
        MBCONV,
        {"layer_pruning": {"ratio": 0.5, "criterion": "loss"}, "stripe_pruning": {"ratio": 0.75, "axis": "row"}},
    ),
    "mbconv_exit_in_a_block": Candidate(
        "mbconv", MBCONV, {"early_exit": EXIT | {"after": "4.body.0"}, "low_rank": ENERGY}
    ),
    "resnet_exit_pruned": Candidate("resnet", RESNET, {"early_exit": EXIT | {"after": "3"}, "channel_pruning": GLOBAL}),
    "vit_exit": Candidate("vit", VIT, {"early_exit": EXIT | {"after": "blocks.0"}, "low_rank": ENERGY}),
}
"""Networks whose weights are kept."""
NAMED = {
    "mobilenet": Candidate("mobilenet", MOBILENET),
    "efficientnet": Candidate("efficientnet", EFFICIENTNET),
    "resnet": Candidate("resnet", RESNET | {"shortcut": "padded"}),
    "bottleneck": Candidate("resnet", RESNET | {"block": "bottleneck"}),
    "macro": Candidate("macro", macro(operator_2="fused", operator_3="grouped", skip_4=False, squeeze_excite_4=True)),
}
"""Further networks, of which the names of the weights alone are kept."""


def images() -> Tensor:
    """Return four images, always the same."""
    return torch.arange(4 * 64).reshape(4, *SHAPE).mul(0.7).sin()


@torch.no_grad()
def disturb(network: nn.Module) -> None:
    """Make every layer's weights and statistics different from those of the others."""
    torch.manual_seed(1)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.rand_like(tensor) if name.endswith("var") else torch.randn_like(tensor)
            tensor += 0.1 * noise * (tensor != 0 if tensor.dim() > 1 else 1)  # pruned weights stay zero


@torch.no_grad()
def answers(network: nn.Module) -> Tensor:
    """Return the logits of the images, `4 x classes`, or those of all exits, `exits x 4 x classes`."""
    network.eval()
    return torch.stack(network.all_logits(images())) if hasattr(network, "all_logits") else network(images())
