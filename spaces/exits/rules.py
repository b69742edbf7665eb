"""When a network leaves at an exit, on PyTorch tensors; ONNX files and batches follow the same rules."""

import itertools
import math
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

Rule = Literal["confidence", "entropy", "patience"]
RULES: tuple[str, ...] = get_args(Rule)


@dataclass(frozen=True)
class ExitRule:
    """When to leave.

    - confidence: the largest probability is at least `threshold`;
    - entropy: the entropy, as a share of that of an even guess, is at most 1 - `threshold`;
    - patience: this exit and the `patience` exits before it name the same class.

    Source:
        Teerapittayanon et al., BranchyNet, ICPR 2016 (entropy); Kaya et al., Shallow-Deep Networks, ICML 2019
        (confidence); Zhou et al., BERT Loses Patience, NeurIPS 2020 (patience).

    Attributes:
        kind: Which rule.
        threshold: Higher is stricter; 0 to 1.
        patience: Exits that must agree with the one before the image leaves.
    """

    kind: Rule
    threshold: float = 0.0
    patience: int = 1

    def leaves(self, logits: list[Tensor]) -> Tensor:
        """Return for each image whether it leaves at the last of the exits passed so far, `n x 1`.

        Args:
            logits: `n x classes` of each exit passed, in order.
        """
        if self.kind == "patience":
            if len(logits) <= self.patience:
                return logits[-1][:, :1] != logits[-1][:, :1]
            named = [one.argmax(1, keepdim=True) for one in logits[-self.patience - 1 :]]
            agree = named[0] == named[1]
            for a, b in itertools.pairwise(named[1:]):
                agree = agree & (a == b)
            return agree
        if self.kind == "confidence":
            return logits[-1].softmax(1).amax(1, keepdim=True) >= self.threshold
        shares = logits[-1].log_softmax(1)
        entropy = -(shares.exp() * shares).sum(1, keepdim=True)
        return entropy <= (1 - self.threshold) * math.log(logits[-1].shape[1])
