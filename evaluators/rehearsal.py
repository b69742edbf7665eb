"""What a network must be able to do, tried before anything is trained.

It runs in training as in evaluation, on any number of images, learns by gradients, and its file computes what it does,
whatever the images are. A network that cannot is refused in one sentence.
"""

import copy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.onnx_model import export
from paredown.evaluators.files.onnx_session import open_session
from paredown.spaces.errors import InfeasibleCandidate
from paredown.spaces.families.family import ImageShape
from paredown.spaces.module_mode import evaluating

VARIANTS = ((1.0, 0.0), (1.0, 3.0), (1.0, -3.0), (20.0, 0.0), (0.0, 0.0))
"""Contrast and brightness of the random images: a branch on what they are like goes either way."""
TOLERANCE = 1e-3
"""Outputs differ by less, as a share of the largest, where the same is computed in another order."""
LOADING_S = 120.0
"""Seconds after which a file that is still being loaded is taken for one that cannot be."""
LOAD = """
import sys
from pathlib import Path
import numpy
from paredown.evaluators.files.onnx_session import open_session
session = open_session(Path(sys.argv[1]))
entry = session.get_inputs()[0]
session.run(None, {entry.name: numpy.zeros([1, *entry.shape[1:]], numpy.float32)})
"""


class Unfit(InfeasibleCandidate):
    """The network cannot be trained or exported; the message says why in one sentence."""


def rehearse(network: nn.Module, shape: ImageShape, classes: int) -> None:
    """Refuse a network that would fail, or come to another one, after it was trained.

    Args:
        network: Is not changed.
        shape: Channels, height, width of one input.
        classes: Outputs for each input.

    Raises:
        Unfit: The message says what it does that it must not.
    """
    if reason := _foreign(network):
        raise Unfit(reason)
    tried = copy.deepcopy(network).float()
    dice = torch.Generator().manual_seed(0)
    images = [scale * torch.randn(2, *shape, generator=dice) + shift for scale, shift in VARIANTS]
    _train_once(copy.deepcopy(tried), images[0], classes)
    with evaluating(tried), torch.no_grad():
        expected = _evaluated(tried, images)
        file = _exported(tried, shape)
    _compare(file, images, expected)


def check_loads(file: Path) -> None:
    """Refuse a file that ONNX Runtime cannot load and run; in a process of its own, which a crash may end.

    Raises:
        Unfit: The message says what ONNX Runtime said, or by which signal it ended.
    """
    command = [sys.executable, "-c", LOAD, str(file)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LOADING_S, check=False)
    except subprocess.TimeoutExpired:
        raise Unfit(f"ONNX Runtime does not load the rewritten file within {LOADING_S:g} s") from None
    if done.returncode < 0:
        raise Unfit(f"ONNX Runtime crashes on the rewritten file (signal {-done.returncode}): try other steps or knobs")
    if done.returncode:
        said = done.stderr.strip().rpartition("\n")[2][:300]
        raise Unfit(f"ONNX Runtime cannot run the rewritten file: {said}")


def _foreign(network: nn.Module) -> str:
    for name, module in network.named_modules():
        where = f"its module {name}" if name else "it"
        if isinstance(module, torch.jit.ScriptModule):
            return f"{where} is compiled by torch.jit, where nothing can be changed; give the network itself"
        if type(module).__name__ == "OptimizedModule" or module._compiled_call_impl is not None:
            return f"{where} is compiled by torch.compile; give the network itself, without it"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            return (
                f"{where} is a {type(module).__name__} without running statistics: what it gives for one image depends "
                "on the others; set track_running_stats=True"
            )
    return ""


