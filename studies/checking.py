"""The check of a trial's result before any of it is stored: one odd value must not make the study unreadable."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any, get_args

from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Objective, optimised_metrics
from paredown.studies.result import CAUSE, STOPPED_KEY, Cause, Curve, Derived, Outcome, TrialResult


class _Refused(ValueError):
    """A result cannot be stored."""

    cause: Cause = "exception"


class _NotFinite(_Refused):
    """A value is infinite or no number."""

    cause: Cause = "non_finite"


def checked(result: object, objectives: Sequence[Objective]) -> TrialResult:
    """Return a result that can be stored: the given one, or a failure that says what is wrong with it.

    Derived trials whose values cannot be stored are left out, and so are values of the curve that are not finite.

    Args:
        result: Result of a trial, or whatever its function returned.
        objectives: Objectives of the study.
    """
    if not isinstance(result, TrialResult):
        return TrialResult(
            "failed", f"the trial returned {_said(result)} in place of a result", facts={CAUSE: "exception"}
        )
    facts: dict[str, Any] = {}
    curve: Curve = ()
    try:
        facts, curve = _facts(result.facts), _curve(result.curve)
        if result.outcome not in get_args(Outcome):
            raise _Refused(f"the outcome is {_said(result.outcome)}; allowed: {', '.join(get_args(Outcome))}")
        if result.outcome == "stopped":
            _check_stopped(facts)
        measurements = _measurements(result.measurements, objectives if result.outcome == "done" else ())
    except _Refused as refused:
        return TrialResult("failed", str(refused), {}, "", facts | {CAUSE: refused.cause}, curve)
    derived = tuple(one for one in (_derived(one, objectives) for one in result.derived) if one is not None)
    return replace(result, measurements=measurements, facts=facts, curve=curve, derived=derived)


def missing_metric(values: Mapping[str, float], objectives: Sequence[Objective]) -> str | None:
    """Return the first optimised metric that the values lack; None where they have all."""
    return next((metric.name for metric in optimised_metrics(objectives) if metric.name not in values), None)


def _derived(derived: Derived, objectives: Sequence[Objective]) -> Derived | None:
    try:
        measurements = _measurements(derived.measurements, objectives)
        return replace(derived, measurements=measurements, facts=_facts(derived.facts))
    except _Refused:
        return None


def _measurements(given: Mapping[str, Measurement], objectives: Sequence[Objective]) -> dict[str, Measurement]:
    """Return the measurements as plain numbers.

    Raises:
        _Refused: A value is no possible number, or an optimised metric is missing.
    """
    if not isinstance(given, Mapping):
        raise _Refused(f"the measurements are {_said(given)}")
    measurements = {}
    for name, one in given.items():
        if not isinstance(one, Measurement) or one.metric != name:
            raise _Refused(f"{name} is {_said(one)} in place of a measurement of {name}")
        value, spread = _number(name, one.value), _number(f"the spread of {name}", one.spread)
        metric = known_metrics().get(name)
        if metric is not None and not 0 <= value <= metric.highest:
            raise _Refused(f"{name} is {value:g}; possible are values from 0 to {metric.highest:g}")
        measurements[name] = replace(one, value=value, spread=spread)
    if (missing := missing_metric({name: m.value for name, m in measurements.items()}, objectives)) is not None:
        raise _Refused(f"the result has no {missing}")
    return measurements


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise _Refused(f"{name} is {_said(value)}")
    try:
        number = float(value)
    except OverflowError:
        raise _Refused(f"{name} is too large for a number of 64 bits") from None
    if not math.isfinite(number):
        raise _NotFinite(f"{name} is {number}")
    return number


def _check_stopped(facts: Mapping[str, Any]) -> None:
    said = facts.get(STOPPED_KEY)
    if not isinstance(said, Mapping):
        raise _Refused(f"a trial that was stopped early has no fact {STOPPED_KEY}")
    for key in ("share", "value"):
        _number(f"{STOPPED_KEY}: {key}", said.get(key))


def _facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts as JSON can store them; a number that is not finite becomes null."""
    try:
        try:
            json.dumps(facts, allow_nan=False)
            return dict(facts)
        except ValueError:
            plain: dict[str, Any] = json.loads(json.dumps(facts), parse_constant=lambda name: None)
            return plain
    except (TypeError, ValueError, RecursionError) as error:
        raise _Refused(f"the facts cannot be stored as JSON: {error}") from None


def _curve(curve: object) -> Curve:
    """Return the curve without values that are not finite, such as the loss of a training that diverged."""
    try:
        return tuple(
            (int(epoch), {name: float(value) for name, value in metrics.items() if math.isfinite(value)})
            for epoch, metrics in curve  # type: ignore[attr-defined] # checked by doing
        )
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise _Refused(f"the curve cannot be stored: {error}") from None


def _said(value: object) -> str:
    """Return a value for a message: its type, and its text where that is short."""
    text = repr(value) if value is None or isinstance(value, str | bool | int) else ""
    return text if 0 < len(text) <= 40 else f"a {type(value).__name__}"
