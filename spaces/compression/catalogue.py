"""All compression steps, in the order in which they are applied.

Exits first, since they are trained with the network; the loss of training, then the structure (fewer layers, fewer
channels, fewer connections between them, then factors of what remains, then fewer weights in it), then zeros among the
weights, then the bits of the exported file.
"""

from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING
from paredown.spaces.compression.distillation import DISTILLATION
from paredown.spaces.compression.early_exit import EARLY_EXIT
from paredown.spaces.compression.grouped_convolution import GROUPED_CONVOLUTION
from paredown.spaces.compression.layer_pruning import LAYER_PRUNING
from paredown.spaces.compression.low_rank import LOW_RANK
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.sparsity_penalty import SPARSITY_PENALTY
from paredown.spaces.compression.step import Step
from paredown.spaces.compression.stripe_pruning import STRIPE_PRUNING
from paredown.spaces.compression.transform_sparsity import TRANSFORM_SPARSITY
from paredown.spaces.compression.unstructured_pruning import UNSTRUCTURED_PRUNING

STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        EARLY_EXIT,
        DISTILLATION,
        SPARSITY_PENALTY,
        LAYER_PRUNING,
        CHANNEL_PRUNING,
        GROUPED_CONVOLUTION,
        LOW_RANK,
        STRIPE_PRUNING,
        UNSTRUCTURED_PRUNING,
        TRANSFORM_SPARSITY,
        QUANTIZATION,
    )
}
