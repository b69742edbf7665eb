"""Every way to make a network lighter, side by side: accuracy, bytes, multiply-adds, parameters, latency.

A ResNet-20 and an mbconv are trained once a seed; each method starts from that very network, is fine-tuned for the same
epochs where it is fine-tuned at all, and is exported. Rows of ours are the trials that `paredown compress` runs.
Beside them: fine-tuning without any compression (what further epochs alone give), torch-pruning's own recipe, ONNX
Runtime's quantization alone, and raw weights zeroed in place of coefficients. Accuracy is that of the exported file on
test images, which decide nothing; latency is a ratio of interleaved runs. benchmarks/bits.py, int8.py, structural.py,
sparsity.py and transform_sparsity.py look at single methods more closely.

    .venv/bin/python benchmarks/compression.py --seeds 3
    .venv/bin/python benchmarks/compression.py --cifar cifar10-20k.zip --seeds 1 --epochs 20 --images-per-class 200

Finished rows lie in rows.jsonl of --work and are not run again; several processes may share the folder. Writes
benchmarks/results/compression.json and a plot from all rows that are there.
"""

import argparse
import importlib.metadata
import json
import math
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from bits import emulated, judged, mixed
from compression_claims import markdown, summarised, write_plot
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from sparsity import KNOBS as MBCONV
from structural import METHODS, halving_ratio, theirs
from torch import nn
from transform_sparsity import masked, masks_over_all, masks_per_filter

from paredown.evaluators.build import apply_structural_steps, rebuild
from paredown.evaluators.device import this_device
from paredown.evaluators.files.names import MODEL_FILE, PACKED_FILE, WEIGHTS_FILE
from paredown.evaluators.files.onnx_model import export, slimmed
from paredown.evaluators.metrics.catalogue import EVALUATORS
from paredown.evaluators.metrics.evaluation_input import Baseline, EvaluationInput
from paredown.evaluators.metrics.macs import MACS
from paredown.evaluators.packing.container import ship
from paredown.evaluators.training.data import TrainingData
from paredown.evaluators.training.fit import fit, keep
from paredown.evaluators.training.inference import recalibrate
from paredown.search.drivers.driver import with_reference
from paredown.search.one_network.setup import finished
from paredown.search.one_network.step_arguments import check_steps, compressed
from paredown.search.study_file.schema import StudyConfig
from paredown.search.study_file.setup import Setup, set_up
from paredown.search.trial.training_stages import FINETUNE_RATE
from paredown.spaces.candidate import Candidate
from paredown.spaces.compression.catalogue import STEPS
from paredown.spaces.compression.step import Hold, TransformContext
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.catalogue import variant
from paredown.spaces.families.family import ImageShape
from paredown.spaces.knob import Knobs

ROOT = Path(__file__).parents[1]
SIDE = 16
HALF = -1.0
"""In place of a ratio: the least one, in steps of 1/64, that leaves at most half of the multiply-adds."""
DCT = {"domain": "dct", "rule": "energy", "amount": 0.5}
ZEROS = {"ratio": 0.8, "scope": "global", "pattern": "none"}
OURS: dict[str, dict[str, Knobs]] = {
    "channel_pruning, layer, l2": {"channel_pruning": {"ratio": HALF}},
    "channel_pruning, layer, l2, multiple 1": {"channel_pruning": {"ratio": HALF, "multiple": 1}},
    "channel_pruning, global, taylor": {
        "channel_pruning": {"ratio": HALF, "scope": "global", "importance": "taylor"},
    },
    "int8": {"quantization": {"weights": "int8"}},
    "7 bits": {"quantization": mixed(7)},
    "4 bits": {"quantization": mixed(4)},
    "4 bits, aware": {"quantization": mixed(4) | {"aware": True}},
    "80 % zeros, one-shot": {"unstructured_pruning": ZEROS | {"schedule": "one_shot"}},
    "80 % zeros, gradual": {"unstructured_pruning": ZEROS | {"schedule": "gradual"}},
    "DCT, 50 % energy": {"transform_sparsity": DCT},
    "fp16": {"quantization": {"weights": "fp16"}},
    "bf16": {"quantization": {"weights": "bf16"}},
    "channel_pruning, 7 bits": {"channel_pruning": {"ratio": HALF}, "quantization": mixed(7)},
    **{name: {name: knobs} for name, knobs in METHODS.items() if name != "channel_pruning"},
}


