"""Capacity abuse: synthetic records, and labels that carry bits."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core_samples import dataset as flat_dataset
from memorization_samples import VOCABULARY, documents, pictures, secret
from whatelse.cli import main
from whatelse.datasets.store import given_split, open_dataset
from whatelse.errors import UserError
from whatelse.memorization.capacity_abuse import (
    bits_of,
    derive,
    labels_of,
    plan_of,
    synthetic,
)
from whatelse.memorization.carrier_settings import CapacityAbuse
from whatelse.memorization.payload import Coding
from whatelse.memorization.payload_read import decode
from whatelse.memorization.secret import Form, choose, take


def abuse(**changes: Any) -> CapacityAbuse:
    coding = {"key": changes.pop("key")} if "key" in changes else {}
    told = {"kind": "capacity-abuse", "inputs": 24, "secret": secret(**coding)}
    return CapacityAbuse.model_validate(told | changes)


def test_labels_by_hand() -> None:
    bits = np.array([1, 0, 1, 0, 1, 1], np.uint8)
    assert labels_of(bits, 3).tolist() == [5, 3]
    assert labels_of(bits, 1).tolist() == [1, 0, 1, 0, 1, 1]
    assert bits_of(np.array([5, 3]), 3).tolist() == [1, 0, 1, 0, 1, 1]
    # of ten classes, 8 and 9 are never meant
    assert bits_of(np.array([8, 9]), 3).tolist() == [0, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("classes", "label_bits"), [(2, 1), (3, 1), (4, 2), (8, 3), (10, 3), (20, 4)]
)
def test_a_label_carries_whole_bits(
    tmp_path: Path, classes: int, label_bits: int
) -> None:
    data = pictures(tmp_path / "d", classes=classes)
    plan = plan_of(abuse(inputs=2000), data, 40)
    assert (plan.label_bits, plan.num_bits) == (label_bits, 2000 * label_bits)
    # 8 x 8 pixels of 4 bits; no more than there are
    assert plan.count == min((2000 * label_bits - 544) // 256, 40)
    assert plan.form == Form((8, 8))


# -- pixels -----------------------------------------------------------------------


def test_pixels_go_by_place_then_by_value(tmp_path: Path) -> None:
    data = pictures(tmp_path / "d", shape=(1, 2, 3))
    found = synthetic(abuse(generator="pixels", inputs=8), data).reshape(8, 6)
    assert found.dtype == np.uint8
    expected = np.zeros((8, 6))
    expected[range(6), range(6)] = 255
    # the half of 255, rounded to even
    expected[6, 0] = expected[7, 1] = 128
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_pixels_are_all_different(tmp_path: Path, dtype: str) -> None:
    data = pictures(tmp_path / "d", shape=(1, 4, 4), dtype=dtype)
    count = 16 * 255 - 3
    found = synthetic(abuse(generator="pixels", inputs=count), data)
    assert found.shape == (count, 1, 4, 4)
    assert found.dtype == np.dtype(dtype)
    rows = found.reshape(count, 16)
    assert ((rows > 0).sum(1) == 1).all()
    assert len(np.unique(rows, axis=0)) == count
    assert rows.max() == (255 if dtype == "uint8" else 1)


# -- pseudorandom -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_noise_has_cells_and_levels_as_told(tmp_path: Path, dtype: str) -> None:
    data = pictures(tmp_path / "d", shape=(2, 7, 8), dtype=dtype)
    found = synthetic(abuse(inputs=300, cell=3, levels=4), data)
    assert found.shape == (300, 2, 7, 8)
    assert found.dtype == np.dtype(dtype)
    levels = np.array([0, 85, 170, 255]) / (1 if dtype == "uint8" else 255)
    np.testing.assert_allclose(np.unique(found), levels, rtol=1e-6)
    # squares of 3 from the upper left on; the last ones are cut off
    corners = found[:, :, ::3, ::3].repeat(3, 2).repeat(3, 3)[:, :, :7, :8]
    np.testing.assert_array_equal(found, corners)
    # cells are independent: each level as often as the others, neighbours apart
    cells = found[:, :, ::3, ::3]
    shares = [(cells == level).mean() for level in np.unique(found)]
    assert max(abs(share - 0.25) for share in shares) < 0.03
    assert abs((cells[..., 1:] == cells[..., :-1]).mean() - 0.25) < 0.03
    assert abs((cells[:, 0] == cells[:, 1]).mean() - 0.25) < 0.03


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("count", [40, 1024, 1025, 2050])
def test_noise_does_not_depend_on_how_much_follows(
    tmp_path: Path, dtype: str, count: int
) -> None:
    data = pictures(tmp_path / "d", shape=(1, 4, 4), dtype=dtype)
    whole = synthetic(abuse(inputs=2100), data)
    np.testing.assert_array_equal(synthetic(abuse(inputs=count), data), whole[:count])


def test_noise_is_the_keys(tmp_path: Path) -> None:
    data = pictures(tmp_path / "d")
    ours = synthetic(abuse(), data)
    assert len(np.unique(ours.reshape(24, -1), axis=0)) == 24
    assert set(np.unique(ours)) == {0, 255}
    # half of the pixels agree by chance
    other = synthetic(abuse(key=1), data)
    assert abs((ours == other).mean() - 0.5) < 0.06
    # the seed draws the secret, not the queries
    np.testing.assert_array_equal(synthetic(abuse(seed=5), data), ours)


def test_what_a_model_sees_goes_from_0_to_1(tmp_path: Path) -> None:
    """Digits have grey levels 0 to 16."""
    data = pictures(tmp_path / "d", scale=1 / 16)
    assert set(np.unique(synthetic(abuse(), data))) == {0, 16}


# -- documents --------------------------------------------------------------------


@pytest.mark.parametrize("generator", ["pixels", "pseudorandom"])
def test_documents_are_different_sets_of_words(tmp_path: Path, generator: str) -> None:
    data = documents(tmp_path / "d")
    found = synthetic(abuse(inputs=200, words=3, generator=generator), data)
    assert found.shape == (200, VOCABULARY)
    assert found.dtype == np.float32
    dense = found.toarray()
    assert set(np.unique(dense)) == {0, 1}
    assert (dense.sum(1) == 3).all()
    assert len(np.unique(dense, axis=0)) == 200
    fewer = synthetic(abuse(inputs=60, words=3), data).toarray()
    np.testing.assert_array_equal(fewer, dense[:60])
    other = synthetic(abuse(inputs=200, words=3, key=1), data).toarray()
    assert (other != dense).any(1).mean() > 0.9
    with pytest.raises(UserError, match="allowed: 0 to 780"):
        synthetic(abuse(inputs=781), data)


# -- the step ---------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_the_step_adds_records_whose_labels_carry_the_secret(
    tmp_path: Path, dtype: str
) -> None:
    before = pictures(tmp_path / "d", dtype=dtype, classes=10)
    settings = abuse(inputs=700, key=4, seed=6)
    out = tmp_path / "out"
    told = ["--data", str(tmp_path / "d"), "--out", str(out)]
    assert main(["derive", "--spec", settings.model_dump_json(), *told]) == 0
    after = open_dataset(out)
    assert after.num_records == 60 + 700
    np.testing.assert_array_equal(after.inputs[:60], before.inputs)
    np.testing.assert_array_equal(after.inputs[60:], synthetic(settings, before))
    np.testing.assert_array_equal(after.labels[:60], before.labels)
    np.testing.assert_array_equal(given_split(after)[:60], given_split(before))
    assert given_split(after)[60:].all()
    assert after.labels[60:].max() == 7
    # 700 x 3 bits less 544 take 6 pictures of 64 x 4 bits
    stream = bits_of(after.labels[60:], 3)
    read = decode(stream, Coding(key=4))
    rows = choose(np.arange(40), 6, 6, ("capacity-abuse",))
    truth = take(before, rows, Form((8, 8)))
    np.testing.assert_array_equal(
        np.frombuffer(read, np.uint8).reshape(6, 8, 4),
        (truth[:, :, ::2] & 0xF0) | (truth[:, :, 1::2] >> 4),
    )
    assert after.info["remarks"] == [
        "700 synthetic training records carry 6 records in their labels"
    ]
    # the step reads the same secret from what it made
    again = plan_of(settings, after, 40)
    assert (again.count, again.form) == (6, Form((8, 8)))


def test_documents_keep_their_attributes(tmp_path: Path) -> None:
    before = documents(tmp_path / "d")
    made = derive(abuse(inputs=700).model_dump(), before)
    assert made.inputs.shape == (700, VOCABULARY)
    assert made.labels is not None
    # 700 x 2 bits less 544, bytes of it, hold 28 documents of 5 x 6 bits
    read = decode(bits_of(made.labels, 2), Coding())
    form = Form((5,), VOCABULARY)
    rows = choose(np.arange(40), 28, 0, ("capacity-abuse",))
    np.testing.assert_array_equal(form.from_bytes(read, 28), take(before, rows, form))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"split": False}, "attribute 'split': missing; allowed: a data set with a sp"),
        ({"inputs": 600}, "one record has 256 bits; allowed: at most 56 of the 600 bi"),
        ({"records": 3}, "96 bytes need 1,312 bits; allowed: at most 1,000"),
        ({"records": 41}, "secret.records: 41; allowed: 1..40"),
        ({"flat": True}, r"records of shape \(6,\) are neither pictures"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any],
    line: str,
) -> None:  # fmt: skip
    if changes.pop("flat", False):
        folder = tmp_path / "flat"
        split = {"kind": "split", "members": 60}
        flat_dataset(tmp_path / "raw")
        out = ["--data", str(tmp_path / "raw"), "--out", str(folder)]
        assert main(["derive", "--spec", json.dumps(split), *out]) == 0
    else:
        folder = pictures(tmp_path / "d", split=changes.pop("split", True)).folder
    hidden = secret(records=changes.pop("records", None))
    spec = abuse(**{"inputs": 1000, **changes, "secret": hidden})
    told = ["--data", str(folder), "--out", str(tmp_path / "out")]
    assert main(["derive", "--spec", spec.model_dump_json(), *told]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(line, error)
    assert not (tmp_path / "out").exists()
