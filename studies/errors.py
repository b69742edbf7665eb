"""Errors of studies; see `paredown.spaces.errors` for the tree."""

from paredown.spaces.errors import ParedownError


class StudyError(ParedownError):
    """A study cannot be opened, or contradicts the request."""


class StudyNotFound(StudyError):
    """No study of that name is in the database."""


class DatabaseUnusable(StudyError):
    """The database cannot be opened, is no database, or has a newer schema."""


class NothingFits(StudyError):
    """No model of the study keeps the given limits."""


class ExportRefused(StudyError):
    """An exported model disagrees with the network in the study, or cannot be exported."""
