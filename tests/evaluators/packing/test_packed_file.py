"""The packed file as a whole: the very model comes back, and no broken file does harm."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load, save

from paredown.evaluators.errors import PackingError
from paredown.evaluators.packing import container
from paredown.evaluators.packing.container import GRAPH, HEADER, PAYLOAD, pack, read, ship, unpack
from paredown.evaluators.packing.summary import encoding_rows, tensor_rows
from paredown.spaces.transforms import DOMAIN_NOTE, Domain

RANDOM = np.random.default_rng(0)
NOISE = RANDOM.normal(size=(8, 4, 3, 3)).astype(np.float32)


def model(*tensors: TensorProto) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        list(tensors),
    )
    return bytes(helper.make_model(graph).SerializeToString())


def weights(array: np.ndarray, name: str = "w", note: str = "") -> TensorProto:
    tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
    tensor.doc_string = note
    return tensor


def values(serialised: bytes) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(serialised).graph.initializer}


MIXED = model(
    weights(NOISE, "dense"),
    weights(np.where(NOISE > 0.8, NOISE, 0), "sparse"),
    weights(RANDOM.integers(-8, 8, (16, 16)).astype(np.int8), "narrow"),
    weights(np.array(3.5, np.float32), "scalar"),
    weights(np.zeros((0,), np.int64), "empty"),
    helper.make_tensor("typed", TensorProto.FLOAT, [3], [1.0, -0.0, np.inf]),
    helper.make_tensor("bf16", TensorProto.BFLOAT16, [2], [1.5, 2.5]),
    helper.make_tensor("int4", TensorProto.INT4, [3], [-8, 7, 1]),
    helper.make_tensor("text", TensorProto.STRING, [1], [b"hello"]),
)


@pytest.mark.parametrize("compression", ["zlib", "none"])
def test_every_value_comes_back_and_a_second_time_nothing_changes(compression: str) -> None:
    packed = pack(MIXED, compression)
    restored = unpack(packed)
    before, after = values(MIXED), values(restored)
    assert list(before) == list(after)
    for name, array in before.items():
        assert (array.dtype, array.shape) == (after[name].dtype, after[name].shape)
        assert array.tobytes() == after[name].tobytes() or name == "text"
    assert after["text"] == before["text"]
    assert unpack(pack(restored)) == restored
    assert packed == pack(MIXED, compression)
    original = onnx.load_from_string(MIXED)
    del original.graph.initializer[:]
    emptied = onnx.load_from_string(restored)
    del emptied.graph.initializer[:]
    assert original == emptied


def test_the_contents_add_up() -> None:
    packed = pack(MIXED, "none")
    contents = read(packed)
    stored = {row["tensor"]: row for row in tensor_rows(contents)}
    assert {n: r["encoding"] for n, r in stored.items()} == {
        "dense": "dense",
        "sparse": "bitmask(dense)",
        "narrow": "packed",
        "scalar": "dense",
        "empty": "dense",
        "typed": "dense",
        "bf16": "dense",
        "int4": "graph",
        "text": "graph",
    }
    assert (stored["narrow"]["bytes"], stored["narrow"]["dense_bytes"]) == (128, 256)
    assert stored["sparse"]["bytes"] == 288 // 8 + 4 * int((NOISE > 0.8).sum())
    in_payload = sum(r["bytes"] for r in stored.values() if r["encoding"] != "graph")
    assert contents.parts["payload"] == in_payload
    assert sum(contents.parts.values()) == len(packed)
    assert sum(r["bytes"] for r in encoding_rows(contents)) == sum(r["bytes"] for r in stored.values())


def test_a_noted_domain_is_used_once() -> None:
    domain = Domain("dct", (1, 2, 3))
    coefficients = np.where(RANDOM.random((8, 36)) < 0.3, domain.analyse(NOISE), 0)
    sparse = domain.synthesise(coefficients, NOISE.shape).astype(np.float32)
    with_note, without = (pack(model(weights(sparse, note=n))) for n in (f"{DOMAIN_NOTE}{domain}", ""))
    assert len(with_note) < 0.6 * len(without)
    assert read(with_note).tensors[0].encoding.startswith("transform(")
    restored = unpack(with_note)
    np.testing.assert_allclose(values(restored)["w"], sparse, atol=1e-6)
    assert onnx.load_from_string(restored).graph.initializer[0].doc_string == ""
    assert unpack(pack(restored)) == restored


def test_the_file_and_the_model_beside_it_are_one(tmp_path: Path) -> None:
    file = ship(MIXED, tmp_path / "model.onnx")
    assert unpack((tmp_path / "model.packed").read_bytes()) == file.read_bytes()


def test_a_model_of_nearly_nothing_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "SMALL_BYTES", 1 << 10)
    monkeypatch.setattr(container, "MOST_TIMES", 16)
    zeros = model(weights(np.zeros((100, 1000), np.float32)))
    packed = pack(zeros)
    assert len(packed) >= len(zeros), "a reader's limit leaves no other way"
    assert values(unpack(packed))["w"].shape == (100, 1000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (b"\xff\xff", "no ONNX model"),
        (model(weights(NOISE, note=f"{DOMAIN_NOTE}db99/flat/0")), "'db99' is no transform; allowed: dct"),
        (model(TensorProto(name="w", dims=[2], data_type=1, data_location=TensorProto.EXTERNAL)), "in another file"),
        (model(TensorProto(name="w", dims=[9], data_type=1, raw_data=b"1234")), "broken"),
    ],
)
def test_what_cannot_be_packed_is_refused(given: bytes, message: str) -> None:
    with pytest.raises(PackingError, match=message):
        pack(given)


def test_a_file_of_the_time_of_zstd_is_refused_with_the_reason() -> None:
    with pytest.raises(PackingError, match="compressed by zstd, which is no longer read; pack its model again"):
        unpack(forged(payload=["zstd", 1000]))


def test_an_unknown_compression_is_refused() -> None:
    with pytest.raises(PackingError, match="'gzip' is unknown; allowed: zlib, none"):
        pack(MIXED, "gzip")


def forged(**changes: object) -> bytes:
    """Return a packed file whose header says something else."""
    packed = pack(MIXED, "none")
    length = int.from_bytes(packed[:8], "little")
    header = json.loads(json.loads(packed[8 : 8 + length])["__metadata__"][HEADER])
    return bytes(save(load(packed), {HEADER: json.dumps(header | changes)}))


def of_shape(*shape: int) -> bytes:
    """Return a file of few bytes that says its tensor has a shape."""
    graph = model(TensorProto(name="w", dims=shape, data_type=TensorProto.FLOAT))
    parts = {GRAPH: np.frombuffer(graph, np.uint8), PAYLOAD: np.zeros(4, np.uint8)}
    header = {"format": 1, "graph": ["none", len(graph)], "payload": ["none", 4], "encodings": ["palette"]}
    return bytes(save(parts, {HEADER: json.dumps(header | {"tensors": [[0, 1]]})}))


BROKEN = {
    "empty": b"",
    "text": b"hello world, this is no packed file",
    "truncated": pack(MIXED)[:-1],
    "a longer header": (1 << 62).to_bytes(8, "little") + pack(MIXED)[8:],
    "other tensors": bytes(save({"a": np.zeros(3)})),
    "another format": forged(format=2),
    "an unknown encoding": forged(encodings=["dense", "magic", "packed"]),
    "an encoding that is not listed": forged(encodings=[]),
    "too few tensors": forged(tensors=[[0]]),
    "no tensors": forged(tensors=None),
    "a text for a row": forged(tensors=["dense"] * 9),
    "rows without end": forged(tensors=json.loads("[" * 900 + "]" * 900)),
    "a wrong length": forged(payload=["none", 7]),
    "a negative length": forged(graph=["none", -1]),
    "a huge length": forged(graph=["zlib", 1 << 60]),
    "not zlib": forged(payload=["zlib", 1000]),
    "unknown compression": forged(payload=["lzma", 1000]),
    "too large": of_shape(1 << 20, 1 << 20),
    "too large by overflow": of_shape(1 << 62, 1 << 62, 0),
    "negative": of_shape(-1, -4),
    "many axes": of_shape(*[1] * 40),
    "most of the limit and one more": of_shape((1 << 24) + 1),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_error_and_no_memory(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(PackingError):
            unpack(BROKEN[name])
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_a_bomb_does_not_unfold() -> None:
    import zlib

    bomb = zlib.compress(bytes(1 << 28), 9)
    parts = {GRAPH: np.frombuffer(bomb, np.uint8), PAYLOAD: np.zeros(0, np.uint8)}
    header = {"format": 1, "graph": ["zlib", 100], "payload": ["none", 0], "encodings": [], "tensors": []}
    tracemalloc.start()
    try:
        with pytest.raises(PackingError, match="does not have the 100 bytes"):
            unpack(bytes(save(parts, {HEADER: json.dumps(header)})))
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


@settings(max_examples=300, deadline=None)
@given(at=st.integers(0, 1 << 16), byte=st.integers(0, 255), cut=st.integers(0, 1 << 16))
def test_a_changed_byte_is_an_error_or_some_model(at: int, byte: int, cut: int) -> None:
    for compression in ("none", "zlib"):
        changed = bytearray(pack(MIXED, compression))
        changed[at % len(changed)] = byte
        for content in (bytes(changed), bytes(changed[: cut % len(changed)])):
            try:
                restored = unpack(content)
            except PackingError:
                continue
            onnx.ModelProto().ParseFromString(restored)


@pytest.mark.slow
def test_it_is_read_without_pytorch(tmp_path: Path) -> None:
    domain = Domain("db2")
    sparse = domain.synthesise(np.where(np.arange(36) < 5, domain.analyse(NOISE), 0), NOISE.shape).astype(np.float32)
    packed = pack(model(weights(sparse, note=f"{DOMAIN_NOTE}{domain}"), weights(NOISE, "v")))
    (tmp_path / "model.packed").write_bytes(packed)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from paredown.evaluators.packing.container import unpack\n"
        "Path('model.onnx').write_bytes(unpack(Path('model.packed').read_bytes()))\n"
        "assert 'torch' not in sys.modules and 'onnxruntime' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model.onnx").read_bytes() == unpack(packed)
