"""A table of evaluated networks as a landscape."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import moocore
import numpy as np
from numpy.typing import NDArray

from paredown.search.bench.columns import Columns, read_columns
from paredown.search.bench.knobs import TableKnob, read_knob
from paredown.search.bench.landscape import EvaluationOutcome, Goal
from paredown.search.bench.spec import REFERENCE_FORM, BenchSpec, ObjectiveSpec, read_spec
from paredown.search.errors import ConfigError
from paredown.search.samplers.sampler import Cost, Params


class Rows:
    """Finds the row of a network.

    A row names the knobs that its network has. A proposal sets all knobs; it stands for the row whose knobs agree with
    it.
    """

    def __init__(self, knobs: Sequence[TableKnob]) -> None:
        self._snapping = [knob for knob in knobs if knob.levels is not None]
        self._names = [knob.name for knob in knobs]
        self._patterns: dict[tuple[str, ...], dict[tuple[Any, ...], int]] = {}
        for row, values in enumerate(zip(*(knob.cells for knob in knobs), strict=True)):
            present = tuple(name for name, value in zip(self._names, values, strict=True) if value is not None)
            key = tuple(value for value in values if value is not None)
            self._patterns.setdefault(present, {}).setdefault(key, row)

    def find(self, params: Params) -> tuple[int, Params]:
        """Return the row and its knobs; -1 and the proposed knobs where there is no such row."""
        snapped = params
        if self._snapping:
            snapped = {**params, **{k.name: k.nearest(params[k.name]) for k in self._snapping if k.name in params}}
        for present, rows in self._patterns.items():
            key = _key(snapped, present)
            if key is not None and key in rows:
                return rows[key], {name: snapped[name] for name in present}
        return -1, snapped

    def clashes(self) -> tuple[int, int] | None:
        """Return two rows that one proposal may stand for; None where there are none."""
        patterns = list(self._patterns.items())
        for i, (present, rows) in enumerate(patterns):
            for other, other_rows in patterns[i + 1 :]:
                shared = [name for name in present if name in other]
                mine = [present.index(name) for name in shared]
                theirs = [other.index(name) for name in shared]
                seen: dict[Hashable, int] = {}
                for key, row in rows.items():
                    seen.setdefault(tuple(key[j] for j in mine), row)
                for key, row in other_rows.items():
                    at = tuple(key[j] for j in theirs)
                    if at in seen:
                        return seen[at], row
        return None


def _key(params: Params, names: tuple[str, ...]) -> tuple[Any, ...] | None:
    try:
        return (params[names[0]],) if len(names) == 1 else itemgetter(*names)(params) if names else ()
    except KeyError:
        return None


@dataclass
class TableCosts:
    """Known columns of a table; they are exact, so that an estimate equals a count."""

    columns: tuple[Cost, ...]
    rows: Rows
    values: NDArray[np.float64]

    def estimate(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return `n x k` costs; a row of NaN for networks that are not in the table."""
        if not params:
            return np.empty((0, len(self.columns)))
        found = np.array([self.rows.find(one)[0] for one in params])
        return np.where(found[:, None] >= 0, self.values[found], np.nan)

    def count(self, params: Sequence[Params]) -> NDArray[np.float64]:
        """Return the same as `estimate`."""
        return self.estimate(params)


class TableLandscape:
    """A complete table; see `Landscape`."""

    complete = True

    def __init__(
        self,
        name: str,
        knobs: Sequence[TableKnob],
        goals: tuple[Goal, ...],
        values: NDArray[np.float64],
        losses: NDArray[np.float64],
        reference: NDArray[np.float64],
        known: Mapping[str, NDArray[np.float64]],
    ) -> None:
        self.name, self.goals, self.reference = name, goals, reference
        self.distributions = {knob.name: knob.distribution for knob in knobs}
        self.rows = Rows(knobs)
        self._values, self._losses = values, losses
        self._good = _finite(values, losses)
        places = {goal.name: i for i, goal in enumerate(goals) if goal.known}
        columns = tuple(Cost(name, places.get(name)) for name in known)
        self.costs = TableCosts(columns, self.rows, np.column_stack(list(known.values()))) if known else None

    def canonical(self, params: Params) -> Params:
        """Return the knobs of the row that a proposal stands for."""
        return self.rows.find(params)[1]

    def outcome(self, params: Params) -> EvaluationOutcome:
        """Return the results of the row that a proposal stands for."""
        row, _ = self.rows.find(params)
        if row < 0:
            return EvaluationOutcome(None)
        if not self._good[row]:
            return EvaluationOutcome(row)
        return EvaluationOutcome(row, tuple(self._values[row].tolist()), tuple(self._losses[row].tolist()))

    def best_losses(self) -> NDArray[np.float64]:
        """Return the true front."""
        losses = self._losses[self._good]
        front: NDArray[np.float64] = losses[np.asarray(moocore.is_nondominated(losses))]
        return front

    def describe(self) -> dict[str, int]:
        """Return the numbers of networks, of failing networks, and of networks on the true front."""
        return {
            "networks": len(self._good),
            "failing": int((~self._good).sum()),
            "on_the_front": len(self.best_losses()),
        }


