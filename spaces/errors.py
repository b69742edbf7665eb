"""Errors that a user can act on.

The tree::

    ParedownError                 root; every one of them is the user's to mend
      SpaceError                  a knob, family or step that does not exist, or a value outside its range
        BaselineRefused           the same of a space's reference network
      InfeasibleCandidate         a candidate that cannot be built or breaks a limit: rejected, not failed
      (evaluators/errors.py)      TaskError, EvaluationError, PackingError
      (studies/errors.py)         StudyError and its kinds
      (search/errors.py)          ConfigError
"""


class ParedownError(Exception):
    """Root of the errors that carry a message for the user."""


class SpaceError(ParedownError):
    """A knob, family or step that does not exist, or a value outside its range."""


class BaselineRefused(SpaceError):
    """A knob of the reference network that does not exist or does not count, or a value outside its range."""


class InfeasibleCandidate(ParedownError):
    """The candidate cannot be built, or breaks a limit that is known before training."""
