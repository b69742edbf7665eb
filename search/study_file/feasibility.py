"""Feasibility of a space: a study that no candidate could satisfy is refused before anything is trained or written."""

import itertools
import math
from collections.abc import Callable, Mapping

import torch

from paredown.evaluators.build import build, input_shape
from paredown.evaluators.metrics.measurement import broken_limits, resolved_objectives
from paredown.search.errors import ConfigError
from paredown.search.study_file.setup import Setup
from paredown.search.trial.run_trial import measure_untrained
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.step import Step
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.family import Family
from paredown.spaces.families.imported import NAME as IMPORTED
from paredown.spaces.knob import Choice, Value
from paredown.spaces.space import SearchSpace

DRAWS = 32
"""Number of random candidates that are tried, in the whole space and in each family."""
OnProbed = Callable[[int, int], None]
"""(number of candidates that were measured, of all) -> nothing."""


def probe(
    setup: Setup, where: str, on_probed: OnProbed = lambda done, total: None
) -> list[tuple[Candidate, dict[str, float]]]:
    """Refuse a study that asks for what no candidate of its space can do.

    A sample of untrained candidates is tried: the smallest ones, the baseline and random ones. At least one network of
    each family must be buildable, at least one must take what the steps attach to it, and at least one candidate must
    keep the limits.

    Args:
        setup: The search.
        where: How messages name the study file.
        on_probed: Called with the number of candidates that were measured, and of those that will be at most; with
            the same number twice when it is over.

    Returns:
        The candidates that were measured for that, each with its values by metric.

    Raises:
        ConfigError: No candidate of the sample meets one of these; the message names the nearest value that is known,
            or what is allowed.
    """
    for family in setup.space.families.values():
        _probe_family(setup, family, where)
    _probe_attached(setup, where)
    return _probe_limits(setup, where, on_probed)


def _sample(space: SearchSpace) -> list[Candidate]:
    return [space.baseline, *space.smallest(), *(space.draw(n) for n in range(DRAWS))]


def _probe_family(setup: Setup, family: Family, where: str) -> None:
    """Refuse a family of which no network but the baseline can be built; the user's own network was tried before."""
    if family.name == IMPORTED:
        return
    smallest = [candidate for candidate in setup.space.smallest() if candidate.family == family.name]
    reasons = []
    for candidate in [*smallest, *(setup.space.draw(n, family.name) for n in range(DRAWS))]:
        try:
            with torch.device("meta"):
                family.build(candidate.knobs, input_shape(candidate, setup.task), len(setup.task.classes))
        except InfeasibleCandidate as error:
            reasons.append(str(error))
        else:
            return
    raise ConfigError(
        f"{where}: space.knobs: none of the {len(reasons)} networks of {family.name} that were tried can be built: "
        f"{reasons[0]}"
    )


def _probe_attached(setup: Setup, where: str) -> None:
    """Refuse an amount to attach, or a text of the study file, that no network of the sample takes."""
    networks = _networks(setup.space)
    for step in (step for step in setup.space.steps.values() if step.attach is not None):
        reasons = [(setting, _reason(setup, networks, step, setting)) for setting in _settings(setup.space, step)]
        for short, value in dict.fromkeys(item for setting, _ in reasons for item in setting.items()):
            why = [reason for setting, reason in reasons if setting[short] == value]
            fitting = dict.fromkeys(setting[step.switch] for setting, reason in reasons if not reason)
            if all(why) and fitting and short == step.switch:
                allowed = ", ".join(map(str, [step.off, *fitting]))
                said = (
                    f"{value} fits none of the {len(networks)} networks that were tried; allowed: {allowed} ({why[0]})"
                )
                raise ConfigError(f"{where}: space.knobs: {step.name}.{short}: {said}")
            if all(why):
                raise ConfigError(f"{where}: space.knobs: {why[0]}")


def _settings(space: SearchSpace, step: Step) -> list[dict[str, Value]]:
    """Return the amounts that a step may attach, combined with the texts that the study file gives to open knobs."""
    knobs = {short: space.knobs[f"{step.name}.{short}"] for short in step.knobs}
    asked = {s: k.values for s, k in knobs.items() if s == step.switch or (isinstance(k, Choice) and k.open)}
    settings = [dict(zip(asked, values, strict=True)) for values in itertools.product(*asked.values())]
    return [setting for setting in settings if setting[step.switch] != step.off]


def _networks(space: SearchSpace) -> list[Candidate]:
    """Return the uncompressed networks of the sample, each of them once."""
    return list({c.uncompressed.digest: c.uncompressed for c in _sample(space)}.values())


def _reason(setup: Setup, networks: list[Candidate], step: Step, setting: Mapping[str, Value]) -> str:
    """Return why none of the networks can be built with a setting of the step; empty if at least one can."""
    reason = ""
    for network in networks:
        on = {f"{step.name}.{short}": value for short, value in setting.items()}
        candidate = setup.space.candidate(setup.space.values(network) | on)
        try:
            setup.plan.check_trained(candidate)
            build(candidate, input_shape(candidate, setup.task), len(setup.task.classes))
        except InfeasibleCandidate as error:
            reason = reason or str(error)
        else:
            return ""
    return reason


def _probe_limits(setup: Setup, where: str, on_probed: OnProbed) -> list[tuple[Candidate, dict[str, float]]]:
    limits = [o for o in setup.plan.measured_here if o.is_limited and o.metric.untrained_tolerance is not None]
    measured: list[tuple[Candidate, dict[str, float]]] = []
    if not limits:
        return measured
    candidates = _sample(setup.space)
    least = dict.fromkeys((o.metric.name for o in limits), math.inf)
    try:
        for done, candidate in enumerate(candidates):
            on_probed(done, len(candidates))
            values = measure_untrained(candidate, setup.plan)
            if not measured:  # the baseline comes first: the limits that follow from it are known from here
                limits = [o for o in resolved_objectives(limits, values) if o.limit is not None]
            measured.append((candidate, values))
            if not broken_limits(tuple(limits), values, untrained=True):
                return measured
            least = {name: min(value, values.get(name, math.inf)) for name, value in least.items()}
    finally:
        on_probed(len(candidates), len(candidates))
    o = max(limits, key=lambda o: o.violation(least[o.metric.name]))
    follows = "" if o.relative is None else f" ({o.relative})"
    raise ConfigError(
        f"{where}: limits.{o.metric.name}: no candidate can meet {o.limit:g}{follows}: the smallest of "
        f"{len(candidates)} that were tried has {o.metric.with_unit(least[o.metric.name])}; raise the limit or widen "
        "space.knobs"
    )
