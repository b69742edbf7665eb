import torch
from torch import nn

from paredown.evaluators.training.fit import layout


def test_channels_lie_last_unless_a_strided_1x1_convolution_would_break_memory() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.Conv2d(5, 5, 1), nn.Conv2d(5, 8, 1), nn.Conv2d(8, 16, 1, 2))
    assert layout(plain) == torch.channels_last
    assert layout(nn.Sequential(plain, nn.Conv2d(16, 18, 1, 2))) == torch.contiguous_format
    assert layout(nn.Sequential(plain, nn.Conv2d(4, 8, 1, 2))) == torch.contiguous_format


def test_volumes_keep_their_layout() -> None:
    volumes = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Unflatten(1, (2, 4)), nn.Conv3d(2, 4, 3))
    volumes.to(memory_format=layout(volumes))  # type: ignore[call-overload]
    assert layout(volumes) == torch.contiguous_format
