"""The database that is used where none is named, and how a study in it is opened."""

from typing import TYPE_CHECKING

from paredown.studies.default_storage import DEFAULT_STORAGE as DEFAULT_STORAGE

if TYPE_CHECKING:  # the command line imports this file at once, and --help must not load a database
    from paredown.studies.study import Study


def stored_study(storage: str, name: str) -> "Study":
    """Open a study that exists.

    Raises:
        StudyError: There is no such database or study; the message names those that exist.
    """
    from paredown.search.study_file.objectives import stored_objectives
    from paredown.studies.study import Study

    return Study.open(storage, name, stored_objectives)
