"""All architecture families."""

from paredown.spaces.families.family import Family
from paredown.spaces.families.mbconv import MBCONV

FAMILIES: dict[str, Family] = {family.name: family for family in (MBCONV,)}
