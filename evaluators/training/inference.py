"""Runs a trained network: its outputs, its score, its batch statistics."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paredown.evaluators.tasks.normalisation import Inputs, Normalisation, largest_batch
from paredown.evaluators.tasks.task import Split
from paredown.evaluators.training.data import TrainingData


def score(model: nn.Module, split: Split, normalise: Normalisation) -> tuple[float, float]:
    """Return the accuracy and the cross-entropy of a network on a split."""
    outputs = predict(model, normalise.inputs(split.images))
    labels = torch.from_numpy(split.labels)
    accuracy = (outputs.argmax(1) == labels).float().mean().item()
    return accuracy, F.cross_entropy(outputs, labels).item()


def predict(model: nn.Module, images: Inputs, batch_size: int | None = None) -> Tensor:
    """Return `n x classes` logits on the CPU for normalised `n x c x h x w`."""
    device, size = next(model.parameters()).device, batch_size or largest_batch(images.shape)
    model.eval()
    with torch.inference_mode():
        parts = [model(torch.from_numpy(images[i : i + size]).to(device)).cpu() for i in range(0, len(images), size)]
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
    with torch.no_grad():
        for part in torch.from_numpy(rows).chunk(-(-len(rows) // largest_batch(data.train.images.shape))):
            if len(part) > 1:
                batch = torch.from_numpy(data.normalise(data.train.images[part.numpy()]))
                model(batch.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()
