"""What requests and answers of the API hold."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from paredown.search.service.api import examples
from paredown.search.service.overview import State
from paredown.search.service.settings import MAX_TRIALS


class EstimateDocument(BaseModel):
    """When a study is likely to start and to end.

    Attributes:
        starts_in_s: Seconds until it starts; 0 where it runs, null where nothing can be said.
        ends_in_s: Seconds until it has all its trials; null where nothing can be said.
        basis: What the numbers come from, or why there are none.
    """

    starts_in_s: float | None
    ends_in_s: float | None
    basis: str


class StudyDocument(BaseModel):
    """A study and its place in the queue.

    Attributes:
        study: Name among the studies of its owner.
        owner: Name of its owner.
        state: queued, waiting for device, running, paused, cancelled, failed or done.
        stop_requested: What is to happen to it while it runs: pause, cancel, or empty.
        position: Place in the queue, from 1; null where it does not wait.
        estimate: When it is likely to start and to end; null where it rests.
        needs: Names of the resources that a worker must offer to run it.
        priority: Jobs of one owner run in falling order of it.
        trials: Total number of trials that it is to have.
        counts: Number of trials by state.
        best: Best value of each objective among the models that keep every limit.
        attempts: Number of runs whose process died.
        error: Why it failed, or why its time ended; empty otherwise.
        created_at: Unix time, as the two below.
        started_at: When it first ran; null before.
        finished_at: When it came to its end; null before.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.STUDY]})
    study: str
    owner: str
    state: State
    stop_requested: str
    position: int | None
    estimate: EstimateDocument | None
    needs: list[str]
    priority: int
    trials: int
    counts: dict[str, int]
    best: dict[str, float]
    attempts: int
    error: str
    created_at: float
    started_at: float | None
    finished_at: float | None


class StudyList(BaseModel):
    """The studies that a token may see."""

    studies: list[StudyDocument]


class StudyDetail(StudyDocument):
    """A study with its study file and the progress of its search.

    Attributes:
        config: The study file as checked.
        search: Progress of the search that runs, as in the events of `progress`; null where none does.
    """

    config: dict[str, Any]
    search: dict[str, Any] | None


class TrialList(BaseModel):
    """A page of trials.

    Attributes:
        total: Number of trials that match.
        trials: The trials of this page.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"total": 1, "trials": [examples.TRIAL]}]})
    total: int
    trials: list[dict[str, Any]]


class Extension(BaseModel):
    """A larger number of trials."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"trials": 80}]})
    trials: int = Field(ge=1, le=MAX_TRIALS)


class Retry(BaseModel):
    """Which failures are to run again; all where no cause is named."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"causes": ["timeout"]}]})
    causes: list[str] = Field(default_factory=list, max_length=20)


class Candidate(BaseModel):
    """A candidate that is to run before all others: a trial's knobs with some changed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"knobs": {"mbconv.kernel": 5}, "like": 3}]}
    )
    knobs: dict[str, str | int | float | bool | None] = Field(default_factory=dict, max_length=200)
    like: int | None = Field(default=None, ge=0, description="Number of a trial; null for the baseline")


class DatasetDocument(BaseModel):
    """A data set; `shape` to `duplicates` are those of `paredown data check --json`.

    Attributes:
        dataset: Name among the data sets of its owner.
        owner: Name of its owner.
        created_at: Unix time.
        zip_sha256: SHA-256 of the zip file.
        files: Number of images.
        left_out: Number of files of operating systems that were not unpacked.
        size_bytes: Size of all images as files.
        classes: Names of the classes.
        thumbnails: Number of thumbnails of each class.
        shape: Channels, height and width of one input.
        values: Type and range of the values, in words.
        counts: From split to the number of images of each class.
        unused: From reason to the files that are not used.
        notes: What was dropped or changed, a sentence each.
        duplicates: From `validation` and `test` to the names of images that are in train, too.
        studies: Names of the studies whose data it is.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [examples.DATASET]})
    dataset: str
    owner: str
    created_at: float
    zip_sha256: str
    files: int
    left_out: int
    size_bytes: int
    classes: list[str]
    thumbnails: dict[str, int]
    shape: list[int] = Field(min_length=3, max_length=3)
    values: str
    counts: dict[str, dict[str, int]]
    unused: dict[str, list[str]]
    notes: list[str]
    duplicates: dict[str, list[str]]
    studies: list[str]


class DatasetList(BaseModel):
    """The data sets that a token may see.

    Attributes:
        datasets: The data sets.
        upload_limit_bytes: Maximum size of a zip file that is uploaded.
    """

    datasets: list[DatasetDocument]
    upload_limit_bytes: int


class DeviceList(BaseModel):
    """The devices of the catalogue.

    Attributes:
        devices: What is known of each, as `paredown device show --json` prints it.
    """

    devices: list[dict[str, Any]]


class DeviceEnergy(BaseModel):
    """Energy of one run of a model: power of the board times latency.

    Attributes:
        value_uj: Median, in uJ.
        low_uj: Lower end of the 90 % interval.
        high_uj: Upper end.
        how: How it was found: predicted.
        power_mw: Power of the board, in mW.
        power_kind: How the power was found: measured, emulated, predicted or published.
    """

    value_uj: float
    low_uj: float
    high_uj: float
    how: str
    power_mw: float
    power_kind: str


class DeviceRow(BaseModel):
    """The best model of a study for a device.

    Attributes:
        device: Name of the device.
        trial: Number of the trial; null where no model fits.
        metrics: Values of the model, those on the device included.
        reason: Why no model fits; empty where one does.
        energy: Energy of one run; null where the device states no power or no latency is predicted.
    """

    device: str
    trial: int | None
    metrics: dict[str, float]
    reason: str
    energy: DeviceEnergy | None


class DeviceMatrix(BaseModel):
    """The best model of a study for each device."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "study": "digits",
                    "devices": [
                        {"device": "f746", "trial": 3, "metrics": {"accuracy": 0.9583}, "reason": "", "energy": None}
                    ],
                }
            ]
        }
    )
    study: str
    devices: list[DeviceRow]


class LogPart(BaseModel):
    """A part of a log.

    Attributes:
        text: The text from the offset on.
        next_offset: Offset of what comes after it, in bytes.
        ended: Whether the study rests, so that nothing comes as long as nobody starts it again.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "trial 1 done\n", "next_offset": 13, "ended": False}]}
    )
    text: str
    next_offset: int
    ended: bool


class Problem(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"detail": "digits.yaml: epochs: no such key; allowed: study, task, objectives"}]
        }
    )
    detail: str
