"""What the end of a search may meet, for tests: run in a process of its own, which imports this module by name."""

import signal
import threading
from pathlib import Path

from paredown.search.api.storage import stored_study
from paredown.search.finishing import replace_report
from paredown.search.side_process import Tell
from paredown.spaces.errors import ParedownError
from paredown.studies.errors import ExportRefused
from paredown.studies.selection import best_models


def hangs_after_the_first(tell: Tell, storage: str, name: str) -> None:
    """Export one model, refuse one, and hang, whatever signal asks it to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    study = stored_study(storage, name)
    first, second, *_ = best_models(study)
    tell(Path(study.folder, "models", f"trial-{first.trial:04d}"))
    tell(ExportRefused(f"trial {second.trial}: it is not liked"))
    threading.Event().wait()


def writes_the_report_alone(tell: Tell, storage: str, name: str) -> None:
    """Export nothing that takes time."""
    study = stored_study(storage, name)
    for model in best_models(study):
        tell(Path(study.folder, "models", f"trial-{model.trial:04d}"))
    tell(replace_report(study))


def hangs_at_the_report(tell: Tell, storage: str, name: str) -> None:
    """Export all, then hang."""
    for model in best_models(stored_study(storage, name)):
        tell(Path(f"trial-{model.trial:04d}"))
    threading.Event().wait()


def has_no_data(tell: Tell, storage: str, name: str) -> None:
    """Refuse as a whole."""
    raise ParedownError("the data is gone")


def is_killed(tell: Tell, storage: str, name: str) -> None:
    """End as for want of memory."""
    signal.raise_signal(signal.SIGKILL)
