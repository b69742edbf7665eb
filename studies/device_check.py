"""Checks an exported model against limits and a device, from its manifest and its file."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from paredown.evaluators.devices.costs import device_costs
from paredown.evaluators.devices.profile import DeviceProfile
from paredown.evaluators.files.names import MANIFEST_FILE, MODEL_FILE
from paredown.evaluators.metrics.catalogue import known_metrics
from paredown.evaluators.metrics.measurement import Measurement, Objective
from paredown.spaces.candidate import Candidate
from paredown.studies.device_models import DEVICE_METRICS, tightened
from paredown.studies.errors import StudyError
from paredown.studies.model_folder.manifest import read_manifest


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        rows: Each limit with the model's value, None where it is unknown, and whether it is kept.
        refusal: Why the device cannot run the model; empty where it can or none was named.
    """

    rows: tuple[tuple[Objective, Measurement | None, bool], ...]
    refusal: str = ""

    @property
    def broken(self) -> list[str]:
        """Names of the metrics whose limit is broken, and `device` where it cannot run the model."""
        return [limit.metric.name for limit, _, kept in self.rows if not kept] + (["device"] if self.refusal else [])


def check_model(folder: Path, profile: DeviceProfile | None, limits: Sequence[Objective]) -> Checked:
    """Return whether the model of a folder keeps limits, those of a device included.

    A limit on what nobody measured counts as broken.

    Raises:
        StudyError: The folder holds no exported model, or a file of it is missing or changed.
    """
    model_file = read_manifest(folder).model_file or MODEL_FILE
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    fields = ("value", "spread", "how", "device")
    found = {
        name: Measurement(name, **{field: m[field] for field in fields if field in m})
        for name, m in manifest["metrics"].items()
    }
    for name, measured in found.items():
        if not isinstance(measured.value, int | float) or not math.isfinite(measured.value):
            raise StudyError(f"{folder / MANIFEST_FILE}: metrics.{name}.value: {measured.value!r} is no number")
    refusal = ""
    if profile is not None:
        costs = device_costs(folder / model_file, Candidate.from_json(manifest["candidate"]), profile)
        here = {name: measured for name, measured in found.items() if name not in DEVICE_METRICS}
        found, refusal, metrics = here | dict(costs.measurements), costs.refusal, known_metrics()
        own = [Objective(metrics[name], False, value) for name, value in profile.limits.items()]
        limits = tightened([] if refusal else own, limits)
    rows = []
    for limit in limits:
        value = found.get(limit.metric.name)
        rows.append((limit, value, value is not None and limit.violation(value.value) <= 0))
    return Checked(tuple(rows), refusal)
