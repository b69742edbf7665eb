"""The command `paredown families`; as in `paredown.search.cli.app`, nothing heavy is imported at once."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from paredown.search.cli.output import print_json, print_table
from paredown.search.errors import ConfigError

if TYPE_CHECKING:  # for annotations alone
    from paredown.search.one_network.family_sizes import FamilyRange, Size
    from paredown.spaces.knob import Knob, Range

STEP = 4
"""Resolutions are multiples of it, in pixels, as in the tasks."""
LARGEST_SIDE = 1024
CIFAR_SIDE = 64
"""Networks for images up to this side are listed with the 10 classes of CIFAR-10, others with ImageNet's 1,000."""


def families(
    channels: Annotated[int, typer.Option(help="Channels of the images: 1 for grey, 3 for colour.")] = 1,
    classes: Annotated[int, typer.Option(help="Number of classes.")] = 10,
    resolutions: Annotated[
        str, typer.Option(help="Smallest and largest side of the images in pixels, LOW-HIGH, multiples of 4.")
    ] = "8-32",
    variants: Annotated[bool, typer.Option("--variants", help="List the named networks at their own sizes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")] = False,
) -> None:
    """List the architecture families: their knobs, number of networks and range of MACs; for the digits by default."""
    for option, value in (("--channels", channels), ("--classes", classes)):
        if value < 1:
            raise ConfigError(f"{option}: {value} is not allowed; allowed: whole numbers from 1")
    sides = _sides(resolutions)
    if variants:
        _list_variants(as_json)
        return

    from paredown.search.one_network.family_sizes import family_range
    from paredown.spaces.families.catalogue import PUBLISHED

    found = [family_range(family, channels, classes, sides) for family in PUBLISHED.values()]
    if as_json:
        task = {"channels": channels, "classes": classes, "resolutions": [sides.low, sides.high]}
        print_json({"task": task, "families": [_document(one) for one in found]})
        return
    rows = [
        [
            one.family.name,
            str(len(one.knobs)),
            _power(one.networks),
            "MACs\nparams",
            *(_two_lines(size) for size in (one.least, one.baseline, one.most)),
            str(len(one.family.variants)),
        ]
        for one in found
    ]
    print_table(["family", "knobs", "networks", "", "least MACs", "baseline", "most MACs", "variants"], rows)
    for one in found:
        if one.refusal:
            what = f"the baseline of {one.family.name}" if one.most else one.family.name
            print(f"{what} cannot be built at {resolutions} px: {one.refusal}")


def _list_variants(as_json: bool) -> None:
    from paredown.search.one_network.family_sizes import size
    from paredown.spaces.families.catalogue import PUBLISHED

    found: list[dict[str, Any]] = []
    for family in PUBLISHED.values():
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
    sizes = {"least": one.least, "baseline": one.baseline, "most": one.most}
    return {
        "family": one.family.name,
        "source": one.family.source,
        "knobs": {name: _values(knob) for name, knob in one.knobs.items()},
        "networks": one.networks,
        **{name: size and _size(size) for name, size in sizes.items()},
        "refusal": one.refusal or None,
        "variants": list(one.family.variants),
    }


def _size(size: "Size") -> dict[str, int]:
    return {"resolution": size.resolution, "macs": size.macs, "params": size.params}


def _values(knob: "Knob") -> Any:
    from paredown.spaces.knob import Range

    return {"low": knob.low, "high": knob.high, "step": knob.step} if isinstance(knob, Range) else list(knob.values)


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


def _two_lines(size: "Size | None") -> str:
    return f"{_short(size.macs)}\n{_short(size.params)}" if size else "none"


def _short(value: int) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * scale:  # else 999,900 would read 1e+03 k
            return f"{value / scale:.3g} {unit}"
    return f"{value}"


def _power(value: int) -> str:
    """Return three digits and a power of ten: 7.38e5."""
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits}e{int(power)}"
