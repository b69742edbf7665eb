"""Errors of tasks, training and measurement; see `paredown.spaces.errors` for the tree."""

from paredown.spaces.errors import ParedownError


class TaskError(ParedownError):
    """The data of a task is missing, malformed or too little."""


class EvaluationError(ParedownError):
    """A candidate could not be trained or measured: the trial fails with this reason."""


class TrialTimeout(EvaluationError):
    """A trial ran longer than it may."""


class NotFinite(EvaluationError):
    """A loss or an output is infinite or no number."""


class DeviceError(ParedownError):
    """A device does not exist, or its file does not describe one."""


class ExtraMissing(EvaluationError):
    """What was asked for needs an extra of the package that is not installed."""


class PackingError(ParedownError):
    """A packed file is broken, or a model cannot be packed."""


class TrialSignal(Exception):
    """Root of what ends a running trial without an error: control flow that the user never sees."""


class TrialStopped(TrialSignal):
    """A running trial was judged and ends early; the message says why."""


class TrialInterrupted(TrialSignal):
    """The search ends while a trial runs: the trial comes to nothing and will run again."""
