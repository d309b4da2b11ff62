"""Data sets: what holds for all arrays, not only for the chosen ones."""

import io
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import sparse

import data_files
from whatelse.datasets.loaders import bits, retail
from whatelse.datasets.loaders.encode import encode
from whatelse.datasets.store import open_dataset, write_dataset

SHAPES = st.tuples(st.integers(4, 9), st.integers(1, 5), st.integers(1, 4))


@given(
    st.one_of(
        arrays.arrays(np.uint8, SHAPES),
        arrays.arrays(
            np.float32,
            SHAPES,
            elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
        ),
    ),
    st.randoms(use_true_random=False),
)
def test_any_array_comes_back_to_the_byte(inputs: np.ndarray, random: object) -> None:
    labels = np.arange(len(inputs)) % 2
    random.shuffle(labels)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as place:
        write_dataset(
            Path(place) / "out",
            inputs=inputs,
            labels=labels,
            info={"name": "x", "title": "X", "class_names": ["a", "b"]},
            settings={},
        )
        dataset = open_dataset(Path(place) / "out")
        assert dataset.inputs.dtype == inputs.dtype
        assert dataset.inputs.tobytes() == inputs.tobytes()
        assert dataset.labels.tolist() == labels.tolist()


@given(
    arrays.arrays(
        np.float32,
        SHAPES.map(lambda shape: shape[:2]),
        elements=st.sampled_from([0, 0, 0, 1, -2.5]),
    )
)
def test_any_compressed_rows_come_back(inputs: np.ndarray) -> None:
    labels = np.arange(len(inputs)) % 2
    with tempfile.TemporaryDirectory() as place:
        write_dataset(
            Path(place) / "out",
            inputs=sparse.csr_array(inputs),
            labels=labels,
            info={"name": "x", "title": "X", "class_names": ["a", "b"], "scale": 2.0},
            settings={},
        )
        dataset = open_dataset(Path(place) / "out")
        assert dataset.inputs.nnz == np.count_nonzero(inputs)
        np.testing.assert_array_equal(dataset.inputs.toarray(), inputs)
        np.testing.assert_array_equal(dataset.floats(labels == 1), 2 * inputs[1::2])


@given(arrays.arrays(np.uint8, SHAPES.map(lambda s: s[:2]), elements=st.integers(0, 1)))
def test_bits_survive_their_text(inputs: np.ndarray) -> None:
    text = io.BytesIO(data_files.rows_of_bits(inputs))
    read = bits._stack("x", (bits._bits("x", n, row) for n, row in bits._rows(text)))
    assert read.tolist() == inputs.tolist()


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=8),
    st.integers(1, 40),
    st.integers(0, 10),
)
def test_merging_only_joins_and_leaves_none_too_small(
    sizes: list[int], min_records: int, seed: int
) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centres = np.random.default_rng(seed).normal(size=(len(sizes), 2))
    merged = retail.merge_small(labels, centres, min_records=min_records)
    counts = np.bincount(merged)
    left = counts[counts > 0]
    assert len(left) == 1 or left.min() >= min_records
    for cluster in range(len(sizes)):
        assert len(set(merged[labels == cluster])) == 1
    if min(sizes) >= min_records:
        assert merged.tolist() == labels.tolist()


@given(
    st.lists(st.sampled_from(["a", "b", "c", None]), min_size=2, max_size=20),
    st.integers(0, 100),
)
def test_features_of_a_table(town: list[str | None], seed: int) -> None:
    numbers = np.random.default_rng(seed).normal(50, 20, size=len(town))
    frame = pd.DataFrame({"town": pd.Series(town, dtype=object), "x": numbers})
    inputs, names = encode("x.csv", frame)
    assert inputs.shape == (len(town), len(set(town)) + 1)
    assert (inputs[:, :-1].sum(axis=1) == 1).all()
    assert names[-1] == "x"
    np.testing.assert_allclose(inputs[:, -1].mean(), 0, atol=1e-5)
    np.testing.assert_allclose(inputs[:, -1].std(), 1, rtol=1e-4)