def read_table(table: Path, spec: Path) -> TableLandscape:
    """Read the landscape of a table and its spec.

    Raises:
        ConfigError: One of the files cannot be read, or they do not fit each other.
    """
    checked = read_spec(spec)
    return build_table(checked, read_columns(table, checked.key), str(spec))


def build_table(spec: BenchSpec, columns: Columns, where: str) -> TableLandscape:
    """Return the landscape of a table.

    Args:
        spec: The spec of its columns.
        columns: The table.
        where: Name of the spec in messages.

    Raises:
        ConfigError: A column or cell does not match the spec, a network appears twice, or no network is better than the
            reference point.
    """
    knobs = [read_knob(name, knob, columns, where) for name, knob in spec.knobs.items()]
    _refuse_twins(knobs, columns, where)
    goals = tuple(Goal(name, o.direction == "maximise", o.known) for name, o in spec.objectives.items())
    observed = [
        _numbers(columns, o.column or name, f"{where}: objectives.{name}") for name, o in spec.objectives.items()
    ]
    signs = np.array([-1.0 if goal.maximise else 1.0 for goal in goals])
    scored = [
        values if o.score is None else _numbers(columns, o.score, f"{where}: objectives.{name}.score")
        for (name, o), values in zip(spec.objectives.items(), observed, strict=True)
    ]
    values, losses = np.column_stack(observed), np.column_stack(scored) * signs
    reference = np.array([_reference(o, column) for o, column in zip(spec.objectives.values(), scored, strict=True)])
    good = _finite(values, losses)
    if not (losses[good] < reference * signs).all(1).any():
        point = ", ".join(f"{goal.name} {at:g}" for goal, at in zip(goals, reference, strict=True))
        raise ConfigError(
            f"{where}: reference: no network of {columns.where} is better than {point} in every objective"
        )
    known = {
        name: column for name, column in zip(spec.objectives, observed, strict=True) if spec.objectives[name].known
    }
    for name, one in (spec.known or {}).items():
        known[name] = _numbers(columns, one.column or name, f"{where}: known.{name}")
    for name, column in known.items():
        for row in np.flatnonzero(column <= 0).tolist():
            raise ConfigError(
                f"{columns.where}: {where}: {name}: {columns.rows[row]}: {column[row]:g} is not allowed: "
                "what is known before training is a cost above 0"
            )
    return TableLandscape(columns.where, knobs, goals, values, losses, reference * signs, known)


def _finite(values: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(np.hstack([values, losses])).all(axis=1), dtype=np.bool_)


def _numbers(columns: Columns, column: str, asker: str) -> NDArray[np.float64]:
    return np.array(columns.numbers(column, asker), dtype=np.float64)


def _reference(spec: ObjectiveSpec, scored: NDArray[np.float64]) -> float:
    if not isinstance(spec.reference, str):
        return float(spec.reference)
    match = REFERENCE_FORM.match(spec.reference.strip())
    assert match is not None
    finite = scored[np.isfinite(scored)]
    if not len(finite):
        return 0.0
    return float(match[1] or 1) * float(finite.max() if match[2] == "max" else finite.min())


def _refuse_twins(knobs: Sequence[TableKnob], columns: Columns, where: str) -> None:
    seen: dict[Hashable, int] = {}
    for row, key in enumerate(zip(*(knob.cells for knob in knobs), strict=True)):
        if key in seen:
            shown = ", ".join(f"{k.name}={v}" for k, v in zip(knobs, key, strict=True) if v is not None)
            raise ConfigError(
                f"{columns.where}: {columns.rows[seen[key]]} and {columns.rows[row]} are the same network: {shown}"
            )
        seen[key] = row
    clash = Rows(knobs).clashes()
    if clash is not None:
        raise ConfigError(
            f"{columns.where}: {columns.rows[clash[0]]} and {columns.rows[clash[1]]} differ only in knobs that one of "
            f"them does not have; add a knob to {where} that says which it is"
        )
