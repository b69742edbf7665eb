"""Every encoding: bytes worked out by hand, and any tensor back bit for bit."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from paredown.evaluators.errors import PackingError
from paredown.evaluators.packing.encoding import KINDS, Form, Row, Source, Values
from paredown.evaluators.packing.encodings.catalogue import ENCODINGS, decode, encode
from paredown.evaluators.packing.encodings.transform import TOLERANCE
from paredown.spaces.transforms import TRANSFORMS, Domain


def values_of(array: NDArray, domain: Domain | None = None) -> Values:
    form = Form(array.shape, array.dtype.name)
    return Values(form, np.ascontiguousarray(array).view(form.word).reshape(array.shape), domain)


def payload(name: str, array: NDArray, domain: Domain | None = None) -> int | None:
    """Return the length of the payload under one encoding, after a check that it comes back."""
    values = values_of(array, domain)
    encoded = ENCODINGS[name].encode(values, encode)
    if encoded is None:
        return None
    source = Source(encoded.payload)
    restored = decode(encoded.row, values.form, source)
    assert source.position == len(encoded.payload)
    assert restored.shape == array.shape
    if name != "transform":
        assert (restored == values.words).all()
    return len(encoded.payload)


NOISE = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
SPARSE = np.where(np.arange(128).reshape(8, 16) % 16 == 3, NOISE, 0).astype(np.float32)
HALF = np.where(np.arange(128).reshape(8, 16) % 2 == 0, NOISE, 0).astype(np.float32)
NARROW = (np.arange(128).reshape(8, 16) % 16 - 8).astype(np.int8)
FIVE = NOISE.reshape(-1)[np.arange(128) % 5].reshape(8, 16)
SCALES = np.linspace(0.1, 0.9, 8).astype(np.float32)[:, None]
GRID = NARROW.astype(np.float32) * SCALES
GRID[0] = 0


@pytest.mark.parametrize(
    ("name", "array", "size"),
    [
        ("dense", NOISE, 128 * 4),
        ("dense", NOISE.astype(np.float16), 128 * 2),
        ("dense", NOISE.astype(ml_dtypes.bfloat16), 128 * 2),
        ("dense", np.zeros(()), 8),
        ("dense", np.zeros((0, 3), np.float32), 0),
        ("packed", NARROW, 128 * 4 // 8),
        ("packed", NARROW.astype(np.int64) + 1_000_000, 128 * 4 // 8),
        ("packed", np.array([True, False, True]), 1),
        ("packed", np.array([-128, 127], np.int8), 2),
        ("packed", np.array([2**64 - 1, 2**64 - 4], np.uint64), 1),
        ("packed", np.array([-(2**63), -(2**63) + 255], np.int64), 2),
        ("packed", np.array([0, 256], np.int32), None),
        ("packed", NOISE, None),
        ("palette", FIVE, 5 * 4 + 128 * 3 // 8),
        ("palette", np.full((8, 16), np.nan, np.float32), 4),
        ("palette", np.arange(257, dtype=np.int32), None),
        ("palette", np.arange(256, dtype=np.int32), 256 * 4 + 256),
        ("scaled", GRID, 8 * 4 + 128 * 4 // 8),
        ("scaled", np.ascontiguousarray(GRID.T), 8 * 4 + 128 * 4 // 8),
        ("scaled", NARROW.astype(np.float16) * SCALES.astype(np.float16), 8 * 2 + 128 * 4 // 8),
        ("scaled", np.where(np.arange(16) % 4 == 1, GRID, 0), 8 * 4 + 128 // 8 + 4 + 28 * 2 // 8),
        ("scaled", NOISE, None),
        ("scaled", -0.0 * GRID, None),
        ("bitmask", HALF, 128 // 8 + 64 * 4),
        ("bitmask", (NARROW * (NARROW > 0)), 128 // 8 + -(-56 * 3 // 8)),
        ("bitmask", NOISE, None),
        ("bitmask", -np.zeros((3, 4), np.float32), None),
        ("csr", SPARSE, 8 * 4 // 8 + 8 * 4 // 8 + 8 * 4),
        ("csr", np.eye(16, dtype=np.float32), 16 * 5 // 8 + 16 * 4 // 8 + 4),
        ("csr", NOISE, None),
        ("csr", np.zeros((4, 4), np.float32), None),
    ],
)
def test_bytes_by_hand(name: str, array: NDArray, size: int | None) -> None:
    assert payload(name, array) == size


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_three_coefficients_of_a_domain_are_stored_as_three(transform: str) -> None:
    domain = Domain(transform)
    coefficients = np.zeros((8, 36))
    coefficients[:, [0, 5, 30]] = NOISE[:, :3]
    weights = domain.synthesise(coefficients, (8, 4, 3, 3)).astype(np.float32)
    ends, columns = 8 * 5 // 8, 24 * 6 // 8  # 24 and 35 need 5 and 6 bits
    assert payload("transform", weights, domain) == ends + columns + 24 * 4
    encoded = encode(values_of(weights, domain))
    assert str(encoded.row) == "transform(csr(dense))"
    assert payload("transform", weights) is None, "nobody said that it is sparse there"


def test_a_wrong_domain_costs_nothing_and_changes_nothing() -> None:
    for domain in (Domain("dct"), Domain("haar", (1, 2)), Domain("dct", (), 1)):
        encoded = encode(values_of(NOISE, domain))
        assert str(encoded.row) == "dense"
        assert encoded.payload == NOISE.tobytes()


@pytest.mark.parametrize(
    ("array", "row"),
    [
        (NOISE, "dense"),
        (SPARSE, "csr(dense)"),
        (HALF, "bitmask(dense)"),
        (NARROW, "packed"),
        (NARROW * (np.arange(16) % 4 == 0), "bitmask(packed)"),
        (FIVE, "palette"),
        (np.tile(GRID, (1, 8)), "scaled(packed)"),
        (np.zeros((5, 5), np.float32), "palette"),
    ],
)
def test_the_shortest_is_taken(array: NDArray, row: str) -> None:
    encoded = encode(values_of(array))
    assert str(encoded.row) in (row, row.replace("(packed)", "(palette)"))
    others = [found for e in ENCODINGS.values() if (found := e.encode(values_of(array), encode))]
    assert encoded.size_bytes == min(other.size_bytes for other in others)


PATTERNS = hnp.arrays(
    st.sampled_from([np.uint8, np.uint16, np.uint32, np.uint64]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7),
    elements={"min_value": 0},
)


@settings(max_examples=300, deadline=None)
@given(
    patterns=PATTERNS, kind=st.sampled_from(list(KINDS)), few=st.integers(1, 300), share=st.floats(0, 1), data=st.data()
)
def test_any_tensor_of_any_type_comes_back_bit_for_bit(
    patterns: NDArray, kind: str, few: int, share: float, data: st.DataObject
) -> None:
    form = Form(patterns.shape, kind)
    words = patterns.astype(form.word)
    if data.draw(st.booleans()):
        words = (patterns.astype(np.uint64) % np.uint64(few)).astype(form.word)
    words = (words.astype(np.uint8) & 1 if kind == "bool" else words).astype(form.word).reshape(patterns.shape)
    zeros = np.random.default_rng(0).random(words.shape) < share
    words = np.where(zeros, 0, words).astype(form.word).reshape(patterns.shape)
    values = Values(form, words)
    assert encode(values).size_bytes <= len(words.tobytes()) + 3
    for encoding in ENCODINGS.values():
        encoded = encoding.encode(values, encode)
        if encoded is not None:
            restored = decode(encoded.row, form, Source(encoded.payload))
            assert restored.dtype == form.word
            assert restored.shape == form.shape
            assert (restored == words).all()


@settings(max_examples=150, deadline=None)
@given(
    shape=hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=6),
    transform=st.sampled_from(list(TRANSFORMS)),
    kind=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 999),
    scale=st.sampled_from([1e-3, 1.0, 50.0]),
    data=st.data(),
)
def test_a_sparse_filter_comes_back_as_near_as_its_last_bits(
    shape: tuple[int, ...], transform: str, kind: str, seed: int, scale: float, data: st.DataObject
) -> None:
    axes = data.draw(st.sets(st.integers(1, len(shape) - 1)).map(lambda found: tuple(sorted(found))))
    domain = Domain(transform, axes, data.draw(st.integers(0, 1)))
    rng = np.random.default_rng(seed)
    coefficients = domain.analyse(rng.normal(size=shape) * scale)
    coefficients[rng.random(coefficients.shape) < 0.7] = 0
    weights = domain.synthesise(coefficients, shape).astype(kind)
    values = values_of(weights, domain)
    encoded = ENCODINGS["transform"].encode(values, encode)
    if encoded is None:
        assert kind == "float16", "float32 has the room"
        return
    restored = decode(encoded.row, values.form, Source(encoded.payload)).view(weights.dtype)
    strayed = np.linalg.norm(domain.analyse(restored.astype(float) - weights.astype(float)), axis=1)
    norms = np.linalg.norm(domain.analyse(weights), axis=1)
    assert (strayed <= TOLERANCE * np.finfo(kind).eps * norms).all()
    again = encode(Values(values.form, np.ascontiguousarray(restored).view(values.form.word)))
    assert (decode(again.row, values.form, Source(again.payload)).view(kind) == restored).all()


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(list(ENCODINGS)),
    params=st.lists(st.one_of(st.integers(-5, 300), st.sampled_from(["dct/flat/0", "db2/12/1", "x"])), max_size=3),
    within=st.sampled_from([None, Row("dense"), Row("palette", (2,)), Row("nonsense")]),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    kind=st.sampled_from(list(KINDS)),
    content=st.binary(max_size=200),
)
def test_a_broken_row_is_one_error_or_some_tensor(
    name: str, params: list[int | str], within: Row | None, shape: tuple[int, ...], kind: str, content: bytes
) -> None:
    form = Form(shape, kind)
    row = Row(name, (*params, within) if within else tuple(params))
    try:
        restored = decode(row, form, Source(content))
    except PackingError:
        return
    assert (restored.shape, restored.dtype) == (shape, form.word)


def test_encodings_within_each_other_have_an_end() -> None:
    row = Row("dense")
    for _ in range(5):
        row = Row("bitmask", (row,))
    with pytest.raises(PackingError, match="within each other"):
        decode(row, Form((3,), "float32"), Source(b"\xff" * 99))
