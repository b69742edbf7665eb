"""All compression steps, in the order in which they are applied.

The loss of training first, then the structure (fewer channels, then factors of what remains), then the
bits of the exported file.
"""

from paredown.spaces.compression.channel_pruning import CHANNEL_PRUNING
from paredown.spaces.compression.distillation import DISTILLATION
from paredown.spaces.compression.low_rank import LOW_RANK
from paredown.spaces.compression.quantization import QUANTIZATION
from paredown.spaces.compression.step import Step
from paredown.spaces.compression.transform_sparsity import TRANSFORM_SPARSITY

STEPS: dict[str, Step] = {
    step.name: step for step in (DISTILLATION, CHANNEL_PRUNING, LOW_RANK, TRANSFORM_SPARSITY, QUANTIZATION)
}
