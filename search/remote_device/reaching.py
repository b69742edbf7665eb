"""Reaches the device that a study file names, or says before anything is stored why it cannot measure."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from paredown.evaluators.device import Device
from paredown.search.drivers.driver import Driver
from paredown.search.drivers.ray_access import check_cluster
from paredown.search.errors import ConfigError
from paredown.search.remote_device.connection import DeviceConnection, connected
from paredown.search.remote_device.measuring_process import RemoteDevice
from paredown.search.study_file.schema import StudyConfig

ADDRESS = "address"
"""Option of a driver that uses Ray; a study whose device is in a cluster has it with any driver."""


def split_address(
    driver: Driver, config: StudyConfig, given: Mapping[str, Any]
) -> tuple[Mapping[str, Any], str | None]:
    """Return the options for a driver, and the address of the cluster of the device that measures.

    Args:
        driver: The driver.
        config: The study file.
        given: Options as the user gave them.
    """
    address = given.get(ADDRESS) or os.environ.get("RAY_ADDRESS") or None
    if config.measure_on is not None and ADDRESS not in driver.options.model_fields:
        given = {key: value for key, value in given.items() if key != ADDRESS}
    return given, address


@contextmanager
def reached(
    config: StudyConfig, runs_as: Device, address: str | None, where: str, *, is_begun: bool
) -> Iterator[DeviceConnection | None]:
    """Keep the connection to the device that a study file names; None where it names none.

    Args:
        config: The study file.
        runs_as: Threads and images of one run.
        address: Address of the cluster.
        where: How messages name the study file.
        is_begun: Whether the study has begun, so that it goes on also where the device is away.

    Raises:
        ConfigError: The cluster cannot be used, or the device is not in it or cannot measure.
    """
    section = config.measure_on
    if section is None:
        yield None
        return
    said = f"{where}: measure_on.resource: {section.resource}"
    if address is None:
        raise ConfigError(f"{said}: only a cluster has resources of its own (--ray-address)")
    check_cluster(address)
    device = RemoteDevice(
        section.resource, address, section.timeout, section.retries, runs_as.threads, runs_as.batch_size
    )
    with connected(device) as connection:
        if connection.described is None and not (is_begun and connection.is_fit):
            raise ConfigError(f"{said}: {connection.trouble}")
        yield connection
