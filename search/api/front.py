"""The Pareto front of a study as Python code and notebooks use it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from paredown.search.api.model_table import ModelTable
from paredown.studies.front import Model, deltas
from paredown.studies.summary import front_summary

if TYPE_CHECKING:
    import pandas as pd


class Front(Sequence[Model]):
    """Models that no other one of the study beats, best in the first objective first.

    It is a sequence: `front[0]`, `len(front)`, `for model in front`. A notebook shows it as a table.

    Attributes:
        study: Name of the study.
        objectives: Names of the metrics that span the front.
        baseline: The reference network; None as long as it has not finished.
    """

    def __init__(
        self, study: str, objectives: Sequence[str], baseline: Model | None, models: Sequence[Model], table: ModelTable
    ) -> None:
        self.study, self.objectives, self.baseline = study, tuple(objectives), baseline
        self._models, self._table = tuple(models), table

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
        return front_summary(self.study, self.objectives, self.baseline, self._models, str(folder))

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
