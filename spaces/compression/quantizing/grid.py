"""The grid of k bits on which a layer's weights lie, one scale for each output channel.

Symmetric and without the most negative number, `-(2^(k-1) - 1)` to `2^(k-1) - 1`: the grid of a channel is then the
same when its weights are multiplied by any number, of either sign, so that folding batch normalisation into a
convolution leaves weights on it.

Source:
    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
    CVPR 2018, section 3; Choukroun et al., Low-bit Quantization of Neural Networks for Efficient Inference,
    ICCV Workshops 2019, section 3 (the clip of least squared error).
"""

import torch
from torch import Tensor

WIDEST = 8
"""Bits from which on the largest weight is the end of the grid; below, outliers are clipped."""
CLIPS = tuple(1 - 0.05 * i for i in range(16))
"""Ends of the grid that are tried, as shares of the largest weight of the channel."""


def largest(bits: int) -> int:
    """Return the largest integer of the grid."""
    return int(2 ** (bits - 1) - 1)


def scales(weight: Tensor, bits: int) -> Tensor:
    """Return the distance of grid points for each output channel, `out`, for a weight `out x ...`.

    A channel of zeros takes the distance of the channel of largest weight.
    """
    with torch.no_grad():
        rows = weight.detach().flatten(1)
        peak = rows.abs().amax(1)
        full = torch.where(peak > 0, peak, peak.max() if peak.max() > 0 else torch.ones_like(peak)) / largest(bits)
        if bits >= WIDEST:
            return full
        best, least = full, torch.full_like(full, torch.inf)
        for clip in CLIPS:
            error = (rows - _rounded(rows, full * clip, bits)).square().sum(1)
            best, least = torch.where(error < least, full * clip, best), torch.minimum(error, least)
        return best


def on_grid(weight: Tensor, bits: int) -> Tensor:
    """Return `out x ...` with each weight at the nearest grid point."""
    with torch.no_grad():
        return _rounded(weight.flatten(1), scales(weight, bits), bits).view_as(weight)


def straight_through(weight: Tensor, bits: int) -> Tensor:
    """Return the same, with the gradient of the identity for every weight that is not clipped.

    Source:
        Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013, section 4.
    """
    scale = scales(weight, bits)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    end = largest(bits)
    return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -end, end)


def _rounded(rows: Tensor, scale: Tensor, bits: int) -> Tensor:
    end = largest(bits)
    return (rows / scale[:, None]).round().clamp(-end, end) * scale[:, None]
