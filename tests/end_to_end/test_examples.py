"""Study files of `examples/` as users run them, made small."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import Said, paredown

from paredown.search.cli.options import open_study

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def write_small(folder: Path, example: str, trials: int, knobs: dict[str, Any], **training: Any) -> None:
    """Write an example made small: one worker, a sampler that counts no costs."""
    study = yaml.safe_load((EXAMPLES / example).read_text()) | {"sampler": "random", "workers": 1, "trials": trials}
    study["space"]["knobs"] |= knobs
    study["training"] |= training
    (folder / example).write_text(yaml.safe_dump(study))


def test_efficientnet_inherits_from_one_elastic_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAREDOWN_STORAGE", raising=False)
    knobs = {
        "efficientnet.depth": 0.3,
        "efficientnet.width": {"low": 0.2, "high": 0.3},
        "efficientnet.resolution": 8,
        "quantization.weights": ["fp32", "fp16"],  # int8 of a network after so few epochs may be refused on export
    }
    small = {"supernet_epochs": 2, "inherit_epochs": 1, "finetune_epochs": 1, "learning_rate": 1e-2}
    write_small(tmp_path, "efficientnet.yaml", 2, knobs, **small)
    found = Said(capsys, "search", "efficientnet.yaml", "--json").document()
    assert max(model["metrics"]["accuracy"] for model in found["models"]) > 0.3, "chance is 0.1"
    (supernet,) = (tmp_path / "paredown-out/efficientnet/supernet").glob("*.safetensors")
    rows = open_study(f"sqlite:///{tmp_path}/paredown.db", "efficientnet").stored.rows()
    assert [row["facts"]["inherited"]["supernet"] for row in rows] == [supernet.stem.partition("-")[2]] * 2


def test_a_network_of_ones_own_comes_with_its_weights(tmp_path: Path) -> None:
    for name in ("my_model.py", "my_model.safetensors"):
        shutil.copy(EXAMPLES / name, tmp_path / name)
    write_small(tmp_path, "my_model.yaml", 1, {}, finetune_epochs=1)
    done = paredown(tmp_path, "search", "my_model.yaml", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["baseline"]["metrics"]["accuracy"] > 0.9, "nothing has trained it here"
