"""The rules by which images leave at an exit, on PyTorch tensors; ONNX files and batches follow the same rules."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Rule = Literal["confidence", "entropy", "patience"]
RULES: tuple[str, ...] = get_args(Rule)


@dataclass(frozen=True)
class ExitRule:
    """The rule by which an image leaves at an exit.

    - confidence: the largest probability is at least the exit's threshold;
    - entropy: the entropy, as a share of that of an even guess, is at most 1 - the threshold;
    - patience: this exit and the one before it name the same class.

    Source:
        Teerapittayanon et al., BranchyNet, ICPR 2016 (entropy); Kaya et al., Shallow-Deep Networks, ICML 2019
        (confidence); Zhou et al., BERT Loses Patience, NeurIPS 2020 (patience).

    Attributes:
        kind: Name of the rule.
        thresholds: Threshold of confidence or entropy for each exit but the last, 0 to 1; higher is stricter, and a
            single one applies to all exits.
    """

    kind: Rule
    thresholds: tuple[float, ...] = (0.0,)

    def threshold(self, exit_: int) -> float:
        """Return the threshold of an exit, counted from 0."""
        return self.thresholds[min(exit_, len(self.thresholds) - 1)]

    def leaves(self, logits: list[Tensor]) -> Tensor:
        """Return whether each image leaves at the last of the exits passed so far, `n x 1`.

        Args:
            logits: Logits of each exit passed so far, `n x classes`, in order.
        """
        if self.kind == "patience":
            if len(logits) == 1:
                return torch.zeros_like(logits[-1][:, :1], dtype=torch.bool)
            return logits[-2].argmax(1, keepdim=True) == logits[-1].argmax(1, keepdim=True)
        threshold = self.threshold(len(logits) - 1)
        if self.kind == "confidence":
            return logits[-1].softmax(1).amax(1, keepdim=True) >= threshold
        shares = logits[-1].log_softmax(1)
        entropy = -(shares.exp() * shares).sum(1, keepdim=True)
        return entropy <= (1 - threshold) * math.log(logits[-1].shape[1])
