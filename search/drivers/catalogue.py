"""All drivers."""

from paredown.search.drivers.driver import Driver
from paredown.search.drivers.in_process import run_in_processes
from paredown.search.drivers.ray_tune import run_on_ray

DRIVERS: dict[str, Driver] = {"local": run_in_processes, "ray": run_on_ray}
