"""The definition of an outside tool in a race."""

from dataclasses import dataclass

from paredown.search.samplers.sampler import MakeSampler

EXTRA = "pip install 'paredown[bench]'"


@dataclass(frozen=True)
class Competitor:
    """An outside tool; its packages are imported only when it is made.

    Attributes:
        make: Function that makes its sampler.
        needs: Modules that must be installed.
        install: Command that installs them.
    """

    make: MakeSampler
    needs: tuple[str, ...]
    install: str = EXTRA
