"""All architecture families."""

from paredown.spaces.errors import SpaceError
from paredown.spaces.families.efficientnet import EFFICIENTNET
from paredown.spaces.families.family import Family
from paredown.spaces.families.imported import IMPORTED
from paredown.spaces.families.macro import MACRO
from paredown.spaces.families.mbconv import MBCONV
from paredown.spaces.families.mobilenet import MOBILENET
from paredown.spaces.families.resnet import RESNET
from paredown.spaces.families.vit import VIT
from paredown.spaces.knob import Knobs

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        MBCONV,
        EFFICIENTNET,
        IMPORTED,
        MACRO,
        MOBILENET,
        RESNET,
        VIT,
    )
}
PUBLISHED = {name: family for name, family in FAMILIES.items() if family is not IMPORTED}
"""The families that come with the package: all but the one that builds a user's own network."""


def variant(name: str) -> tuple[Family, Knobs]:
    """Return a named network of the literature: its family and the values of its active knobs.

    The resolution is the published one; another may be put in its place under the knob `resolution`.

    Raises:
        SpaceError: No network has that name; the message lists the names that exist.
    """
    known = {variant: family for family in FAMILIES.values() for variant in family.variants}
    if name not in known:
        raise SpaceError(f"{name!r} is no named network; allowed: {', '.join(sorted(known))}")
    return known[name], dict(known[name].variants[name])
