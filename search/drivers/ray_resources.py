"""What Ray reserves for a trial, and how many trials the machines have room for."""

from collections.abc import Mapping, Sequence

from paredown.search.study_file.sections import ResourcesSection

Resources = Mapping[str, float]
"""Amounts by Ray's names, such as CPU and GPU."""
TOLERANCE = 1e-6
"""Share of a trial that may be missing: 0.3 is a little less than three times 0.1."""


def reserved_for(resources: ResourcesSection) -> dict[str, float]:
    """Return what Ray reserves for each trial."""
    cpu = 1.0 if resources.cpu is None else resources.cpu  # the cores are divided by us; Ray only counts workers
    return {"CPU": cpu, **({"GPU": resources.gpu} if resources.gpu else {}), **resources.custom}


def room(machines: Sequence[Resources], reserved: Resources) -> int:
    """Return the number of trials that run at the same time.

    Args:
        machines: What each machine has in all.
        reserved: What a trial gets.
    """
    amounts = {name: amount for name, amount in reserved.items() if amount > 0}
    return sum(
        min(int(machine.get(name, 0) / amount + TOLERANCE) for name, amount in amounts.items()) for machine in machines
    )


def not_offered(machines: Sequence[Resources], reserved: Resources) -> str:
    """Return what to say where no machine could ever run a trial; empty where one could."""
    if room(machines, reserved):
        return ""
    asked = ", ".join(f"{name} {amount:g}" for name, amount in reserved.items())
    return f"no machine of the cluster offers {asked}: trials wait until one does"
