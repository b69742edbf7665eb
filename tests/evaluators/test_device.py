"""The device: what the operating system says of a processor, and what follows for the files."""

import json
from pathlib import Path

import pytest

from paredown.evaluators.device import Device, read_device, this_device

XEON = Device("Xeon", False, runtime_version="1.2", threads=2)
OLD = Device("Opteron", True, runtime_version="1.2", threads=2)


def cpu_file(folder: Path, flags: str) -> Path:
    file = folder / "cpuinfo"
    file.write_text(f"processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: {flags}\n\nprocessor\t: 1\n")
    return file


@pytest.mark.parametrize("flags", ["fma avx2", "avx2 avx512_vnni", "avx2 avx_vnni"])
def test_x86_saturates_where_it_names_no_vnni(flags: str, tmp_path: Path) -> None:
    device = read_device(cpu_file(tmp_path, flags), "x86_64", threads=3)
    assert (device.name, device.threads) == ("Some CPU @ 2 GHz", 3)
    assert device.int8_sums_saturate == ("vnni" not in flags)
    assert device.target.int8_weight_bits == (8 if "vnni" in flags else 7)
    assert not read_device(cpu_file(tmp_path, flags), "aarch64").int8_sums_saturate


@pytest.mark.parametrize(("machine", "saturates"), [("AMD64", True), ("x86_64", True), ("arm64", False)])
def test_an_unknown_processor_is_taken_for_the_weaker_kind(machine: str, saturates: bool, tmp_path: Path) -> None:
    device = read_device(tmp_path / "absent", machine)
    assert device.int8_sums_saturate == saturates
    assert device.name


def test_it_reads_as_processor_runtime_and_threads() -> None:
    assert str(XEON) == "Xeon, ONNX Runtime 1.2, 2 threads"
    assert str(Device("Xeon", False)) == "Xeon, ONNX Runtime, 1 thread"
    here = this_device()
    assert here.runtime_version
    assert str(here).endswith(f"ONNX Runtime {here.runtime_version}, 1 thread")


def test_it_crosses_processes_as_json() -> None:
    for device in (XEON, this_device()):
        assert Device.from_json(json.loads(json.dumps(device.to_json()))) == device


def test_the_remark_names_both_devices_and_whose_latency_is_measured() -> None:
    assert "it began on Xeon, ONNX Runtime 1.2, 2 threads; this machine is Opteron" in XEON.remark_on(OLD)
    assert XEON.remark_on(OLD).endswith("measured on the machine that runs the trial")
