"""Memory of a study on many photos: a synthetic image folder, two workers, every process counted.

Draws `--images` training images of `--side` px (and a tenth each for validation and test), runs a study of one epoch on
them and adds up twice a second what its processes take, as Linux says in /proc/PID/smaps_rollup:

- `peak_pss_bytes`: each process's own memory and its share of what it shares. It decides.
- `peak_anonymous_bytes`: the part of it that no file backs. The rest are mapped pages of files (libraries, the decoded
  images), which the system gives back when it needs them.
- `peak_rss_bytes`: resident memory, where what is shared counts in each process.

What the system keeps as cache of files that no process maps is in none of them.

    .venv/bin/python benchmarks/data_scale.py --images 100000          # the claim; hours on a small machine
    .venv/bin/python benchmarks/data_scale.py --images 1000            # some minutes
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

LIMIT_BYTES = 4e9
CLASSES = 10
STUDY = """
study: scale
task: {{image_folder: {{path: photos}}}}
objectives: [accuracy, size_bytes]
space:
  families: [mbconv]
  steps: []
  knobs:
    mbconv.scaling: free
    mbconv.depth: 1.0
    mbconv.width: 0.5
    mbconv.kernel: 3
    mbconv.expansion: 2
    mbconv.squeeze_excite: false
    mbconv.resolution: {{low: {low}, high: {high}}}
  baseline: {{mbconv.resolution: {high}}}
training: {{epochs: {epochs}}}
sampler: random
workers: 2
trials: 3
trial_timeout: 24h
"""


def main() -> None:
    """Print what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000, help="Training images.")
    parser.add_argument("--side", type=int, default=224, help="Side of an image, in pixels.")
    parser.add_argument("--epochs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder / "photos", options.images, options.side)
        high = options.side // 4 * 4
        (folder / "study.yaml").write_text(STUDY.format(low=high - 8, high=high, epochs=options.epochs))
        seen, seconds = run(folder)
        stored = sum(file.stat().st_size for file in (folder / "cache").rglob("*") if file.is_file())
        study = json.loads((folder / "out.json").read_text())
    document = {
        "claim": "100,000 images of 224 px, two workers: under 4 GB",
        "images": options.images,
        "side_px": options.side,
        "epochs": options.epochs,
        "workers": 2,
        "cores": psutil.cpu_count(),
        "trials": study["counts"],
        "wall_s": round(seconds, 1),
        "peak_pss_bytes": seen.pss,
        "peak_anonymous_bytes": seen.anonymous,
        "peak_rss_bytes": seen.rss,
        "cache_on_disk_bytes": stored,
        "holds": seen.pss < LIMIT_BYTES,
    }
    print(json.dumps(document, indent=2))


def draw(root: Path, images: int, side: int) -> None:
    """Write JPEG files of train/, val/ and test/: noise of low frequency in the colour of the class."""
    jobs = []
    for split, count in (("train", images), ("val", images // 10), ("test", images // 10)):
        for label in range(CLASSES):
            (root / split / f"class-{label}").mkdir(parents=True)
        jobs += [(root / split / f"class-{at % CLASSES}" / f"{at:06d}.jpg", at) for at in range(max(count, CLASSES))]
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(_draw, side=side), jobs, chunksize=200))


def _draw(job: tuple[Path, int], side: int) -> None:
    file, at = job
    rng = np.random.default_rng([at, len(file.parts[-3])])
    coarse = rng.integers(0, 200, (8, 8, 3)) + np.array([5, 25, 45]) * (at % CLASSES) / CLASSES
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    image.save(file, quality=85)


class Peak:
    """The most memory that a tree of processes took.

    Attributes:
        pss: Sum of the proportional set sizes, in bytes.
        anonymous: The part of them that no file backs.
        rss: Sum of the resident set sizes, in bytes.
    """

    def __init__(self) -> None:
        self.pss = self.anonymous = self.rss = 0

    def look(self, root: psutil.Process) -> None:
        """Add up what the processes take now."""
        sums = dict.fromkeys(("Pss", "Pss_Anon", "Pss_Shmem", "Rss"), 0)
        for process in [root, *root.children(recursive=True)]:
            try:
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
            except OSError:  # it ended meanwhile
                continue
            found = {name: int(size.split()[0]) << 10 for name, _, size in (line.partition(":") for line in lines)}
            sums = {name: total + found[name] for name, total in sums.items()}
        self.pss, self.rss = max(self.pss, sums["Pss"]), max(self.rss, sums["Rss"])
        self.anonymous = max(self.anonymous, sums["Pss_Anon"] + sums["Pss_Shmem"])


def run(folder: Path) -> tuple[Peak, float]:
    """Run the study in a folder and return the peak of memory and the seconds it took."""
    start, peak = time.perf_counter(), Peak()
    environment = os.environ | {"PAREDOWN_CACHE": str(folder / "cache")}
    with (folder / "out.json").open("w") as out:
        command = [sys.executable, "-m", "paredown", "search", "study.yaml", "--json"]
        process = subprocess.Popen(command, cwd=folder, stdout=out, env=environment)
        ended = threading.Event()

        def watch() -> None:
            root = psutil.Process(process.pid)
            while not ended.wait(0.5):
                if root.is_running():
                    peak.look(root)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        code = process.wait()
        ended.set()
        watcher.join()
    if code:
        raise SystemExit(f"the study ended with exit code {code}")
    return peak, time.perf_counter() - start


if __name__ == "__main__":
    main()
