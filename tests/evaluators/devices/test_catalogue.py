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
        ("channel_multiple = 4", f"a = {'[' * 5000}", "mine.toml is no valid TOML: it is nested too deeply"),
        ("value = 216", f"value = 1{'0' * 5000}", "mine.toml is no valid TOML: a number has thousands of digits"),
        ("value = 216", f"value = 1{'0' * 400}", r"clock_mhz.value: .*\(got 10{79}\)$"),
        ('format = "litert"', 'format = "tflite"', "mine.toml: format: .*'onnx' or 'litert' .*tflite"),
        ("value = 216", "value = 0", "mine.toml: clock_mhz: value 0 is not allowed; allowed: more than 0$"),
        ("value = 216", "value = true", "mine.toml: clock_mhz.value: .*valid number .*True"),
        ("value = 216", "value = 1e300", "mine.toml: clock_mhz.value: .*less than or equal to"),
        ("value = 245760", "value = 0", "mine.toml: memory.ram_bytes: .*more than 0$"),
        ("value = 1048576", "value = 0", "mine.toml: memory.flash_bytes: .*more than 0$"),
        ("cores = { value = 1", "cores = { value = 0", "mine.toml: cores: .*more than 0$"),
        ("value = 16384", "value = 245760", "memory.reserved_ram_bytes: .*nothing of ram_bytes .*less than 245760$"),
        ("value = 35840", "value = 2e6", "memory.engine_flash_bytes: .*nothing of flash_bytes .*less than 1048576$"),
        ("channel_multiple = 4", "channel_multiple = 3", "mine.toml: channel_multiple: .*1, 4, 8 or 16 .*got 3"),
        ("channel_multiple = 4", "channel_multiple = true", "mine.toml: channel_multiple: .*got True"),
        ("channel_multiple = 4", "threads = true", "mine.toml: threads: .*got True"),
        ("channel_multiple = 4", 'npu = "ethos-u99"', "mine.toml: npu: allowed: ethos-u55-32, .*ethos-u99"),
        (
            "channel_multiple = 4",
            'based_on = "f999"',
            "mine.toml: based_on: device 'f999' does not exist; allowed: .*f746",
        ),
        ("channel_multiple = 4", 'based_on = "host"', "mine.toml: based_on: device 'host' does not exist"),
        ("channel_multiple = 4", 'latency_predictor = "a/b.npz"', "mine.toml: latency_predictor: .*name of a file"),
    ],
)
def test_what_is_wrong_in_a_device_file_is_named_with_its_key(tmp_path, old, new, said):
    text = (FOLDER / "f746.toml").read_text()
    assert old in text
    (tmp_path / "mine.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(DeviceError, match=said):
        device_profile("mine.toml", "device", tmp_path)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan"])
@pytest.mark.parametrize(
    ("old", "key"),
    [
        ("value = 216", "clock_mhz.value"),
        ("value = 245760", "memory.ram_bytes.value"),
        ("value = 1048576", "memory.flash_bytes.value"),
        ("value = 35840", "memory.engine_flash_bytes.value"),
    ],
)
def test_numbers_of_a_device_file_are_finite(tmp_path, old, key, value):
    text = (FOLDER / "f746.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace(old, f"value = {value}", 1))
    with pytest.raises(DeviceError, match=f"mine.toml: {key}: .*{value}"):
        device_profile("mine.toml", "device", tmp_path)
    power = f'power_mw = {{ value = 5, low = 1, high = {value}, kind = "measured", source = "x" }}\n\n[memory]'
    (tmp_path / "mine.toml").write_text(text.replace("\n[memory]", power, 1))
    with pytest.raises(DeviceError, match=f"mine.toml: power_mw.high: .*{value}"):
        device_profile("mine.toml", "device", tmp_path)


@pytest.mark.parametrize(
    ("latency", "macs", "said"),
    [
        ("inf", "{ dense = 5 }", "calibrations.0.latency_ms: .*inf"),
        ("1e300", "{ dense = 5 }", "calibrations.0.latency_ms: .*1e"),
        ("1e-320", "{ dense = 5 }", "calibrations.0.latency_ms: .*1e"),
        ("true", "{ dense = 5 }", "calibrations.0.latency_ms: .*True"),
        ("3", "{}", "calibrations.0.operator_macs: it has no multiply-accumulates"),
        ("3", "{ dense = 0 }", "calibrations.0.operator_macs: it has no multiply-accumulates"),
        ("3", "{ foo = 1 }", "calibrations.0.operator_macs.foo.*'dense', 'convolution'.*foo"),
        ("3", "{ dense = nan }", "calibrations.0.operator_macs.dense: .*nan"),
        ("3", "{ dense = -1 }", "calibrations.0.operator_macs.dense: .*-1"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(tmp_path, latency, macs, said):
    entry = f'\n[[calibrations]]\nnetwork = "x"\nlatency_ms = {latency}\noperator_macs = {macs}\n'
    (tmp_path / "mine.toml").write_text((FOLDER / "f746.toml").read_text() + entry)
    with pytest.raises(DeviceError, match=f"mine.toml: {said}"):
        device_profile("mine.toml", "device", tmp_path)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_device_file_is_one_line(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(DeviceError, match=r"^device: \S*mine.toml has no keys; needed: .*f746.toml$"):
        device_profile("mine.toml", "device", tmp_path)


def test_a_computer_may_not_know_its_clock_and_a_board_must(tmp_path):
    computer = (FOLDER / "pi4.toml").read_text().replace("value = 1500", "value = 0")
    (tmp_path / "mine.toml").write_text(computer)
    assert device_profile("mine.toml", "device", tmp_path).clock_mhz.value == 0
    (tmp_path / "mine.toml").write_text(f'based_on = "f746"\n{computer}')
    with pytest.raises(DeviceError, match=r"mine.toml: clock_mhz: .*more than 0"):
        device_profile("mine.toml", "device", tmp_path)


def test_a_device_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(DeviceError, match=r"device: .*gone\.toml cannot be read: No such file"):
        device_profile("gone.toml", "device", tmp_path)
