"""How tables call the compression steps of a study: kept with it, so that it is shown without loading them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class StepLabel:
    """How tables call a compression step.

    Attributes:
        label: Short name, put before the value of the switch: `bits int8`.
        switch: The knob that turns the step off.
        details: Further knobs whose values are shown where they are not 0.
    """

    label: str
    switch: str
    details: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain data that JSON can hold."""
        return asdict(self)


def labels_from_json(data: Mapping[str, Mapping[str, Any]]) -> dict[str, StepLabel]:
    """Return the labels of steps by name, from plain data."""
    return {name: StepLabel(one["label"], one["switch"], tuple(one["details"])) for name, one in data.items()}
