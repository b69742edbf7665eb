"""The models of a study that people ask for: its front, or trials by number."""

from collections.abc import Mapping, Sequence

from paredown.studies.errors import NothingFits
from paredown.studies.front import Model, front
from paredown.studies.records import Records


def best_models(study: Records) -> list[Model]:
    """Return the study's front; empty where no model keeps the limits."""
    return front(study.models(), study.optimised_metrics)


def chosen_among(models: Sequence[Model], numbers: Sequence[int]) -> list[Model]:
    """Return the models of the given trials, in that order.

    Raises:
        NothingFits: A trial is not finished or does not exist.
    """
    by_number: Mapping[int, Model] = {m.trial: m for m in models}
    for number in numbers:
        if number not in by_number:
            raise NothingFits(f"trial {number} is no finished model; `paredown show` lists them")
    return [by_number[number] for number in numbers]
