"""A study as Python code uses it: its front, the right model for a target, export and report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paredown.evaluators.devices.catalogue import device_profile
from paredown.search.api.front import Front
from paredown.search.api.limits import limits_of
from paredown.search.api.model_table import ModelTable
from paredown.search.api.storage import DEFAULT_STORAGE, stored_study
from paredown.studies.choice import choose
from paredown.studies.device_models import candidates, on_device
from paredown.studies.errors import StudyError
from paredown.studies.front import Model
from paredown.studies.selection import best_models, chosen_among
from paredown.studies.study import Study as StoredStudy

if TYPE_CHECKING:
    from paredown.studies.exporting import Exported


class Study:
    """A study in a database, with all trials that it holds now.

    Attributes:
        stored: The study as the database has it.
        reason: Why the search that returned it ended; empty for a study that was opened.
    """

    def __init__(self, stored: StoredStudy, reason: str = "") -> None:
        self.stored, self.reason = stored, reason

    @property
    def name(self) -> str:
        """Its name in the database."""
        return self.stored.name

    @property
    def folder(self) -> Path:
        """The folder of its trials, models and report."""
        return Path(self.stored.folder)

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials by state, such as `{"done": 40, "rejected": 3}`."""
        return self.stored.counts()

    @property
    def baseline(self) -> Model | None:
        """The reference network; None as long as it has not finished."""
        return self.stored.baseline()

    @property
    def models(self) -> list[Model]:
        """All finished networks, those off the front included."""
        return self.stored.models()

    def front(self) -> Front:
        """Return the Pareto front as it is now; where no model keeps the limits, the models that come nearest."""
        models = self.models
        return Front(self.name, self.stored.objectives, models, ModelTable.of(self.stored, models))

    def select(
        self,
        *,
        max: Mapping[str, float | str] | None = None,
        min: Mapping[str, float | str] | None = None,
        device: str | None = None,
    ) -> Model:
        """Return the best model that keeps the limits: the best in the first objective, ties decided by the next.

        Args:
            max: Largest value allowed, by metric, such as `{"size_bytes": "60k", "latency_ms": "0.5 x baseline"}`.
            min: Smallest value allowed, by metric, such as `{"accuracy": "baseline - 1 pt"}`. A limit that is given
                here takes the place of the study's own.
            device: Device whose memory and number formats the model must keep: a name of `paredown device list`, or
                a TOML file. What the model costs on it is then among the measurements.

        Raises:
            ConfigError: A metric does not exist, or a limit is on its good side.
            DeviceError: There is no such device.
            NothingFits: No model keeps the limits; the message names the nearest one.
        """
        limits = limits_of(max or {}, min or {}, self.baseline)
        if device is None:
            return choose(self.stored.models(), self.stored.objectives, limits).model
        seen = on_device(self.stored, device_profile(device), candidates(self.stored))
        return choose(seen.models, self.stored.objectives, seen.limits_with(limits)).model

    def export(
        self,
        models: Sequence[Model | int] | Model | int | None = None,
        out: str | Path | None = None,
        *,
        format: str | None = None,
        device: str | None = None,
    ) -> list[Path]:
        """Export models as verified folders, and return these.

        Args:
            models: Models or numbers of trials; None for the whole front.
            out: Folder in which each model gets its own; None for `models` in the study's folder.
            format: Name of an export format; None for that of the device, or ONNX where none is named.
            device: Device that the files are made for; None for the study's own, if it has one.

        Raises:
            ExportRefused: None of the models could be exported. `export_report` tells of those refused beside others.
            NothingFits: A trial is no finished model.
        """
        return list(self.export_report(models, out, format=format, device=device).folders)

    def export_report(
        self,
        models: Sequence[Model | int] | Model | int | None = None,
        out: str | Path | None = None,
        *,
        format: str | None = None,
        device: str | None = None,
    ) -> "Exported":
        """Export models as `export` does; return the folders, and why others were refused."""
        from paredown.studies.exporters.catalogue import DEFAULT_FORMAT
        from paredown.studies.exporting import export_chosen

        folder = Path(out) if out is not None else self._outputs() / "models"
        profile = device_profile(device) if device is not None else None
        named = format or (profile.format if profile else DEFAULT_FORMAT)
        return export_chosen(self.stored, self._chosen(models), folder, named, profile)

    def report(self, file: str | Path | None = None) -> Path:
        """Write the self-contained HTML report, and return its path.

        Args:
            file: None for `report.html` in the study's folder.
        """
        from paredown.studies.report import write_report

        target = Path(file) if file is not None else self._outputs() / "report.html"
        write_report(self.stored, target)
        return target

    def _outputs(self) -> Path:
        """Return the folder of the study, which is not made anew where it is gone."""
        from paredown.studies.outputs import adopt_command

        if not self.folder.is_dir():
            command = adopt_command(self.name, self.stored.address, "--out DIR")
            raise StudyError(
                f"the outputs of study {self.name!r} are not in {self.folder} any more; name another place with --out, "
                f"or say where they are: {command}"
            )
        return self.folder

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items()) or "no trials"
        return f"<Study {self.name!r}: {counts}>"

    def _repr_html_(self) -> str:
        return self.front()._repr_html_()

    def _chosen(self, models: Sequence[Model | int] | Model | int | None) -> list[Model]:
        if models is None:
            return best_models(self.stored)
        given: Sequence[Any] = [models] if isinstance(models, Model | int) else models
        numbers = [one.trial if isinstance(one, Model) else one for one in given]
        return chosen_among(self.stored.models(), numbers)


def open_study(name: str, *, storage: str = DEFAULT_STORAGE) -> Study:
    """Open a study that exists.

    Args:
        name: Name of the study.
        storage: Address of the database.

    Raises:
        StudyError: There is no such database or study; the message names those that exist.
    """
    return Study(stored_study(storage, name))
