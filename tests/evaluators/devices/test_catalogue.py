import pytest

from paredown.evaluators.devices.catalogue import FOLDER, device_profile
from paredown.evaluators.errors import DeviceError


def test_an_unknown_device_is_refused_with_those_that_exist():
    with pytest.raises(DeviceError, match=r"study.yaml: device: device 'f999' does not exist; allowed: host, .*f746"):
        device_profile("f999", "study.yaml: device")


def test_a_device_file_of_the_user_is_read_from_the_folder_of_the_study(tmp_path):
    text = (FOLDER / "f746.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace('id = "f746"', 'id = "mine"').replace("245760", "100000"))
    profile = device_profile("mine.toml", "device", tmp_path)
    assert (profile.id, profile.arena_bytes) == ("mine", 100000 - 16384)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('kind = "microcontroller"', 'kind = "toaster"', "mine.toml: kind: .*toaster"),
        ("value = 216", 'value = "fast"', "mine.toml: clock_mhz.value: .*fast"),
        ('source = "STMicroelectronics DS10916" }\nclock', 'origin = "x" }\nclock', "mine.toml: cores.(source|origin)"),
        ("channel_multiple = 4", "channel_multiple = 0", "mine.toml: channel_multiple: .*got 0"),
        (
            "\n[memory]",
            'power_mw = { value = 0, kind = "measured", source = "x" }\n[memory]',
            "power_mw: .*more than 0",
        ),
        ("value = 216", "value = 216, low = 200", "clock_mhz: .*one without the other"),
        ("value = 216", "value = 216, low = 220, high = 230", "clock_mhz: .*216 is not between low 220 and high 230"),
        ("channel_multiple = 4", "channel_multiple = ", "mine.toml is no valid TOML"),
    ],
)
def test_what_is_wrong_in_a_device_file_is_named_with_its_key(tmp_path, old, new, said):
    text = (FOLDER / "f746.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(DeviceError, match=said):
        device_profile("mine.toml", "device", tmp_path)


def test_a_device_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(DeviceError, match=r"device: .*gone\.toml cannot be read: No such file"):
        device_profile("gone.toml", "device", tmp_path)
