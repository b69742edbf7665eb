"""What a study file may say of data that are arrays, whether a function returns them or a file holds them."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from paredown.evaluators.tasks.image_decoding import AnyFit
from paredown.evaluators.tasks.options import before_fit
from paredown.evaluators.tasks.python_data import Layout


class ArrayOptions(BaseModel):
    """Options of every task of arrays.

    Attributes:
        flip: Mirror half of the training images.
        crop: Shift training images by up to this share of their side.
        fit: How images of different shapes come to one: `crop` to the middle square, `pad` with a border, `stretch`, or
            `keep` where all have one aspect. `auto` is `keep` where that is so, else `pad`; `earlier` is what versions
            before this option did.
        range: Lowest and highest value; without it, what 8 bits hold, or what is found.
        channels: Where the channels of arrays of three axes are; `auto` takes them for the last axis where that has at
            most 4 entries and the first has more.
    """

    model_config = ConfigDict(extra="forbid")
    flip: bool = False
    crop: float = Field(default=0.0, ge=0, lt=0.5)
    fit: AnyFit = "auto"
    range: tuple[float, float] | None = None
    channels: Layout = "auto"

    @model_validator(mode="before")
    @classmethod
    def _of_before_fit(cls, data: Any, info: ValidationInfo) -> Any:
        return before_fit(data, info)
