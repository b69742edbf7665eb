"""The default study, timed: wall time, share outside trials, peak memory; and the time that --help takes.

Runs in a temporary folder with the interpreter that runs this script.

    .venv/bin/python benchmarks/default_study.py --trials 40
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import psutil


def main() -> None:
    """Print what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    options = parser.parse_args()
    command = [sys.executable, "-m", "paredown"]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "search", "--trials", str(options.trials), "--json"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        peak = [0]
        watch = threading.Thread(target=_watch, args=(process.pid, peak), daemon=True)
        watch.start()
        output, _ = process.communicate()
        wall = time.perf_counter() - start
        watch.join()
    study = json.loads(output)
    help_s = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([*command, "--help"], stdout=subprocess.DEVNULL, check=True)
        help_s.append(time.perf_counter() - start)
    outside = study["seconds"]["outside_trials"] / study["seconds"]["wall"]
    document = {
        "claim": "40 trials in under 300 s and 2 GB; under 5 % of the time outside trials; --help in under 1 s",
        "trials": study["counts"],
        "cores": psutil.cpu_count(),
        "wall_s": round(wall, 1),
        "search_s": study["seconds"]["wall"],
        "outside_trials_s": study["seconds"]["outside_trials"],
        "outside_trials_share": round(outside, 4),
        "peak_memory_bytes": peak[0],
        "help_s_median": round(statistics.median(help_s), 3),
        "front": len(study["models"]),
        "exported": len(study["exported"]),
        "holds": wall < 300 and peak[0] < 2e9 and outside < 0.05 and statistics.median(help_s) < 1,
    }
    print(json.dumps(document, indent=2))


def _watch(pid: int, peak: list[int]) -> None:
    """Keep the largest sum of the unique memory of the process and all below it."""
    pause = threading.Event()
    while psutil.pid_exists(pid):
        try:
            root = psutil.Process(pid)
            peak[0] = max(peak[0], sum(_memory(p) for p in (root, *root.children(recursive=True))))
            if root.status() == psutil.STATUS_ZOMBIE:
                return
        except psutil.NoSuchProcess:
            return
        pause.wait(0.2)


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0


if __name__ == "__main__":
    main()
