"""Files that came from outside run no code, name no other files, and no study makes the server call an address."""

import copy
import io
import json
import pickle
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from servers import STUDY

from paredown.evaluators.devices.operator_macs import operator_macs
from paredown.evaluators.errors import EvaluationError
from paredown.evaluators.files.external_data import external_file
from paredown.evaluators.files.onnx_graph import read_graph
from paredown.evaluators.files.onnx_session import open_session
from paredown.search.service.model_archive import model_archive
from paredown.search.service.submission import checked_submission
from paredown.spaces.errors import ParedownError
from paredown.studies.errors import StudyNotFound

NET = """
from torch import nn

def made(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes))
"""


class Bomb:
    """A pickle that writes a file where it is opened."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._canary,)


def submit(folder: Path, **changes: Any) -> dict[str, Any]:
    """Check a submission whose data folder is this one."""
    study = copy.deepcopy(STUDY) | changes
    request = {"text": json.dumps(study), "where": "s.yaml", "given": {}, "owner": "alice"}
    return checked_submission(request | {"allow": ["foreign_net"], "data": str(folder), "out": str(folder / "out")})


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "foreign_net.py").write_text(NET)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "foreign_net:made"
    sys.modules.pop("foreign_net", None)


def test_the_bomb_goes_off_where_pickles_are_loaded(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "canary")))
    assert (tmp_path / "canary").exists()


@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize("key", ["weights", "distillation"])
def test_a_checkpoint_runs_no_code(tmp_path: Path, net: str, form: str, key: str) -> None:
    import torch

    file, canary = tmp_path / "bomb.pt", tmp_path / "canary"
    if form == "pickle":
        file.write_bytes(pickle.dumps({"1.weight": Bomb(canary)}))
    else:
        torch.save({"1.weight": torch.zeros(10, 64), "1.bias": Bomb(canary)}, file)
    space = {"families": ["imported"], "steps": ["quantization"]}
    changes: dict[str, Any] = {"model": net, "weights": "bomb.pt", "space": space}
    if key == "distillation":
        steps = {"families": ["mbconv"], "steps": ["distillation"]}
        changes = {"distillation": {"teacher": net, "weights": "bomb.pt"}, "space": steps}
    with pytest.raises(ParedownError, match=r"bomb\.pt is no state dict that loads with weights_only=True"):
        submit(tmp_path, **changes)
    assert not canary.exists()


def test_arrays_run_no_code(tmp_path: Path) -> None:
    canary, content = tmp_path / "canary", io.BytesIO()
    np.save(content, np.array([Bomb(canary)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        for split in ("train", "validation", "test"):
            for part in ("images", "labels"):
                archive.writestr(f"{split}_{part}.npy", content.getvalue())
    with pytest.raises(ParedownError, match=r"bomb\.npz cannot be read as a file of NumPy's savez: Object arrays"):
        submit(tmp_path, task={"arrays": "bomb.npz"})
    assert not canary.exists()


def model(location: str) -> bytes:
    """Return an ONNX model whose weights lie in another file."""
    weights = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weights.external_data.add(key=key, value=value)
    shown = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", shown[:1], shown[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10).SerializeToString()


@pytest.mark.parametrize("location", ["../secret.bin", "absolute", "link.bin", "in/../../secret.bin", "/etc/passwd"])
def test_a_model_reads_no_file_beside_its_folder(tmp_path: Path, location: str) -> None:
    """ONNX lets weights lie in another file; what came from outside must not choose which."""
    folder = tmp_path / "folder"
    (folder / "in").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    content = model(str(tmp_path / "secret.bin") if location == "absolute" else location)
    (folder / "model.onnx").write_bytes(content)
    for given in (folder / "model.onnx", content):
        with pytest.raises(EvaluationError, match=r"the model names another file, '.*', which is not read"):
            open_session(given)
        with pytest.raises(EvaluationError, match=r"the model names another file, '.*', which is not read"):
            read_graph(given)
    assert operator_macs(folder / "model.onnx").dense == 0, "its weights are not read"


def test_a_file_is_found_wherever_a_model_names_it() -> None:
    named = onnx.load_from_string(model("other.bin"))
    assert external_file(named.SerializeToString()) == "other.bin"
    branch = helper.make_graph([], "branch", [], [], list(named.graph.initializer))
    shown = [helper.make_tensor_value_info(name, TensorProto.BOOL, []) for name in "cy"]
    for attributes in (
        {"then_branch": branch, "else_branch": branch},
        {"value": named.graph.initializer[0]},
        {"values": [named.graph.initializer[0]]},
    ):
        graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], **attributes)], "g", shown[:1], shown[1:])
        assert external_file(helper.make_model(graph).SerializeToString()) == "other.bin"


def test_a_whole_model_runs_though_it_says_location() -> None:
    whole = onnx.load_from_string(model("other.bin"))
    (weights,) = whole.graph.initializer
    weights.ClearField("external_data")
    weights.ClearField("data_location")
    weights.float_data.extend([0, 1, 2, 3])
    weights.doc_string = "location"
    session = open_session(whole.SerializeToString())
    assert session.run(None, {"x": np.zeros((1, 4), np.float32)})[0].tolist() == [[0, 1, 2, 3]]


ADDRESSES = [
    *("http://127.0.0.1:{port}/x", "http://[::1]:{port}/x", "http://0.0.0.0:{port}/x", "http://2130706433:{port}/x"),
    *("file:///etc/passwd", "ftp://127.0.0.1:{port}/x", "s3://bucket/x", "//127.0.0.1:{port}/x"),
    "postgresql://me@127.0.0.1:{port}/x",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("key", ["arrays", "image_folder", "weights", "device"])
def test_no_study_makes_the_server_call_an_address(tmp_path: Path, net: str, address: str, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        place = address.format(port=listening.getsockname()[1])
        changes: dict[str, Any] = {
            "arrays": {"task": {"arrays": place}},
            "image_folder": {"task": {"image_folder": {"path": place}}},
            "weights": {"model": net, "weights": f"{place}.pt", "space": {"families": ["imported"]}},
            "device": {"device": f"{place}.toml"},
        }[key]
        with pytest.raises(ParedownError):
            submit(tmp_path, **changes)
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_an_archive_holds_what_lies_in_its_folder_alone(tmp_path: Path) -> None:
    """Links that lead out of a model's folder are not followed, wherever they stand."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    folder = tmp_path / "models/trial-0001"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"the model")
    (folder / "sub/inside").symlink_to(folder / "model.onnx")
    (folder / "secret").symlink_to(tmp_path / "outside/secret")
    (folder / "folder").symlink_to(tmp_path / "outside")
    archive = model_archive(tmp_path / "models", 1)
    with zipfile.ZipFile(archive) as opened:
        assert opened.namelist() == ["trial-0001/model.onnx", "trial-0001/sub/inside"]
    archive.unlink()
    (tmp_path / "models/trial-0002").symlink_to(tmp_path / "outside")
    for trial in (2, 3, -1):
        with pytest.raises(StudyNotFound, match=f"trial {trial} is not exported"):
            model_archive(tmp_path / "models", trial)
