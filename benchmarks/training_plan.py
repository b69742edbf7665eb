"""What the training of the default study is worth: the same networks under it, and under that of before.

Networks are drawn from the space of the default study, compression included. Each is trained, compressed, fine-tuned
and measured as in a trial, by each plan in turn, in one process with one thread; the order of the plans changes from
network to network. Distillation learns from the baseline of its own plan.

    .venv/bin/python benchmarks/training_plan.py --networks 48

Writes benchmarks/results/training_plan.json.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from paredown.evaluators.files.names import MODEL_FILE
from paredown.evaluators.metrics.evaluation_input import Baseline
from paredown.evaluators.metrics.measurement import Objective
from paredown.search.study_file.schema import read_config
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.trial.plan import TrialPlan
from paredown.search.trial.run_trial import run_trial

RESULTS = Path(__file__).parent / "results" / "training_plan.json"
PLANS: dict[str, dict[str, Any]] = {
    "before": {"epochs": 10, "finetune_epochs": 4, "learning_rate": 6e-3, "label_smoothing": 0.0},
    "now": {},
}
"""What differs from the training of the default study."""
ACCURACY = "accuracy"


def main() -> None:
    """Train, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=48)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        setup = set_up(read_config(None, {"seed": 0}), "default study", Path(), Path(folder))
        plans = {name: plan_of(setup, changes, Path(folder, name)) for name, changes in PLANS.items()}
        runs = [
            {"network": network, "plan": name, **trial}
            for network in track(range(options.networks), console=Console(stderr=True))
            for name in (list(plans) if network % 2 else list(plans)[::-1])
            if (trial := trained(setup, network, plans[name])) is not None
        ]
    document = {"summary": summary(runs), "runs": runs}
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document["summary"], indent=1))


def plan_of(setup: Setup, changes: dict[str, Any], folder: Path) -> TrialPlan:
    """Return the plan of trials with changes to the training, behind the baseline that it trains."""
    training = replace(setup.plan.training, cache_bytes=0, **changes)
    unlimited = tuple(Objective(one.metric, one.optimised) for one in setup.plan.objectives)
    first = replace(setup.plan, training=training, folder=folder, objectives=unlimited)
    baseline = run_trial(setup.space.baseline, first)
    family = setup.space.families[setup.space.baseline.family]
    shape = setup.task.input_shape(family.resolution(setup.space.baseline.knobs))
    latency_ms = baseline.measurements["latency_ms"].value
    return replace(first, baseline=Baseline(folder / baseline.artifact / MODEL_FILE, shape, latency_ms))


def trained(setup: Setup, network: int, plan: TrialPlan) -> dict[str, float] | None:
    """Return the accuracy of a drawn network, 0 to 1, and its processor seconds; None where it cannot be built."""
    start = time.process_time()
    result = run_trial(setup.space.draw(network), plan)
    seconds = time.process_time() - start
    return {ACCURACY: result.measurements[ACCURACY].value, "processor_s": seconds} if result.outcome == "done" else None


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what each plan comes to, and the gain of the second network by network, with its standard error."""
    by_plan = {name: {run["network"]: run for run in runs if run["plan"] == name} for name in PLANS}
    both = [network for network in by_plan["now"] if network in by_plan["before"]]
    gains = [by_plan["now"][n][ACCURACY] - by_plan["before"][n][ACCURACY] for n in both]
    ratios = [by_plan["now"][n]["processor_s"] / by_plan["before"][n]["processor_s"] for n in both]
    return {
        "networks": len(both),
        **{
            name: {
                "mean_accuracy": statistics.mean(each[n][ACCURACY] for n in both),
                "median_accuracy": statistics.median(each[n][ACCURACY] for n in both),
                "processor_s": sum(each[n]["processor_s"] for n in both),
            }
            for name, each in by_plan.items()
        },
        "mean_gain": statistics.mean(gains),
        "standard_error": statistics.stdev(gains) / len(gains) ** 0.5,
        "median_ratio_of_processor_s": statistics.median(ratios),
    }


if __name__ == "__main__":
    main()
