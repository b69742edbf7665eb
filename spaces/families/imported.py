"""The user's own network: a function that returns an `nn.Module`, and optionally its trained weights.

Workers on any machine build it from the knobs alone, so the knobs say where to find it. One knob is a digest of the
function's source file and of the weights file: other content makes another candidate, and content that changes during a
study is refused. The digest does not cover what the source file imports.
"""

import contextlib
import functools
import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from paredown.spaces.checkpoint import WeightsRefused
from paredown.spaces.errors import InfeasibleCandidate, SpaceError
from paredown.spaces.families.family import Family, ImageShape
from paredown.spaces.hubs import HUBS, version
from paredown.spaces.knob import Choice, Knob, Knobs, Range
from paredown.spaces.module_mode import evaluating
from paredown.spaces.user_network import (
    NetworkRefused,
    call_function,
    find_function,
    load_weights,
    weights_file,
)

NAME = "imported"


class ModelRefused(SpaceError):
    """The user's network cannot be built or loaded; the message begins with the key: `model` or `weights`."""


def imported(function: str, folder: Path, weights: str = "") -> Family:
    """Return the family of one network of the user.

    Args:
        function: `package.module:function`, importable from the folder. It takes no arguments, or `channels` and
            `classes`, and returns a network that maps `n x c x h x w` to `n x classes` logits. `timm:NAME` and
            `torchvision:NAME` name networks of these libraries.
        folder: Folder of the module; a relative path of the weights starts here too.
        weights: A `.safetensors` file, or a state dict written by `torch.save`; empty for random weights.

    Raises:
        ModelRefused: The function or the file cannot be found.
    """
    folder = folder.resolve()
    origin = {"function": function, "folder": str(folder), "weights": weights}
    with _named_by_key():
        find_function(function, folder)
        return _family(origin | {"digest": _digest(function, folder, weights)})


def try_out(
    family: Family, knobs: Knobs, shape_at: Callable[[int], ImageShape], classes: int, resolutions: Range
) -> None:
    """Build the network once, so that errors in it come up before anything is trained.

    Args:
        family: A family that `imported` returned.
        knobs: Knobs of the reference network.
        shape_at: Maps a resolution to the shape of an input.
        classes: Number of classes.
        resolutions: Resolutions that the task allows. Where the network cannot take the one in the knobs, the message
            lists those that it can take.

    Raises:
        ModelRefused: The network cannot be built, its weights do not fit, or its output is not `n x classes`.
    """

    def refusal(side: int) -> str:
        try:
            family.build(knobs, shape_at(side), classes)
        except InfeasibleCandidate as error:
            return str(error).removeprefix(f"{NAME}: ")
        return ""

    if said := refusal(family.resolution(knobs)):
        count = round((resolutions.high - resolutions.low) / resolutions.step) + 1
        sides = [int(resolutions.low + i * resolutions.step) for i in range(count)]
        fitting = ", ".join(str(side) for side in sides if not refusal(side))
        hint = f"; it takes images of {fitting} px: set space.knobs {NAME}.resolution to that" if fitting else ""
        raise ModelRefused(f"model: {said}{hint}")


def _family(origin: Mapping[str, str]) -> Family:
    return Family(
        name=NAME,
        knobs=functools.partial(_knobs, origin),
        baseline=lambda _: {},
        resolution=lambda knobs: int(knobs["resolution"]),
        build=_build,
        source="the user's own network, by import path",
    )


def _knobs(origin: Mapping[str, str], resolutions: Range) -> Mapping[str, Knob]:
    fixed: dict[str, Knob] = {name: Choice((value,)) for name, value in origin.items()}
    return {"resolution": Range(resolutions.low, resolutions.high, resolutions.step), **fixed}


def _build(knobs: Knobs, shape: ImageShape, classes: int) -> nn.Module:
    function, folder, weights = str(knobs["function"]), Path(str(knobs["folder"])), str(knobs["weights"])
    if not function:
        raise ModelRefused("model: the family imported needs one; write package.module:function")
    with _named_by_key():
        found = find_function(function, folder)
        if _digest(function, folder, weights) != knobs["digest"]:
            raise NetworkRefused(
                f"the source file of {function}{' or ' + weights if weights else ''} has changed since the study "
                "began; restore it or start a new study"
            )
        network = call_function(found, function, shape[0], classes)
        if weights:
            load_weights(network, weights_file(folder, weights), weights)
    _check(network, function, shape, classes)
    return network


@contextlib.contextmanager
def _named_by_key() -> Iterator[None]:
    try:
        yield
    except NetworkRefused as error:
        raise ModelRefused(f"model: {error}") from error
    except WeightsRefused as error:
        raise ModelRefused(f"weights: {error}") from error


def _check(network: nn.Module, path: str, shape: ImageShape, classes: int) -> None:
    """Refuse a network that does not map two images to `2 x classes`; one image could hide an error in the batch."""
    given = " x ".join(map(str, shape))
    try:
        with evaluating(network), torch.no_grad():
            output = network(torch.zeros(2, *shape))
    except Exception as error:  # whatever the user's code raises is the user's to mend
        said = str(error).partition("\n")[0][:200]
        raise InfeasibleCandidate(
            f"{NAME}: {path} cannot take {given} images: {type(error).__name__}: {said}"
        ) from error
    if not isinstance(output, Tensor) or output.shape != (2, classes):
        is_tensor = isinstance(output, Tensor)
        returned = " x ".join(["n", *map(str, output.shape[1:])]) if is_tensor else type(output).__name__
        raise InfeasibleCandidate(
            f"{NAME}: {path} returns {returned} for n x {given} images; needed: n x {classes}, a logit a class"
        )


def _digest(function: str, folder: Path, weights: str) -> str:
    module, _, _ = function.partition(":")
    origin = version(function) if module in HUBS else ""
    files = [Path(file)] if not origin and (file := getattr(sys.modules[module], "__file__", None)) else []
    files += [weights_file(folder, weights)] if weights else []
    stats = [(file, file.stat()) for file in files]
    return _content(origin, tuple((str(file), s.st_mtime_ns, s.st_size) for file, s in stats))


@functools.lru_cache(maxsize=64)
def _content(origin: str, files: tuple[tuple[str, int, int], ...]) -> str:
    """Return the digest of a library's version and of files, read again where their times or sizes have changed."""
    parts = [origin.encode(), *(hashlib.sha256(Path(name).read_bytes()).digest() for name, _, _ in files)]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


IMPORTED = _family({"function": "", "folder": "", "weights": "", "digest": ""})
"""The family in the catalogue, which builds the network that the knobs name; `imported` makes that of one network."""
