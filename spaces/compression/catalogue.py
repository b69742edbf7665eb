"""All compression steps, in the order in which they are applied.

Exits first, since they are trained with the network; the loss of training, then the structure (fewer channels, then
factors of what remains), then zeros among the weights, then the bits of the exported file.
"""

from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING
from paredown.spaces.compression.distillation import DISTILLATION
from paredown.spaces.compression.early_exit import EARLY_EXIT
from paredown.spaces.compression.low_rank import LOW_RANK
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.sparsity_penalty import SPARSITY_PENALTY
from paredown.spaces.compression.step import Step
from paredown.spaces.compression.unstructured_pruning import UNSTRUCTURED_PRUNING

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        EARLY_EXIT,
        DISTILLATION,
        SPARSITY_PENALTY,
        CHANNEL_PRUNING,
        LOW_RANK,
        UNSTRUCTURED_PRUNING,
        QUANTIZATION,
    )
}
