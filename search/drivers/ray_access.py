"""Who may use Ray: the token of a search, and whether a cluster takes it.

Ray listens on all interfaces and runs what it is sent, so it is never used without token authentication.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from paredown.search.drivers.ray_resources import Resources
from paredown.search.errors import ConfigError

MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
PRIVATE = ("PAREDOWN_STORAGE", "PGPASSWORD")
"""Variables that open the database; Ray and its workers do not get them."""
PORT_S = 5.0
"""Seconds in which the head of a cluster has to accept a connection."""
CONNECT_S = 60.0
"""Seconds in which a process has to load Ray and to be let into a cluster."""

_CONNECT = """
import json, ray, sys
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps([node["Resources"] for node in ray.nodes() if node["Alive"]]))
"""


def ray_environment(address: str | None) -> dict[str, str]:
    """Return the environment of the process that uses Ray.

    Args:
        address: Address of a cluster, whose token the user has set; None for Ray of this search alone, which gets a
            token that nobody else knows.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in PRIVATE}
    ours = {} if address else {TOKEN: secrets.token_hex(32)}
    settings = {
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
    }
    return settings | inherited | ours | {MODE: "token"}


def enter(environment: Mapping[str, str], log: Path) -> None:
    """Make this process one that uses Ray: with the environment for it, and what Ray prints in a file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the search decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def check_cluster(address: str) -> None:
    """Refuse a cluster that this process cannot use.

    Raises:
        ConfigError: No token is set, or the cluster cannot be reached or does not take the token.
    """
    said = f"--ray-address {address}"
    if not _has_token():
        raise ConfigError(
            f"{said}: a cluster is used with token authentication only; put its token into {TOKEN}, or its file into "
            f"{TOKEN_PATH} or {_default_file()}"
        )
    if address != "auto":
        _check_port(address, said)
    machines_of(address)


def machines_of(address: str) -> list[Resources]:
    """Return the resources of each machine of a cluster.

    Raises:
        ConfigError: The cluster cannot be used, or does not take the token.
    """
    said = f"--ray-address {address}"
    process = subprocess.Popen(
        [sys.executable, "-c", _CONNECT, address],
        env=ray_environment(address),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    timer = threading.Timer(CONNECT_S, process.kill)
    timer.start()
    lines, refused = [], False
    for line in process.stdout:
        lines += [line.strip()] if line.strip() else []
        if "InvalidAuthToken" in line:  # Ray itself goes on for 20 s
            refused = True
            process.kill()
    process.stdout.close()
    code = process.wait()
    in_time = timer.is_alive()
    timer.cancel()
    if refused:
        raise ConfigError(f"{said}: the cluster does not take the token; set the one that it was started with")
    if code != 0:
        why = lines[-1] if in_time and lines else f"no answer within {CONNECT_S:g} s"
        raise ConfigError(f"{said}: the cluster cannot be used: {why}")
    machines: list[Resources] = json.loads(lines[-1])
    return machines


def _has_token() -> bool:
    if os.environ.get(TOKEN):
        return True
    try:
        return bool(Path(os.environ.get(TOKEN_PATH) or _default_file()).read_text().strip())
    except OSError:
        return False


def _default_file() -> Path:
    return Path.home() / ".ray" / "auth_token"


def _check_port(address: str, said: str) -> None:
    """Refuse an address that nobody answers at: Ray itself tries it for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise ConfigError(f"{said}: not an address; write it as HOST:PORT of the head, or auto on one of its machines")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PORT_S).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(f"{said}: the cluster cannot be reached: {error}") from error
