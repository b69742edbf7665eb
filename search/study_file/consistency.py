"""Contradictions between the keys of a study file, which no single key shows."""

from paredown.evaluators.latency.sent_model import timed_metrics
from paredown.search.errors import ConfigError
from paredown.search.monitoring.notification import check_url, is_url
from paredown.search.schedulers.halving import Halving
from paredown.search.study_file.schema import StudyConfig
from paredown.search.trial.exit_settings import EXIT_STEP
from paredown.spaces.families.catalogue import FAMILIES
from paredown.spaces.families.imported import NAME as IMPORTED


def check_consistency(config: StudyConfig, where: str) -> None:
    """Refuse a study file whose keys contradict each other.

    Raises:
        ConfigError: Two keys contradict each other, or nothing could be sent to an address; the message names the file,
            the key and what is allowed.
    """
    _check_model(config, where)
    _check_inheriting(config, where)
    _check_halving(config, where)
    _check_measuring(config, where)
    for key, hook in (("on_finish", config.on_finish), ("on_failure", config.on_failure)):
        if hook is not None and is_url(hook):
            check_url(hook, f"{where}: {key}")


def _check_model(config: StudyConfig, where: str) -> None:
    """Refuse a network of the user's that is only half described, and training of no epochs without weights."""
    families = config.space.families
    if config.model and IMPORTED not in families:
        raise ConfigError(
            f"{where}: model: needs the family {IMPORTED} in space.families; given: {', '.join(families)}"
        )
    if IMPORTED in families and not config.model:
        raise ConfigError(f"{where}: space.families: {IMPORTED} needs the key model: package.module:function")
    if config.weights and not config.model:
        raise ConfigError(
            f"{where}: weights: needs the network that they belong to; add model: package.module:function"
        )
    if config.training.epochs == 0 and not (config.weights and families == [IMPORTED]):
        raise ConfigError(
            f"{where}: training.epochs: 0 is not allowed: only a model with weights starts trained, and it must be the "
            "only family; allowed: 1 or more"
        )


def _check_inheriting(config: StudyConfig, where: str) -> None:
    """Refuse weight sharing for families whose networks share no weights."""
    if config.training.mode != "inherit":
        return
    allowed = [name for name, family in FAMILIES.items() if family.shared_names is not None]
    for name in config.space.families:
        if name not in allowed:
            raise ConfigError(
                f"{where}: training.mode: inherit: networks of the family {name!r} share no weights; "
                f"families allowed: {', '.join(allowed)}; or mode: scratch"
            )


def _check_halving(config: StudyConfig, where: str) -> None:
    """Refuse rungs that no trial can reach."""
    halving, training = config.halving, config.training
    if halving is None:
        return
    inherits = training.mode == "inherit"
    key, epochs = ("inherit_epochs", training.inherit_epochs) if inherits else ("epochs", training.epochs)
    if halving.min_epochs >= epochs:
        allowed = f"1 to {epochs - 1}" if epochs > 1 else f"none, since training.{key} is {epochs}"
        raise ConfigError(
            f"{where}: halving.{halving.typed('min_epochs')}: {halving.min_epochs} is not below training.{key} "
            f"({epochs}), so no trial would be judged; allowed: {allowed}"
        )
    rungs = Halving([], halving.min_epochs, halving.factor).rungs(0, epochs)
    if halving.brackets > len(rungs) + 1:
        raise ConfigError(
            f"{where}: halving.brackets: {halving.brackets} is more than the rungs below {epochs} epochs allow "
            f"({', '.join(map(str, rungs))}); allowed: 1 to {len(rungs) + 1}, the last bracket without a rung"
        )


def _check_measuring(config: StudyConfig, where: str) -> None:
    """Refuse what needs a latency while the trial runs, where another machine measures it when the trial is over."""
    if config.measure_on is None:
        return
    device = config.measure_on.resource
    if EXIT_STEP in config.space.steps:
        raise ConfigError(
            f"{where}: measure_on: networks with early exits are measured where they are trained; leave "
            f"{EXIT_STEP} out of space.steps"
        )
    if config.resources is not None and device in config.resources.custom:
        raise ConfigError(
            f"{where}: measure_on.resource: {device} is also in resources.custom, so that trials would keep it from "
            "what is to be measured; allowed: one of the two"
        )
    late = [name for name in config.objectives if name in timed_metrics(config.objectives)]
    if config.halving is not None and late:
        raise ConfigError(
            f"{where}: halving: {late[0]} is measured on {device} when a trial is over, so that no running one can be "
            "judged; leave out halving, or take an objective that is known before, such as device_latency_ms"
        )
