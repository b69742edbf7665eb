"""What all tests share: this folder and the benchmarks on the path, one thread each, one cache and one Ray."""

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# At the end: a benchmark named as a module of some library must not hide it.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
os.environ["PYTHONPATH"] = os.pathsep.join(p for p in (str(Path(__file__).parent), os.environ.get("PYTHONPATH")) if p)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the networks are too small to gain by more
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # tests share their cores; spinning threads would starve them


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep decoded images out of the user's cache, also those of worker processes."""
    os.environ["PAREDOWN_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def one_ray() -> Iterator[None]:
    """Start Ray once, since that takes seconds, with a token; searches find both in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        patch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
        yield
        ray.shutdown()
