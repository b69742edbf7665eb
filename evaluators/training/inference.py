"""Runs a trained network: its outputs, its score, its batch statistics."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.evaluators.tasks.task import Normalisation, Split
from paredown.evaluators.training.data import TrainingData


def score(model: nn.Module, split: Split, normalise: Normalisation) -> tuple[float, float]:
    """Return the accuracy and the cross-entropy of a network on a split."""
    outputs = predict(model, normalise(split.images))
    labels = torch.from_numpy(split.labels)
    accuracy = (outputs.argmax(1) == labels).float().mean().item()
    return accuracy, F.cross_entropy(outputs, labels).item()


def predict(model: nn.Module, images: NDArray[np.float32], batch_size: int = 256) -> Tensor:
    """Return `n x classes` logits on the CPU for normalised `n x c x h x w`."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode():
        parts = [
            model(torch.from_numpy(images[i : i + batch_size]).to(device)).cpu()
            for i in range(0, len(images), batch_size)
        ]
    return torch.cat(parts)


def recalibrate(model: nn.Module, data: TrainingData, images: int = 1024) -> None:
    """Re-estimate the statistics of batch normalisation from training images.

    After a structural change, the stored statistics are those of another network.

    Source:
        Li et al., EagleEye, ECCV 2020, section 3.3 (adaptive batch normalisation).
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    device = next(model.parameters()).device
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    # Drawn at random, since folders hold images class by class; in equal batches, since each counts the same.
    rows = np.random.default_rng(0).permutation(len(data.train.images))[:images]
    inputs = torch.from_numpy(data.normalise(data.train.images[rows]))
    with torch.no_grad():
        for batch in inputs.chunk(-(-len(inputs) // 256)):
            if len(batch) > 1:
                model(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