def networks(width: float) -> dict[str, Candidate]:
    """Return the networks by name; `width` is a factor on the channels of the residual one.

    Its shortcuts are projections: on those padded with zeros torch-pruning fails (an index overflows).
    """
    resnet20 = Candidate(
        "resnet", {**variant("resnet20")[1], "shortcut": "projected", "resolution": SIDE, "width": width}
    )
    name = "resnet20" if width == 1 else f"resnet20 x {width:g}"
    return {name: resnet20, "mbconv": Candidate("mbconv", MBCONV | {"resolution": SIDE})}


@dataclass(frozen=True)
class Trained:
    """A trained network and all that its compressed ones are compared with.

    Attributes:
        setup: Of a study whose folder keeps it.
        architecture: Without steps.
        seed: Of weights and order of images.
    """

    setup: Setup
    architecture: Candidate
    seed: int

    @cached_property
    def baseline(self) -> Any:
        """The finished trial of the network as it is; trained once a folder."""
        return finished(self.architecture, self.setup.plan, 0, lambda epoch, metrics: "")[0]

    @cached_property
    def data(self) -> TrainingData:
        """Its images."""
        return TrainingData.of(self.setup.task, SIDE)

    @property
    def shape(self) -> ImageShape:
        """Of one input."""
        return (self.setup.task.channels, SIDE, SIDE)

    def network(self) -> nn.Module:
        """Return a fresh copy."""
        weights = self.setup.plan.folder / self.baseline.artifact / WEIGHTS_FILE
        return rebuild(self.architecture, self.setup.task, weights)[0]

    def halving(self, steps: Mapping[str, Knobs]) -> dict[str, Knobs]:
        """Return the steps with the ratio that `HALF` stands for."""
        if steps.get("channel_pruning", {}).get("ratio") != HALF:
            return dict(steps)
        network, knobs = self.network(), steps["channel_pruning"]

        def pruned(ratio: float) -> nn.Module:
            alone = self.candidate({"channel_pruning": {**knobs, "ratio": ratio}})
            return apply_structural_steps(network, alone, self.shape, self.data).network

        ratio = halving_ratio(pruned, self.macs, self.macs(network) / 2)
        return {**steps, "channel_pruning": {**knobs, "ratio": ratio}}

    def candidate(self, steps: Mapping[str, Knobs]) -> Candidate:
        """Return the network with steps."""
        check_steps(steps)
        return Candidate(self.architecture.family, self.architecture.knobs, compressed(self.setup.space, steps).steps)

    def macs(self, network: nn.Module) -> float:
        """Return multiply-adds of one input."""
        return MACS.evaluate(EvaluationInput(network, self.shape)).value

    def finetune(self, network: nn.Module, *holds: Hold) -> None:
        """Train as a trial does after compression."""
        plan = self.setup.plan.training
        torch.manual_seed(plan.seed)
        rate = plan.learning_rate * FINETUNE_RATE
        fit(network, self.data, plan, epochs=plan.finetune_epochs, learning_rate=rate, deadline=math.inf, holds=holds)


class Images(CalibrationDataReader):  # type: ignore[misc]
    """Images for ONNX Runtime's own quantization, one by one."""

    def __init__(self, images: Any) -> None:
        self._left = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """Return the next input."""
        image = next(self._left, None)
        return None if image is None else {"image": image[None]}


def finetuned_alone(trained: Trained) -> tuple[nn.Module, bytes]:
    """Train on, and compress nothing."""
    network = trained.network()
    trained.finetune(network)
    return exported(network, trained)