def _train_once(network: nn.Module, images: Tensor, classes: int) -> None:
    """Take one step of training on a batch of two."""
    try:
        with torch.random.fork_rng(devices=[]):
            output = network.train()(images)
    except Exception as error:  # whatever the user's code raises is the user's to mend
        raise Unfit(f"in training mode it cannot take a batch of 2: {_said(error)}") from error
    if not isinstance(output, Tensor):
        raise Unfit(
            f"in training mode it returns {type(output).__name__}, in evaluation a tensor: outputs for training alone "
            "are not supported; let it return the logits in both modes"
        )
    if output.shape != (2, classes):
        raise Unfit(f"in training mode it returns {tuple(output.shape)} for 2 images, in evaluation {(2, classes)}")
    if not output.requires_grad:
        raise Unfit("it cannot be trained: no parameter with requires_grad reaches its output")
    try:
        nn.functional.cross_entropy(output, torch.zeros(2, dtype=torch.long)).backward()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        hint = "; write y = y + x instead of y += x, and ReLU() instead of ReLU(inplace=True)"
        raise Unfit(
            f"its gradients cannot be computed: {_said(error)}{hint if 'inplace' in str(error) else ''}"
        ) from error


def _evaluated(network: nn.Module, images: list[Tensor]) -> list[Tensor]:
    """Return the outputs in evaluation mode, the same for a batch as for each of its images."""
    outputs, values = [], []
    for batch in images:
        with _values_read() as read:
            outputs.append(_run(network, batch))
        values.append(read)
    if any(read != values[0] for read in values):
        raise Unfit(
            "what it computes depends on the values of an image (an if, or .item()): its file could not do that"
        )
    alone = _run(network, images[0][:1])
    if not _same(alone, outputs[0][:1]):
        raise Unfit("what it gives for one image depends on the others in the batch, also in evaluation mode")
    return outputs


def _run(network: nn.Module, batch: Tensor) -> Tensor:
    try:
        output: Tensor = network(batch)
    except Exception as error:  # as above
        raise Unfit(f"in evaluation mode it cannot take a batch of {len(batch)}: {_said(error)}") from error
    return output


def _exported(network: nn.Module, shape: ImageShape) -> bytes:
    try:
        return export(network, shape)
    except Exception as error:  # the exporter's errors share no root
        raise Unfit(f"it cannot be exported to ONNX: {_said(error)}") from error


def _compare(file: bytes, images: list[Tensor], expected: list[Tensor]) -> None:
    try:
        session = open_session(file)
        name = session.get_inputs()[0].name
        actual = [torch.from_numpy(session.run(None, {name: batch[:1].numpy()})[0]) for batch in images]
    except Exception as error:  # ONNX Runtime's errors share no root
        raise Unfit(f"its exported file does not run: {_said(error)}") from error
    for got, wanted in zip(actual, expected, strict=True):
        if not _same(got, wanted[:1]):
            raise Unfit(
                "its exported file computes something else than it does: a branch, or a step that is not traced"
            )
    fixed = (
        "its exported file takes one image only: the batch size is a constant in its forward, such as int(x.shape[0]) "
        "or len(x); write -1 or x.shape[0]"
    )
    try:
        both: np.ndarray[Any, Any] = session.run(None, {name: images[0].numpy()})[0]
    except Exception as error:  # as above
        raise Unfit(f"{fixed} ({_said(error)})") from error
    if not _same(torch.from_numpy(both), expected[0]):
        raise Unfit(fixed)


def _same(actual: Tensor, expected: Tensor) -> bool:
    if actual.shape != expected.shape:
        return False
    scale = float(expected.abs().max()) if expected.isfinite().all() else 1.0
    return bool(torch.allclose(actual, expected, rtol=0, atol=TOLERANCE * scale + 1e-6, equal_nan=True))


@contextmanager
def _values_read() -> Iterator[list[object]]:
    """Note every value of a tensor that Python is told, as by `.item()` or an `if`."""
    reader = _Reader()
    with reader:
        yield reader.read


class _Reader(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its own hook has no types
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read: list[object] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.equal):
            self.read.append(out)
        return out


def _said(error: BaseException) -> str:
    said = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {said}" if not isinstance(error, EvaluationError) else said
