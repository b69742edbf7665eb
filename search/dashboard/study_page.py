"""The JSON behind the page of a study, put together from trials that were serialised before.

The dashboard serialises every trial again for each look at a study and finds the front by comparing all pairs, without
regard to constraints: 25 seconds for ten thousand trials, and trials that break a limit among the best.
"""

import gzip
import json
import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from optuna.distributions import BaseDistribution
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from optuna_dashboard._serializer import serialize_frozen_trial, serialize_study_detail

from paredown.search.dashboard.guard import Application, Start
from paredown.search.dashboard.review import StudyReview, TrialReview
from paredown.search.dashboard.storage import NOTE, UNKNOWN, ReviewStorage, reviewed

ADDRESS = re.compile(r"/api/studies/(\d+)/?")
MIN_COMPRESSED_BYTES = 50_000


class StudyPages:
    """Answers the requests for studies that our tables know; the dashboard answers all others.

    Args:
        application: The dashboard.
        storage: The storage that it reads.
    """

    def __init__(self, application: Application, storage: ReviewStorage) -> None:
        self._application = application
        self._storage = storage
        self._texts: dict[int, _Kept] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        """Answer a request."""
        found = ADDRESS.fullmatch(environ.get("PATH_INFO", ""))
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        if found is None or not after.isdecimal() or environ["REQUEST_METHOD"] != "GET":
            return self._application(environ, start_response)
        study_id = int(found[1])
        study = next((one for one in self._storage.get_all_studies() if one._study_id == study_id), None)
        known = self._storage.review(study_id) if study is not None else None
        if study is None or known is None:
            return self._application(environ, start_response)
        body = self._page(study, known, int(after)).encode()
        headers = [("Content-Type", "application/json")]
        if len(body) >= MIN_COMPRESSED_BYTES and "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, compresslevel=1)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]

    def _page(self, study: FrozenStudy, known: StudyReview, after: int) -> str:
        study.user_attrs = {**known.attributes, **study.user_attrs}
        study.system_attrs = self._storage.get_study_system_attrs(study._study_id)
        trials = self._storage.stored_trials(study._study_id)
        notes = _notes(study.system_attrs)
        with self._lock:
            texts = [self._text(study._study_id, trial, known, notes.get(trial._trial_id, {})) for trial in trials]
        searched = [trial for trial in trials if trial.state != TrialState.FAIL]
        page = serialize_study_detail(
            study,
            best_trials=[],
            trials=[],
            intersection=_knobs(searched, in_all=True),
            union=_knobs(searched, in_all=False),
            union_user_attrs=_attributes(known),
            has_intermediate_values=any(trial.intermediate_values for trial in trials),
            plotly_graph_objects=dict(known.figures),
            skipped_trial_numbers=[],
        )
        del page["trials"], page["best_trials"]
        on_front = set(known.front)
        best = [text for trial, text in zip(trials, texts, strict=True) if trial.number in on_front]
        return f'{json.dumps(page)[:-1]}, "trials": [{", ".join(texts[after:])}], "best_trials": [{", ".join(best)}]}}'

    def _text(self, study_id: int, trial: FrozenTrial, known: StudyReview, notes: dict[str, Any]) -> str:
        """Return the JSON of a trial; that of a trial which is as it was is kept."""
        found = known.trials.get(trial.number, UNKNOWN)
        kept = self._texts.get(trial._trial_id)
        if kept is not None and kept.trial is trial and kept.review == found and kept.notes == notes:
            return kept.text
        text = json.dumps(serialize_frozen_trial(study_id, reviewed(study_id, trial, known), notes))
        self._texts[trial._trial_id] = _Kept(trial, found, notes, text)
        return text


@dataclass(frozen=True)
class _Kept:
    """The JSON of a trial, and what it was made of."""

    trial: FrozenTrial
    review: TrialReview
    notes: dict[str, Any]
    text: str


def _notes(attributes: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Return the attributes of a study that hold notes of trials, by the id of the trial."""
    notes: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        if (found := NOTE.fullmatch(key)) is not None and found["trial"] is not None:
            notes.setdefault(int(found["trial"]), {})[key] = value
    return notes


def _knobs(trials: Sequence[FrozenTrial], *, in_all: bool) -> list[tuple[str, BaseDistribution]]:
    """Return the knobs that any of the trials has, or those that all have, by name."""
    counts = Counter(name for trial in trials for name in trial.distributions)
    found = {name: distribution for trial in trials for name, distribution in trial.distributions.items()}
    return [(name, found[name]) for name in sorted(found) if not in_all or counts[name] == len(trials)]


def _attributes(known: StudyReview) -> list[tuple[str, bool]]:
    """Return the name of each attribute of trials, and whether all its values are numbers and can be sorted."""
    sortable: dict[str, bool] = {}
    for trial in known.trials.values():
        for name, value in trial.attributes.items():
            sortable[name] = sortable.get(name, True) and not isinstance(value, str)
    return list(sortable.items())
