"""After how many trials a search on real data that starts from a sister has what the same search reaches without.

    .venv/bin/python benchmarks/warm_start_real.py --spoken spoken-digits.zip --cifar cifar10-20k.zip

Three pairs of studies, networks that train within seconds:

- digits: one epoch, then four;
- spoken digits as spectrograms of 16 x 16: two speakers, then two others;
- CIFAR-10 with 200 images a class: five classes, then the five others.

For each pair and seed: the sister with a seed of its own; the study without it; the study again, from the same seed,
with `warm_start`. Hypervolume is that of the studies themselves, inside the limit on accuracy, both against the
baseline of the cold one. Adds `real` to benchmarks/results/warm_start.json; seeds that it holds are not repeated.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
import wave
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from time_left import KNOBS

from paredown.search.api.run import run_study
from paredown.search.api.study import Study
from paredown.studies.front import Model, hypervolume_history

RESULTS = Path(__file__).parent / "results/warm_start.json"
OBJECTIVES = ("accuracy", "macs", "size_bytes")
SPEAKERS = (("george", "jackson"), ("nicolas", "theo"))
CLASSES = (("airplane", "automobile", "bird", "cat", "deer"), ("dog", "frog", "horse", "ship", "truck"))
TRAIN_A_CLASS, JUDGED_A_CLASS = 200, 150
"""Number of CIFAR-10's images of each class for training, and for each of validation and test."""
SPECTROGRAM, WINDOW = 16, 256
"""Side of a spectrogram, and number of samples of the window from which each of its columns comes."""
SISTER, OWN = "sister", "own"


def main() -> None:
    """Run what is missing, until the time is up; write after each seed of a pair."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spoken", type=Path, required=True, help="Free Spoken Digit Dataset: <split>/<digit>/*.wav")
    parser.add_argument("--cifar", type=Path, required=True, help="CIFAR-10: <split>/<class>/*.jpg")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=24, help="of each study, the sister included")
    parser.add_argument("--minutes", type=float, default=60, help="after which no other seed of a pair begins")
    options = parser.parse_args()
    end = time.monotonic() + 60 * options.minutes
    document = json.loads(RESULTS.read_text())
    runs: list[dict[str, Any]] = document.get("real", {}).get("runs", [])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = {
            "digits": ("digits", "digits"),
            "spoken digits": tuple(spoken(options.spoken, which, folder) for which in SPEAKERS),
            "cifar-10": tuple(photos(options.cifar, which, folder) for which in CLASSES),
        }
        for seed in range(options.seeds):
            for pair, tasks in pairs.items():
                known = any(run["pair"] == pair and run["seed"] == seed for run in runs)
                if known or time.monotonic() > end:
                    continue
                found = compared(tasks, 1 if pair == "digits" else 4, seed, options.trials, folder / f"{pair}-{seed}")
                runs.append({"pair": pair, "seed": seed} | found)
                print(json.dumps(runs[-1]), flush=True)
                document["real"] = {"summary": summary(runs), "runs": runs}
                RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["real"]["summary"], indent=1))


def compared(tasks: tuple[Any, ...], sister_epochs: int, seed: int, trials: int, folder: Path) -> dict[str, Any]:
    """Return how a study without a sister and the same with one compare."""
    folder.mkdir()
    sister = searched(SISTER, {"task": tasks[0]}, sister_epochs, 1000 + seed, trials, folder)
    cold = searched(OWN, {"task": tasks[1]}, 4, seed, trials, folder)
    warm = searched(f"{OWN}-warm", {"task": tasks[1], "warm_start": [SISTER]}, 4, seed, trials, folder)
    baseline, limits = cold.stored.baseline(), cold.stored.limits
    assert baseline is not None, "a search that ends has a baseline"
    arms = {"cold": cold, "warm": warm}
    curves = {arm: curve(study, baseline, limits) for arm, study in arms.items()}
    goal = curves["cold"][-1]
    return {
        "trials": trials,
        "limit_on_accuracy": limits["accuracy"],
        "sister_limit_on_accuracy": sister.stored.limits["accuracy"],
        "asked_first": warm.stored.config["warm_start"][0]["asked_first"],
        "inside": {arm: sum(model.feasible for model in study.models) for arm, study in arms.items()},
        "counts": {arm: study.counts for arm, study in arms.items()},
        "cold_reached_at": next(n for n, share in enumerate(curves["cold"], 1) if share >= goal),
        "reached_at": next((n for n, share in enumerate(curves["warm"], 1) if share >= goal), None),
        "hypervolume": {arm: [round(share, 5) for share in curve] for arm, curve in curves.items()},
    }


def curve(study: Study, baseline: Model, limits: Mapping[str, float]) -> list[float]:
    """Return the hypervolume after each trial that counts towards the budget."""
    stored = study.stored
    shares = [0.0] * (trials := stored.finished_after(-1))
    for number, share in hypervolume_history(study.models, stored.optimised_metrics, baseline, limits):
        since = trials - stored.finished_after(number) - 1
        shares[since:] = [share] * (trials - since)
    return shares


def searched(name: str, what: Mapping[str, Any], epochs: int, seed: int, trials: int, folder: Path) -> Study:
    """Run a study and return it."""
    study = {
        "study": name,
        "objectives": list(OBJECTIVES),
        "space": {"steps": ["channel_pruning", "quantization"], "knobs": KNOBS | {"mbconv.resolution": [8, 12]}},
        "training": {"epochs": epochs, "finetune_epochs": 1, "learning_rate": 6e-3},
        **what,
    }
    storage = f"sqlite:///{folder}/studies.db"
    return run_study(study, trials=trials, workers=2, seed=seed, storage=storage, out=folder / name, progress=False)


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return for each pair and for all when the hypervolume was reached; where it was not, one trial after the last."""
    found = {}
    for pair in [*dict.fromkeys(run["pair"] for run in runs), "all"]:
        those = [run for run in runs if pair in (run["pair"], "all")]
        counted = [run["reached_at"] or run["trials"] + 1 for run in those]
        found[pair] = {
            "seeds": len(those),
            "reached_at": [run["reached_at"] for run in those],
            "reached_at_median": statistics.median(counted),
            "within_half": sum(n <= run["trials"] / 2 for n, run in zip(counted, those, strict=True)),
            "hypervolume": {arm: _mean(those, arm, 1) for arm in ("cold", "warm")},
            "hypervolume_at_half": {arm: _mean(those, arm, 2) for arm in ("cold", "warm")},
        }
    return found


