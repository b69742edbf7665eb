"""The command `paredown families`; as in `paredown.search.cli`, nothing heavy is imported at once."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.errors import ConfigError
from paredown.search.printing import print_json, print_table

if TYPE_CHECKING:  # for annotations alone
    from paredown.search.architectures import FamilyRange, Size
    from paredown.spaces.knob import Range

STEP = 4
"""Resolutions are multiples of it, in pixels, as in the tasks."""
LARGEST_SIDE = 1024
CIFAR_SIDE = 64
"""Networks for images up to this side are listed with the 10 classes of CIFAR-10, others with ImageNet's 1,000."""


def families(
    channels: Annotated[int, typer.Option(help="Of the images: 1 for grey, 3 for colour.")] = 1,
    classes: Annotated[int, typer.Option(help="Outputs of the networks.")] = 10,
    resolutions: Annotated[str, typer.Option(help="LOW-HIGH, sides of the images in pixels, multiples of 4.")] = "8-32",
    variants: Annotated[bool, typer.Option("--variants", help="List the named networks at their own sizes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """List the architecture families: knobs, networks, and MACs from the least to the most; the digits by default."""
    for option, value in (("--channels", channels), ("--classes", classes)):
        if value < 1:
            raise ConfigError(f"{option}: {value} is not allowed; allowed: whole numbers from 1")
    sides = _sides(resolutions)
    if variants:
        _list_variants(as_json)
        return

    from paredown.search.architectures import family_range
    from paredown.spaces.families.catalogue import FAMILIES

    found = [family_range(family, channels, classes, sides) for family in FAMILIES.values()]
    if as_json:
        task = {"channels": channels, "classes": classes, "resolutions": [sides.low, sides.high]}
        print_json({"task": task, "families": [_document(one) for one in found]})
        return
    rows = [
        [
            one.family.name,
            str(len(one.knobs)),
            f"{one.networks:.3g}",
            *(_short(s.macs) for s in (one.least, one.baseline, one.most)),
            *(_short(s.params) for s in (one.least, one.baseline, one.most)),
            ", ".join(one.family.variants) or "none",
        ]
        for one in found
    ]
    head = ["family", "knobs", "networks", "least MACs", "baseline", "most", "params", "baseline", "most", "variants"]
    print_table(head, rows)


def _list_variants(as_json: bool) -> None:
    from paredown.search.architectures import size
    from paredown.spaces.families.catalogue import FAMILIES

    found: list[dict[str, Any]] = []
    for family in FAMILIES.values():
        for name, knobs in family.variants.items():
            classes = 10 if family.resolution(knobs) <= CIFAR_SIDE else 1000
            counted = size(family, knobs, 3, classes)
            found.append({"variant": name, "family": family.name, "classes": classes, "knobs": dict(knobs)})
            found[-1] |= _size(counted)
    if as_json:
        print_json({"variants": found})
        return
    rows = [
        [v["variant"], v["family"], f"{v['resolution']}", f"{v['classes']}", f"{v['params']:,}", _short(v["macs"])]
        for v in found
    ]
    print_table(["variant", "family", "px", "classes", "params", "MACs"], rows)


def _document(one: "FamilyRange") -> dict[str, Any]:
    return {
        "family": one.family.name,
        "source": one.family.source,
        "knobs": dict(one.knobs),
        "networks": one.networks,
        "least": _size(one.least),
        "baseline": _size(one.baseline),
        "most": _size(one.most),
        "variants": list(one.family.variants),
    }


def _size(size: "Size") -> dict[str, int]:
    return {"resolution": size.resolution, "macs": size.macs, "params": size.params}


def _sides(text: str) -> "Range":
    from paredown.spaces.knob import Range

    low, dash, high = text.partition("-")
    numbers = [int(n) if n.strip().isdecimal() else 0 for n in (low, high if dash else low)]
    if not STEP <= numbers[0] <= numbers[1] <= LARGEST_SIDE or any(n % STEP for n in numbers):
        raise ConfigError(
            f"--resolutions: {text!r} is not allowed; allowed: LOW-HIGH such as 8-32, multiples of {STEP} "
            f"from {STEP} to {LARGEST_SIDE}"
        )
    return Range(numbers[0], numbers[1], STEP)


def _short(value: float) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value:g}"
