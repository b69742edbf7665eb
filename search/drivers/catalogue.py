"""All drivers."""

from paredown.search.drivers.driver import Driver
from paredown.search.drivers.in_process import LOCAL
from paredown.search.drivers.ray_tune import RAY

DRIVERS: dict[str, Driver] = {driver.name: driver for driver in (LOCAL, RAY)}
