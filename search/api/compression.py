"""Compression of one network from Python code: `compress`."""

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.markup import escape
from safetensors.torch import save_file
from torch import nn

from paredown.search.api.data_display import reading_data
from paredown.search.api.given_network import import_path
from paredown.search.api.progress import display_console
from paredown.search.api.task import Task
from paredown.search.errors import ConfigError
from paredown.search.one_network.compress import Compression, compress_model
from paredown.spaces.knob import Knobs
from paredown.studies.exporters.catalogue import DEFAULT_FORMAT

OUT = Path("paredown-out", "compressed")
"""Where the exported model goes where no folder is named."""


def compress(
    model: str | nn.Module,
    *,
    task: str | Task = "digits",
    steps: Mapping[str, Knobs],
    out: str | Path = OUT,
    weights: str | Path | None = None,
    resolution: int | None = None,
    epochs: int | None = None,
    finetune_epochs: int | None = None,
    training: Mapping[str, Any] | None = None,
    seed: int = 0,
    skip: Sequence[str] = (),
    keep: Sequence[str] = (),
    format: str = DEFAULT_FORMAT,
    progress: bool = True,
) -> Compression:
    """Compress one network without a search, fine-tune it, export it, and compare it with the network before.

    Args:
        model: A network of yours, which starts from the weights that it has; or the name of one of the literature such
            as `resnet20`, of a family such as `mbconv`, or `package.module:function`.
        task: `digits`, `image_folder:PATH`, `python:package.module:function`, or a `paredown.Task`.
        steps: Knobs of each compression step by its name, such as `{"channel_pruning": {"ratio": 0.5}}`.
        out: Folder of the exported model; it must be new, empty or an exported model, which is replaced.
        weights: File of the trained weights of a `package.module:function`.
        resolution: Side of the images, in pixels; None for the network's own.
        epochs: Epochs of training before compression; None for 20, or 0 where the network starts trained.
        finetune_epochs: Epochs of fine-tuning after structural steps; None for 8.
        training: Further keys of the section `training` of a study file.
        seed: Random seed.
        skip: Names of layers that every step leaves alone, with `*`, `?` and `[...]`; a name stands for all inside it.
        keep: The same of layers that keep their shape; their weights may be rounded or become zero.
        format: Name of an export format.
        progress: Whether to show progress.

    Returns:
        The network before and after: measurements, the exported folder, what was left alone, the PyTorch network.

    Raises:
        ConfigError: Something does not exist or does not fit; the message says what is allowed.
        InfeasibleCandidate: A step cannot be applied to this network.
        EvaluationError: Training or measuring failed.
        ExportRefused: The file and the network disagree.
    """
    keys = {"epochs": epochs, "finetune_epochs": finetune_epochs}
    plan = {**(training or {}), **{key: value for key, value in keys.items() if value is not None}}
    with ExitStack() as stack:
        if isinstance(model, nn.Module):
            if weights is not None:
                raise ConfigError("weights: only with a model given by name; the network that was given has its own")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paredown-")))
            weights = folder / "given.safetensors"
            save_file(
                {name: one.detach().cpu().contiguous().clone() for name, one in model.state_dict().items()}, weights
            )
            name, path = type(model).__name__, stack.enter_context(import_path(model))
        else:
            name = path = model
        status = None
        if progress:
            console = display_console()
            status = stack.enter_context(console.status(f"{escape(name)}: building"))
            stack.enter_context(reading_data(console, status))

        def on_epoch(epoch: int, metrics: dict[str, float]) -> str:
            if status is not None:
                status.update(f"{escape(name)}: epoch {epoch + 1}, validation accuracy {metrics['accuracy']:.4f}")
            return ""

        return compress_model(
            path,
            task if isinstance(task, str) else task.section,
            steps,
            Path(out),
            label=name,
            weights=None if weights is None else str(weights),
            resolution=resolution,
            seed=seed,
            training=plan,
            format_name=format,
            skip=skip,
            keep=keep,
            on_epoch=on_epoch,
        )
