"""A candidate: one point of the joint space."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paredown.spaces.knob import Knobs


@dataclass(frozen=True)
class Candidate:
    """An architecture and the compression applied to it; only what is active is named.

    Two candidates that build the same network the same way are equal and have one digest.

    Attributes:
        family: Name of the architecture family.
        knobs: The family's active knobs.
        steps: Name of each active compression step and its active knobs.
        skip: Names of layers that every step leaves alone, with `*`, `?` and `[...]`.
        keep: The same of layers that keep their shape; their weights may be rounded or become zero.
    """

    family: str
    knobs: Knobs
    steps: Mapping[str, Knobs] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash(self.digest)

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; what is excluded or kept stands in it only where there is any."""
        patterns = {"skip": list(self.skip), "keep": list(self.keep)}
        return {
            "family": self.family,
            "knobs": dict(self.knobs),
            "steps": {name: dict(knobs) for name, knobs in self.steps.items()},
            **{name: listed for name, listed in patterns.items() if listed},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Candidate":
        """Return the candidate that `to_json` wrote."""
        skip, keep = (tuple(data.get(name, ())) for name in ("skip", "keep"))
        return cls(data["family"], dict(data["knobs"]), dict(data["steps"]), skip, keep)

    @property
    def digest(self) -> str:
        """Sha256 of the canonical JSON, 64 hexadecimal digits."""
        return digest_of(self.to_json())

    @property
    def uncompressed(self) -> "Candidate":
        """The same architecture without compression."""
        return Candidate(self.family, self.knobs)

    def __str__(self) -> str:
        parts = [self.family + _listed(self.knobs)]
        parts += [name + _listed(knobs) for name, knobs in self.steps.items()]
        return " + ".join(parts)


def digest_of(data: object) -> str:
    """Return the sha256 of plain data in canonical JSON: sorted keys, no blanks, no NaN."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _listed(knobs: Knobs) -> str:
    return "(" + ", ".join(f"{k}={v}" for k, v in knobs.items()) + ")"