def _mean(runs: list[dict[str, Any]], arm: str, part: int) -> float:
    curves = [run["hypervolume"][arm] for run in runs]
    return round(statistics.fmean(curve[len(curve) // part - 1] for curve in curves), 4)


def spoken(file: Path, speakers: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Return the task of telling the digits that some speakers say, each second image of the rest for the test."""
    splits: dict[str, list[tuple[NDArray[np.uint8], int]]] = {"train": [], "validation": [], "test": []}
    with zipfile.ZipFile(file) as archive:
        for name in sorted(one for one in archive.namelist() if one.endswith(".wav")):
            path = Path(name)
            speaker, number = path.stem.split("_")
            if speaker in speakers:
                split = "train" if int(number) < 30 else ("validation", "test")[int(number) % 2]
                splits[split].append((spectrogram(archive.read(name)), int(path.parent.name)))
    return stored(splits, tuple("0123456789"), folder / f"{speakers[0]}.npz")


def spectrogram(recording: bytes) -> NDArray[np.uint8]:
    """Return decibels by frequency and time as grey values; the range of 60 dB ends at the loudest."""
    with wave.open(io.BytesIO(recording)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), dtype=np.int16).astype(np.float64)
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    starts = np.linspace(0, len(samples) - WINDOW, 2 * SPECTROGRAM).astype(int)
    frames = np.array([samples[start : start + WINDOW] for start in starts]) * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames)[:, 1:].T) ** 2  # 128 frequencies x 32 moments
    power = power.reshape(SPECTROGRAM, WINDOW // 2 // SPECTROGRAM, SPECTROGRAM, 2).mean((1, 3))
    decibels = 10 * np.log10(np.maximum(power / power.max(), 1e-6))
    return np.round(255 * (1 + decibels / 60)).astype(np.uint8)


def photos(file: Path, classes: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """Return the task of telling some classes of CIFAR-10 apart."""
    splits: dict[str, list[tuple[NDArray[np.uint8], int]]] = {"train": [], "validation": [], "test": []}
    with zipfile.ZipFile(file) as archive:
        names = sorted(one for one in archive.namelist() if one.endswith(".jpg"))
        for label, wanted in enumerate(classes):
            train, judged = ([n for n in names if n.startswith(f"{split}/{wanted}/")] for split in ("train", "val"))
            parts = train[:TRAIN_A_CLASS], judged[:JUDGED_A_CLASS], judged[-JUDGED_A_CLASS:]
            for split, part in zip(splits, parts, strict=True):
                splits[split] += [(np.asarray(Image.open(io.BytesIO(archive.read(n)))), label) for n in part]
    return stored(splits, classes, folder / f"{classes[0]}.npz")


def stored(
    splits: Mapping[str, list[tuple[NDArray[np.uint8], int]]], classes: tuple[str, ...], file: Path
) -> dict[str, Any]:
    """Write the images of each split and return what a study file says of them."""
    arrays: dict[str, Any] = {
        f"{split}_images": np.stack([image for image, _ in rows]) for split, rows in splits.items()
    }
    arrays |= {f"{split}_labels": np.array([label for _, label in rows]) for split, rows in splits.items()}
    np.savez(file, classes=np.array(classes), **arrays)
    return {"arrays": {"path": str(file)}}


if __name__ == "__main__":
    main()
