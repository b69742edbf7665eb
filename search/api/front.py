"""The Pareto front of a study as Python code and notebooks use it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from paredown.evaluators.metrics.measurement import Objective, optimised_metrics
from paredown.search.api.model_table import ModelTable
from paredown.studies.front import Model, deltas, front
from paredown.studies.latency_remarks import Fp32Models
from paredown.studies.region import binding, binding_text, limits_summary, nearest
from paredown.studies.summary import front_summary

if TYPE_CHECKING:
    import pandas as pd


class Front(Sequence[Model]):
    """Models that no other one of the study beats, best in the first objective first.

    It is a sequence: `front[0]`, `len(front)`, `for model in front`. A notebook shows it as a table. Where no model
    keeps the limits of the study, it holds those that come nearest, the nearest first.

    Attributes:
        study: Name of the study.
        objectives: Names of the metrics that span the front.
        baseline: The reference network; None as long as it has not finished.
        limits: The limits of the study by metric, each with its `value`, None while that is open, and its `text`.
        binding: The metric whose limit keeps every model out; empty where a model keeps all limits.
        remark: The same in words, with the nearest model.
    """

    def __init__(self, study: str, objectives: Sequence[Objective], models: Sequence[Model], table: ModelTable) -> None:
        metrics = optimised_metrics(objectives)
        self.study, self.baseline, self._table = study, table.baseline, table
        self.objectives = tuple(metric.name for metric in metrics)
        self.limits = limits_summary(objectives)
        self.binding, self.remark = binding(models, objectives), binding_text(models, objectives)
        self._all = tuple(models)
        self._models = tuple(nearest(models, objectives) if self.binding else front(models, metrics))

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | Sequence[Model]:
        return self._models[index]

    def __len__(self) -> int:
        return len(self._models)

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models)

    def __repr__(self) -> str:
        return self._table.text(self._models)

    def _repr_html_(self) -> str:
        return self._table.html(self._models)

    def to_dict(self, folder: str | Path = "") -> dict[str, Any]:
        """Return the document that `paredown front --json` prints.

        Args:
            folder: The study's folder, in which the models' files are.
        """
        summary = front_summary(
            self.study, self.objectives, self.baseline, self._models, str(folder), Fp32Models(self._all)
        )
        return summary | {"limits": self.limits, "binding": self.binding or None}

    def to_pandas(self) -> "pd.DataFrame":
        """Return one row a model, indexed by its trial.

        Columns are the metrics, their changes against the baseline as `delta_METRIC` (differences for shares such as
        accuracy, otherwise shares of the baseline's value), the family, and the compression in words.
        """
        import pandas as pd

        rows = []
        for model in self._models:
            row: dict[str, Any] = {"trial": model.trial}
            row |= {name: measurement.value for name, measurement in model.measurements.items()}
            if self.baseline is not None:
                row |= {f"delta_{name}": change for name, change in deltas(model, self.baseline).items()}
            rows.append(row | {"family": model.candidate.family, "compression": self._table.compression(model)})
        return pd.DataFrame(rows, columns=None if rows else ["trial"]).set_index("trial")
