"""Networks of timm and torchvision; each test runs where the library is installed and loads."""

import importlib
from pathlib import Path

import pytest

from paredown.spaces.families.imported import ModelRefused, imported, try_out
from paredown.spaces.hubs import HUBS
from paredown.spaces.knob import Range

SIDES = Range(32, 32, 4)
NETWORKS = {"timm": ["mobilenetv3_small_050", "resnet10t"], "torchvision": ["resnet18", "shufflenet_v2_x0_5"]}


def loads(hub: str) -> bool:
    try:
        importlib.import_module(hub)
    except Exception:  # absent, or built for another PyTorch
        return False
    return True


def test_every_hub_has_an_extra_and_networks_to_test() -> None:
    extras = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert set(HUBS) == set(NETWORKS)
    assert all(f'\n{hub} = ["{hub}' in extras for hub in HUBS)


@pytest.mark.parametrize(("hub", "name"), [(hub, name) for hub, names in NETWORKS.items() for name in names])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_by_name_takes_the_task(hub: str, name: str, channels: int) -> None:
    if not loads(hub):
        pytest.skip(f"{hub} is not installed beside this PyTorch")
    family = imported(f"{hub}:{name}", Path())
    knobs = {"resolution": 32} | {k: v.values[0] for k, v in family.knobs(SIDES).items() if k != "resolution"}
    try_out(family, knobs, channels, 10, SIDES)


@pytest.mark.parametrize("hub", HUBS)
def test_an_unknown_network_is_refused_with_names_like_it(hub: str) -> None:
    if not loads(hub):
        pytest.skip(f"{hub} is not installed beside this PyTorch")
    with pytest.raises(ModelRefused, match=f"model: {hub} has no network 'resnet19'; .* resnet"):
        imported(f"{hub}:resnet19", Path())


@pytest.mark.parametrize("hub", HUBS)
def test_a_library_that_does_not_load_is_named_with_what_to_do(hub: str) -> None:
    if loads(hub):
        pytest.skip(f"{hub} is installed")
    said = rf"model: {hub} (is not installed: pip install 'paredown\[{hub}\]'|does not load beside this PyTorch)"
    with pytest.raises(ModelRefused, match=said):
        imported(f"{hub}:resnet18", Path())


def test_other_paths_are_no_hubs(tmp_path: Path) -> None:
    (tmp_path / "mine_of_test_hubs.py").write_text("def net(): ...")
    assert imported("mine_of_test_hubs:net", tmp_path).name == "imported"