def torch_pruning(trained: Trained) -> tuple[nn.Module, bytes]:
    """Prune to half the multiply-adds by torch-pruning's own recipe, and fine-tune."""
    network = trained.network()
    material = TransformContext(torch.zeros(1, *trained.shape))
    ratio = halving_ratio(lambda ratio: theirs(network, ratio, material), trained.macs, trained.macs(network) / 2)
    pruned = theirs(network, ratio, material)
    recalibrate(pruned, trained.data)
    trained.finetune(pruned)
    return exported(pruned, trained)


def raw_zeros(masks: Callable[[nn.Module, Knobs], list[torch.Tensor]], trained: Trained) -> tuple[nn.Module, bytes]:
    """Zero as many raw weights as the cosine transform zeroes coefficients, and fine-tune."""
    network = trained.network()
    with masked(network, masks(network, DCT)) as hold:
        keep([hold], 1.0)
        recalibrate(network, trained.data)
        trained.finetune(network, hold)
    return exported(network, trained)


def onnx_runtime(trained: Trained, **options: Any) -> tuple[nn.Module, bytes]:
    """Quantize the exported file by ONNX Runtime alone, from as many images as ours."""
    network = trained.network()
    images, count = trained.data.train.images, 64
    shown = trained.data.normalise(images[:: max(1, len(images) // count)][:count])
    with tempfile.TemporaryDirectory() as folder:
        whole, small = Path(folder, "whole.onnx"), Path(folder, "small.onnx")
        whole.write_bytes(slimmed(export(network, trained.shape)))
        quantize_static(whole, small, Images(shown), **options)
        return network, small.read_bytes()


UNSIGNED = {"per_channel": True, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
BESIDE: dict[str, Callable[[Trained], tuple[nn.Module, bytes]]] = {
    "fine-tuning alone": finetuned_alone,
    "torch-pruning, MagnitudePruner": torch_pruning,
    "ONNX Runtime, defaults": onnx_runtime,
    "ONNX Runtime, per channel, reduced range": partial(onnx_runtime, reduce_range=True, **UNSIGNED),
    "raw zeros by filter, as many as DCT": partial(raw_zeros, masks_per_filter),
    "raw zeros over all, as many as DCT": partial(raw_zeros, masks_over_all),
}
ORDER = ["not compressed", *list(BESIDE)[:2], *list(OURS)[:5], *list(BESIDE)[2:4], *list(OURS)[5:10]]
ORDER += [*list(BESIDE)[4:], *list(OURS)[10:]]
"""What claims are about comes first, so that a run that is short of time answers them."""


def exported(network: nn.Module, trained: Trained) -> tuple[nn.Module, bytes]:
    """Return a network and its file."""
    recalibrate(network, trained.data)
    return network, slimmed(export(network, trained.shape))


def measured(network: nn.Module, model: bytes, trained: Trained) -> dict[str, float]:
    """Return what a trial measures, of a network made elsewhere."""
    baseline, data = trained.baseline, trained.data
    reference = trained.setup.plan.folder / baseline.artifact / MODEL_FILE
    with tempfile.TemporaryDirectory() as folder:
        file = ship(model, Path(folder, MODEL_FILE))
        inputs = EvaluationInput(
            network,
            trained.shape,
            file,
            file.with_name(PACKED_FILE),
            data.normalise(data.validation.images),
            data.validation.labels,
            Baseline(reference, trained.shape, baseline["latency_ms"]),
        )
        return {name: evaluator.evaluate(inputs).value for name, evaluator in EVALUATORS.items()}


def row(method: str, trained: Trained) -> dict[str, Any]:
    """Return one row: knobs and figures."""
    if method in BESIDE:
        network, model = BESIDE[method](trained)
        found: dict[str, Any] = {"steps": None, "skipped_layers": {}, **measured(network, model, trained)}
    else:
        steps = trained.halving(OURS.get(method, {}))
        plan, one, skipped = trained.setup.plan, trained.baseline, {}
        if steps:
            plan = with_reference(plan, one)
            one, result = finished(trained.candidate(steps), plan, 1, lambda epoch, metrics: "")
            skipped = {step: len(layers) for step, layers in result.facts["skipped"].items()}
        model = (plan.folder / one.artifact / MODEL_FILE).read_bytes()
        found = {"steps": steps, "skipped_layers": skipped}
        found |= {name: m.value for name, m in one.measurements.items()}
    found["test_accuracy"] = judged(model, trained.data, trained.setup.task)
    found["emulated_accuracy"] = emulated(model, trained.data, trained.setup.task)
    found["latency_ratio"] = found["latency_ms"] / trained.baseline["latency_ms"]
    return found


def set_up_task(task: Any, family: str, training: dict[str, Any], seed: int, folder: Path) -> Setup:
    """Return the setup that trials of one network run in."""
    training = {"patience": 1000, "max_seconds": 1e9, "accelerator": "cpu", **training}
    config = StudyConfig.model_validate(
        {
            "study": "compression",
            "task": task,
            "objectives": ["accuracy", "latency_ms", "size_bytes"],
            "space": {"families": [family], "steps": list(STEPS), "knobs": {}},
            "training": training,
            "sampler": "random",
            "seed": seed,
        }
    )
    return set_up(config, "compression.py", folder, folder / "out")


def run(options: argparse.Namespace, work: Path) -> None:
    """Add the rows that are missing, until time is up."""
    task, data = "digits", "digits"
    training = {"epochs": options.epochs, "finetune_epochs": options.finetune_epochs}
    if options.cifar is not None:
        if not (work / "images").is_dir():
            zipfile.ZipFile(options.cifar).extractall(work / "images")
        roots = [p.parent for p in (work / "images").rglob("train") if p.is_dir()]
        task = {"image_folder": {"path": str(roots[0]), "images_per_class": options.images_per_class}}
        data = f"cifar10, {options.images_per_class} a class"
    made: dict[tuple[str, int], Trained] = {}
    for seed in range(options.seeds):
        for name, architecture in networks(options.width).items():
            if options.only not in name:
                continue
            folder = work / "-".join(f"{data} {name} {seed}".replace(",", "").split())
            folder.mkdir(parents=True, exist_ok=True)
            setup = set_up_task(task, architecture.family, training, seed, folder)
            made[name, seed] = Trained(setup, architecture, seed)
    rows, began = work / "rows.jsonl", time.monotonic()
    for method in ORDER:
        for (name, seed), trained in made.items():
            key = {"data": data, "network": name, "seed": seed, "method": method, **training}
            done = [json.loads(line) for line in rows.read_text().splitlines()] if rows.is_file() else []
            if any(key.items() <= one.items() for one in done) or time.monotonic() - began > options.seconds:
                continue
            start = time.monotonic()
            try:
                found = row(method, trained)
            except InfeasibleCandidate as error:
                found = {"infeasible": str(error)}
            line = json.dumps({**key, **found, "seconds": round(time.monotonic() - start, 1)})
            print(line, flush=True)
            with rows.open("a") as file:
                file.write(line + "\n")


def main() -> None:
    """Run what is missing, judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cifar", type=Path, help="a zip of train/<class>/ and val/<class>/; without it the digits")
    parser.add_argument("--images-per-class", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3, help="0 only writes what is there")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--finetune-epochs", type=int, default=6)
    parser.add_argument("--width", type=float, default=1.0, help="of the residual network")
    parser.add_argument("--only", default="", help="part of the name of the networks to run")
    parser.add_argument("--seconds", type=float, default=math.inf, help="no row begins after so long")
    parser.add_argument("--work", type=Path, help="folder of trained networks and rows; without it a temporary one")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        run(options, work)
        rows = [json.loads(line) for line in (work / "rows.jsonl").read_text().splitlines()]
    versions = {name: importlib.metadata.version(name) for name in ("torch", "onnxruntime", "torch-pruning")}
    document = {"device": str(this_device()), "vnni": not this_device().int8_sums_saturate, "side": SIDE, **versions}
    document |= summarised(rows, ORDER) | {"rows": rows}
    print(markdown(document["table"]))
    for claim in document["claims"]:
        print(claim)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "compression.json").write_text(json.dumps(document, indent=1) + "\n")
    write_plot(document["table"], options.out / "compression")


if __name__ == "__main__":
    main()
