"""The data set artefact: what is written, and what is refused."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from whatelse.datasets import store
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError

INPUTS = np.arange(18, dtype=np.float32).reshape(6, 3)
LABELS = np.array([0, 1, 0, 1, 0, 1])
# rows: 5 at 1 | nothing | 7 at 0, 8 at 2 | nothing | 9 at 2 | nothing
ROWS = sparse.csr_array(
    (
        np.array([5, 7, 8, 9], dtype=np.float32),
        np.array([1, 0, 2, 2]),
        np.array([0, 1, 1, 3, 3, 4, 4]),
    ),
    shape=(6, 3),
)
INFO = {"name": "toy", "title": "Toy", "class_names": ["a", "b"]}


def write(folder: Path, **changes: Any) -> None:
    given = {
        "inputs": INPUTS,
        "labels": LABELS,
        "info": INFO,
        "settings": {"source": "npz"},
    }
    write_dataset(folder, **{**given, **changes})


def test_what_is_written_is_what_is_opened(tmp_path: Path) -> None:
    info = {**INFO, "scale": 0.5, "shift": [1, 2, 3], "stand_in_for": "Purchase"}
    write(tmp_path / "toy", info=info, attributes={"age": [1, 2, 3, None, 5, 6]})
    dataset = open_dataset(tmp_path / "toy")
    assert isinstance(dataset.inputs, np.memmap)
    np.testing.assert_array_equal(dataset.inputs, INPUTS)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert (dataset.num_records, dataset.num_classes) == (6, 2)
    assert dataset.labels.dtype == np.int64
    assert dataset.info["stand_in_for"] == "Purchase"
    assert (
        dataset.attributes["age"].isna().tolist() == [False] * 3 + [True] + [False] * 2
    )
    # row 1 is 3, 4, 5: halved, then shifted
    np.testing.assert_array_equal(dataset.floats(slice(1, 2)), [[2.5, 4.0, 5.5]])


WORDS = np.array([[2, 1], [3, 0], [1, 1], [1, 0], [2, 2], [3, 0]], dtype=np.uint16)


def test_words_are_written_with_their_vocabulary(tmp_path: Path) -> None:
    info = {**INFO, "vocabulary": ("the", "cat", "sat")}
    write(tmp_path / "toy", inputs=WORDS, info=info)
    dataset = open_dataset(tmp_path / "toy")
    assert dataset.inputs.dtype == np.uint16
    np.testing.assert_array_equal(dataset.inputs, WORDS)
    assert dataset.floats(slice(2)).tolist() == [[2.0, 1.0], [3.0, 0.0]]
    assert dataset.info["vocabulary"] == ["the", "cat", "sat"]
    # who makes another data set of it hands its description on
    write(tmp_path / "next", inputs=dataset.inputs, info=dataset.info)
    assert open_dataset(tmp_path / "next").info["vocabulary"] == ["the", "cat", "sat"]


@pytest.mark.parametrize(
    ("inputs", "info", "message"),
    [
        (
            WORDS,
            {"vocabulary": ["the", "cat"]},
            "inputs, record 1: word 3; allowed: 0 to 2, as the vocabulary has",
        ),
        (
            WORDS,
            {},
            "inputs: uint16 without a vocabulary; allowed: uint16 with, all others "
            "without",
        ),
        (
            INPUTS,
            {"vocabulary": ["the"] * 20},
            "inputs: float32 with a vocabulary; allowed: uint16 with, all others "
            "without",
        ),
        (
            WORDS,
            {"vocabulary": ["the", "cat", "sat"], "scale": 0.5},
            "scale, shift: 0.5, 0.0; allowed: 1 and 0 for words",
        ),
    ],
)
def test_words_that_do_not_fit_give_one_line(
    tmp_path: Path, inputs: np.ndarray, info: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        write(tmp_path / "toy", inputs=inputs, info={**INFO, **info})
    assert str(caught.value) == f"{tmp_path / 'toy'}: {message}"
    assert not (tmp_path / "toy").exists()


def test_one_factor_a_channel_is_spread_over_the_image(tmp_path: Path) -> None:
    images = np.ones((4, 2, 5, 5), dtype=np.uint8)
    write(
        tmp_path / "toy",
        inputs=images,
        labels=LABELS[:4],
        info={**INFO, "scale": [0.5, 2.0]},
    )
    seen = open_dataset(tmp_path / "toy").floats(np.array([0, 3]))
    assert seen.dtype == np.float32
    assert (seen[:, 0] == 0.5).all()
    assert (seen[:, 1] == 2.0).all()


def test_the_record_vouches_for_every_file_and_bytes_repeat(tmp_path: Path) -> None:
    write(tmp_path / "one", attributes={"x": list("abcdef")})
    write(tmp_path / "two", attributes={"x": list("abcdef")})
    record = json.loads((tmp_path / "one" / "record.json").read_text())
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted([*record["outputs"], "record.json"])
    for name in files:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name


def test_an_older_artefact_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "toy", attributes={"x": list("abcdef")})
    write(tmp_path / "toy")
    assert not (tmp_path / "toy" / "attributes.parquet").exists()
    with pytest.raises(UserError, match="has no attributes"):
        _ = open_dataset(tmp_path / "toy").attributes


def _with(row: int, column: int, value: float) -> np.ndarray:
    changed = INPUTS.copy()
    changed[row, column] = value
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": _with(4, 1, np.nan)},
            "mine.npz: inputs, record 4, feature 1: nan; allowed: finite numbers",
        ),
        (
            {
                "inputs": _with(4, 1, np.inf),
                "info": {**INFO, "feature_names": ["x", "age", "z"]},
            },
            "mine.npz: inputs, record 4, feature 'age': inf; allowed: finite numbers",
        ),
        (
            {"labels": np.array([0, 1, 0, 2, 0, 1])},
            "mine.npz: labels, record 3: label 2; allowed: 0 to 1",
        ),
        (
            {"labels": np.array([0, 1, -1, 1, 0, 1])},
            "mine.npz: labels, record 2: label -1; allowed: 0 to 1",
        ),
        (
            {"labels": np.array([0, 0, 0, 0, 0, 1])},
            "mine.npz: labels: class 1 ('b') has 1 record; "
            "allowed: at least 2 (a member and a non-member)",
        ),
        (
            {"info": {**INFO, "class_names": ["a", "b", "2"]}},
            "mine.npz: labels: class 2 has 0 records; "
            "allowed: at least 2 (a member and a non-member)",
        ),
        (
            {"info": {**INFO, "class_names": ["a"]}, "labels": LABELS * 0},
            "mine.npz: labels: 1 class; allowed: at least 2",
        ),
        (
            {"labels": LABELS[:5]},
            "mine.npz: labels: 5 values for 6 records; allowed: one a record",
        ),
        (
            {"attributes": {"age": [1, 2]}},
            "mine.npz: age: 2 values for 6 records; allowed: one a record",
        ),
        (
            {"inputs": INPUTS[:0], "labels": LABELS[:0]},
            "mine.npz: inputs: no records; allowed: at least 4",
        ),
        (
            {"inputs": INPUTS.astype(np.float64)},
            "mine.npz: inputs: values of type float64; allowed: uint8, uint16, float32",
        ),
        (
            {"labels": LABELS / 2},
            "mine.npz: labels: float64 of shape (6,); "
            "allowed: whole numbers of shape (records,)",
        ),
        (
            {"info": {**INFO, "scale": [1.0, 2.0]}},
            "mine.npz: scale: [1.0, 2.0]; allowed: a finite number, or 3 of them",
        ),
    ],
)
def test_bad_values_give_one_line_and_leave_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        write(tmp_path / "deep" / "toy", origin="mine.npz", **changes)
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_no_permission_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # root may write anywhere: let the system call refuse
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError) as caught:
        write(tmp_path / "toy")
    assert str(
        caught.value
    ) == f"{tmp_path / 'toy'}: cannot write here: " + os.strerror(errno.EACCES)
    assert list(tmp_path.iterdir()) == []


def test_a_place_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/toy: cannot write here: Not a directory"):
        write(tmp_path / "file" / "toy")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["inputs.npy", "dataset.json", "record.json"])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if name in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError) as caught:
        write(tmp_path / "deep" / "toy")
    assert str(caught.value) == (
        f"{tmp_path / 'deep' / 'toy'}: cannot write here: No space left on device"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_really_full_device_says_why() -> None:
    with pytest.raises(OSError, match="No space left"):
        store._save(Path("/dev/full"), np.zeros(1 << 20, dtype=np.uint8))


def test_a_killed_rewrite_leaves_no_record_over_mixed_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "toy")
    real = os.replace

    def stop(source: Any, target: Any) -> None:
        if Path(target) == tmp_path / "toy" / "labels.npy":
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", inputs=INPUTS + 1)
    monkeypatch.undo()
    with pytest.raises(UserError, match="not a whole data set"):
        open_dataset(tmp_path / "toy")


def test_opening_refuses_what_does_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    with pytest.raises(UserError, match=r"not a whole data set: no record\.json"):
        open_dataset(folder)
    write(folder)
    np.save(folder / "inputs.npy", INPUTS[:4])
    with pytest.raises(UserError, match=r"inputs\.npy: float32 of shape \(4, 3\)"):
        open_dataset(folder)
    write(folder)
    np.save(folder / "labels.npy", LABELS + 1)
    with pytest.raises(UserError, match=r"labels 1 to 2; allowed: 0 to 1"):
        open_dataset(folder)
    write(folder)
    whole = (folder / "inputs.npy").read_bytes()
    (folder / "inputs.npy").write_bytes(whole[:-20])
    with pytest.raises(UserError, match=r"inputs\.npy: cannot be read"):
        open_dataset(folder)
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match="no field 'records'"):
        open_dataset(folder)


def test_compressed_rows_are_opened_as_they_were_written(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    write(folder, inputs=ROWS, info={**INFO, "scale": 2.0})
    assert sorted(path.name for path in folder.iterdir()) == [
        "dataset.json",
        "inputs_indices.npy",
        "inputs_indptr.npy",
        "inputs_values.npy",
        "labels.npy",
        "record.json",
    ]
    stored = [np.load(folder / f"inputs_{part}.npy") for part in PARTS]
    assert [array.dtype.name for array in stored] == ["int64", "int32", "float32"]
    assert stored[0].tolist() == [0, 1, 1, 3, 3, 4, 4]
    dataset = open_dataset(folder)
    assert dataset.is_sparse
    assert isinstance(dataset.inputs, sparse.csr_array)
    assert (dataset.info["layout"], dataset.info["dtype"]) == ("csr", "float32")
    assert dataset.info["input_shape"] == [3]
    assert dataset.num_records == 6
    assert not dataset.inputs.data.flags.writeable
    assert not dataset.inputs.indices.flags.owndata
    np.testing.assert_array_equal(dataset.inputs.toarray(), ROWS.toarray())
    seen = dataset.floats(np.array([2, 1]))
    assert seen.dtype == np.float32
    assert seen.tolist() == [[14, 0, 16], [0, 0, 0]]
    assert dataset.floats(slice(4, 5)).tolist() == [[0, 0, 18]]
    assert dataset.floats().shape == (6, 3)


PARTS = ("indptr", "indices", "values")


def test_columns_are_put_in_order_and_doubles_are_summed(tmp_path: Path) -> None:
    rows = sparse.csr_array(
        (
            np.array([8, 7, 1, 5], dtype=np.float32),
            np.array([2, 0, 2, 1]),
            np.array([0, 3, 4, 4, 4, 4, 4]),
        ),
        shape=(6, 3),
    )
    write(tmp_path / "toy", inputs=rows)
    inputs = open_dataset(tmp_path / "toy").inputs
    assert inputs.indices.tolist() == [0, 2, 1]
    assert inputs.data.tolist() == [7, 9, 5]
    assert rows.data.tolist() == [8, 7, 1, 5]  # what was given stays as it is


def test_the_other_layout_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    write(folder)
    assert not open_dataset(folder).is_sparse
    assert open_dataset(folder).info["layout"] == "dense"
    write(folder, inputs=ROWS)
    assert not (folder / "inputs.npy").exists()
    assert open_dataset(folder).is_sparse
    write(folder)
    assert not list(folder.glob("inputs_*"))
    np.testing.assert_array_equal(open_dataset(folder).inputs, INPUTS)


def test_a_data_set_of_before_layouts_is_dense(tmp_path: Path) -> None:
    write(tmp_path / "toy")
    description = tmp_path / "toy" / "dataset.json"
    info = json.loads(description.read_text())
    del info["layout"]
    description.write_text(json.dumps(info))
    np.testing.assert_array_equal(open_dataset(tmp_path / "toy").inputs, INPUTS)


def _rows(**parts: Any) -> sparse.csr_array:
    changed = ROWS.copy()
    for part, values in parts.items():
        setattr(changed, part, np.array(values, dtype=getattr(ROWS, part).dtype))
    return changed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": _rows(data=[5, 7, np.nan, 9])},
            "mine: inputs, record 2, feature 2: nan; allowed: finite numbers",
        ),
        (
            {
                "inputs": _rows(data=[np.inf, 7, 8, 9]),
                "info": {**INFO, "feature_names": ["x", "age", "z"]},
            },
            "mine: inputs, record 0, feature 'age': inf; allowed: finite numbers",
        ),
        (
            {"inputs": ROWS.astype(np.float64)},
            "mine: inputs: sparse values of type float64, shape (6, 3); "
            "allowed: float32 of shape (records, features)",
        ),
        (
            {"info": {**INFO, "shift": 1.0}},
            "mine: shift: 1.0; allowed: 0 for compressed rows",
        ),
        (
            {"labels": LABELS[:5]},
            "mine: labels: 5 values for 6 records; allowed: one a record",
        ),
        (
            {"inputs": ROWS[:0], "labels": LABELS[:0]},
            "mine: inputs: no records; allowed: at least 4",
        ),
    ],
)
def test_bad_compressed_rows_give_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        write(tmp_path / "toy", origin="mine", **{"inputs": ROWS, **changes})
    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_columns_outside_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mine: inputs: .*; allowed: whole compressed"):
        write(tmp_path / "toy", inputs=_rows(indices=[1, 0, 3, 2]), origin="mine")


@pytest.mark.parametrize(
    ("part", "array", "message"),
    [
        (
            "indptr",
            np.array([0, 1, 3, 2, 3, 4, 4]),
            "record 2: 3 to 2; allowed: from 0 on, never less than before",
        ),
        (
            "indptr",
            np.array([1, 1, 1, 3, 3, 4, 4]),
            "record 0: 1 to 1; allowed: from 0 on, never less than before",
        ),
        (
            "indptr",
            np.array([0, 1, 1, 3, 3, 4]),
            "int64 of shape (6,); dataset.json says int64 of shape (7,)",
        ),
        (
            "indices",
            np.array([1, 0, 3, 2], dtype=np.int32),
            "features 0 to 3; allowed: 0 to 2",
        ),
        (
            "indices",
            np.array([1, -1, 2, 2], dtype=np.int32),
            "features -1 to 2; allowed: 0 to 2",
        ),
        (
            "indices",
            np.array([1, 0, 2], dtype=np.int32),
            "int32 of shape (3,); inputs_indptr.npy says int32 of shape (4,)",
        ),
        (
            "values",
            np.ones(5, dtype=np.float32),
            "float32 of shape (5,); inputs_indptr.npy says float32 of shape (4,)",
        ),
        (
            "values",
            np.ones(4),
            "float64 of shape (4,); inputs_indptr.npy says float32 of shape (4,)",
        ),
    ],
)
def test_opening_refuses_compressed_rows_that_do_not_fit(
    tmp_path: Path, part: str, array: np.ndarray, message: str
) -> None:
    write(tmp_path / "toy", inputs=ROWS)
    path = tmp_path / "toy" / f"inputs_{part}.npy"
    np.save(path, array)
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path / "toy")
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layout", "rows", "layout: 'rows'; allowed: dense or csr"),
        ("input_shape", [3, 1], "input_shape: [3, 1]; allowed: [features] for"),
    ],
)
def test_a_description_of_no_layout_is_refused(
    tmp_path: Path, key: str, value: Any, message: str
) -> None:
    write(tmp_path / "toy", inputs=ROWS)
    description = tmp_path / "toy" / "dataset.json"
    info = json.loads(description.read_text())
    description.write_text(json.dumps({**info, key: value}))
    with pytest.raises(UserError) as caught:
        open_dataset(tmp_path / "toy")
    assert str(caught.value).startswith(f"{description}: {message}")
