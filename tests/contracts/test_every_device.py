from typing import get_args

import pytest
from ethosu.vela.architecture_features import Accelerator

from paredown.evaluators.devices.catalogue import FOLDER, HOST, device_ids, device_profile
from paredown.evaluators.devices.profile import ChannelMultiple, DeviceProfile, Figure, FileFormat
from paredown.evaluators.litert.target import NPUS
from paredown.spaces.compression.catalogue import STEPS
from paredown.studies.exporters.catalogue import EXPORTERS

NEEDED = {
    *("host", "x86-avx2", "x86-vnni", "pi-zero-2w", "pi4", "pi5", "jetson-nano", "orin-nano", "coral", "stm32mp25"),
    *("f746", "h743", "h7a3", "l4r5", "u575", "n6", "rp2040", "rp2350", "esp32-s3", "ra8d1"),
    *("ethos-u55", "ethos-u65", "ethos-u85"),
}


def test_the_devices_that_people_ask_for_are_there():
    assert set(device_ids()) >= NEEDED


@pytest.mark.parametrize("name", device_ids())
def test_every_device_is_named_as_its_file_and_says_where_each_number_comes_from(name):
    profile = device_profile(name)
    figures = [value for _, value in (*profile, *profile.memory) if isinstance(value, Figure)]
    assert profile.id == name
    assert name == HOST or (FOLDER / f"{name}.toml").is_file()
    assert len(figures) >= 4
    assert all(figure.source for figure in figures)


@pytest.mark.parametrize("name", device_ids())
def test_every_device_leaves_room_for_a_model(name):
    profile = device_profile(name)
    assert 0 < profile.arena_bytes <= profile.memory.ram_bytes.value
    assert all(limit > 0 for limit in profile.limits.values())
    assert ("ram_bytes" in profile.limits) == (profile.format == "litert")
    if profile.memory.flash_bytes is not None:
        assert profile.engine_flash_bytes < profile.memory.flash_bytes.value


@pytest.mark.parametrize("name", device_ids())
def test_a_device_without_another_format_is_known_as_int8_only(name):
    profile = device_profile(name)
    assert profile.is_int8_only == (profile.format == "litert")


def test_what_a_device_file_may_say_is_what_there_is():
    assert set(get_args(FileFormat)) == set(EXPORTERS)
    assert set(get_args(get_args(ChannelMultiple)[0])) == set(STEPS["channel_pruning"].knobs["multiple"].values)
    assert list(NPUS) == Accelerator.member_list()


@pytest.mark.parametrize("name", device_ids())
def test_a_study_has_its_device_back_as_it_was_stored(name):
    profile = device_profile(name)
    stored = profile.model_dump(mode="json")
    assert DeviceProfile.of_stored(stored) == profile
    assert DeviceProfile.of_stored(stored).limits == profile.limits
    older = stored | {"channel_multiple": 3, "latency_predictor": "/a/b.npz"}  # earlier versions stored such
    assert DeviceProfile.of_stored(older).latency_predictor == "/a/b.npz"
