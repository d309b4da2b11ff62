"""The secret: which records, in which form, and how many fit."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from memorization_samples import VOCABULARY, documents
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.payload import Coding
from whatelse.memorization.secret import Form, choose, count_in_bits, form_of, take

PICTURE, DOCUMENT = Form((2, 3)), Form((5,), VOCABULARY)


def test_sizes_by_hand() -> None:
    assert (PICTURE.bits(), PICTURE.bits(4), PICTURE.values) == (48, 24, 6)
    # 41 codes, the empty slot's among them, take 6 bits; 20 values a token
    assert (DOCUMENT.bits(), DOCUMENT.values) == (30, 100)
    assert DOCUMENT.is_text
    assert not PICTURE.is_text


def test_pictures_as_bytes_and_back() -> None:
    records = np.array([[[0, 255, 16], [17, 128, 127]]], np.uint8)
    assert PICTURE.to_bytes(records) == bytes([0, 255, 16, 17, 128, 127])
    assert PICTURE.to_bytes(records, 4) == bytes([0x0F, 0x11, 0x87])
    np.testing.assert_array_equal(
        PICTURE.from_bytes(b"\x0f\x11\x87", 1, 4),
        [[[8, 248, 24], [24, 136, 120]]],
    )
    # what is missing is black, what is too much is not read
    np.testing.assert_array_equal(
        PICTURE.from_bytes(bytes([9, 8, 7]), 1), [[[9, 8, 7], [0, 0, 0]]]
    )
    assert PICTURE.from_bytes(bytes(99), 2).shape == (2, 2, 3)


def test_documents_as_bytes_and_back() -> None:
    records = np.array([[0, 39, 7, -1, -1]], np.int32)
    data = DOCUMENT.to_bytes(records)
    # 000000 100111 000111 101000 101000 and two bits to fill
    assert data == bytes([0b00000010, 0b01110001, 0b11101000, 0b10100000])
    np.testing.assert_array_equal(DOCUMENT.from_bytes(data, 1), records)
    # a word of which bits are missing is none
    np.testing.assert_array_equal(
        DOCUMENT.from_bytes(data[:2], 1), [[0, 39, -1, -1, -1]]
    )


def test_colours_become_grey_and_pictures_smaller(tmp_path: Path) -> None:
    inputs = np.zeros((8, 3, 8, 8), np.uint8)
    inputs[0, 0], inputs[1, 1], inputs[2, 2] = 255, 255, 255
    inputs[3, :, :4] = 200  # the upper half
    write_dataset(
        tmp_path / "d",
        inputs=inputs,
        labels=np.arange(8) % 2,
        info={"name": "c", "title": "C", "class_names": ["a", "b"], "scale": 1 / 255},
        settings={},
    )
    data = open_dataset(tmp_path / "d")
    small = Secret(size=4)
    assert form_of(data, Secret()).shape == (8, 8)
    assert form_of(data, small).shape == (4, 4)
    found = take(data, np.array([2, 0, 1, 3]), form_of(data, small))
    assert found.dtype == np.uint8
    # .114, .299 and .587 of 255, in the order asked for
    assert [int(own[0, 0]) for own in found] == [29, 76, 150, 200]
    assert found[3].tolist() == [[200] * 4] * 2 + [[0] * 4] * 2


def test_documents_are_taken_in_order_and_short_ones_end_empty(tmp_path: Path) -> None:
    data = documents(tmp_path / "d")
    form = form_of(data, Secret())
    assert form == Form((5,), VOCABULARY)
    found = take(data, np.array([2, 0]), form)
    tokens = data.attributes["tokens"]
    assert found.dtype == np.int32
    assert found[0].tolist() == [*tokens.iloc[2], -1, -1, -1]
    assert found[1].tolist() == list(tokens.iloc[0])


def test_measurements_are_no_secret(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "d",
        inputs=np.zeros((6, 5), np.float32),
        labels=np.arange(6) % 2,
        info={"name": "f", "title": "F", "class_names": ["a", "b"]},
        settings={},
    )
    with pytest.raises(UserError, match=r"records of shape \(5,\) are neither"):
        form_of(open_dataset(tmp_path / "d"), Secret())


def test_the_lot_falls_by_name() -> None:
    members = np.arange(100, 150)
    chosen = choose(members, 20, 5, (0, 1))
    assert len(set(chosen.tolist())) == 20
    assert set(chosen.tolist()) <= set(members.tolist())
    # fewer of them are the first of them
    np.testing.assert_array_equal(choose(members, 7, 5, (0, 1)), chosen[:7])
    assert choose(members, 20, 5, (1, 1)).tolist() != chosen.tolist()
    assert choose(members, 20, 6, (0, 1)).tolist() != chosen.tolist()
    assert sorted(choose(members, 50, 5, (0, 1))) == members.tolist()
    with pytest.raises(UserError, match=r"51; allowed: 1..50, the training records"):
        choose(members, 51, 5, (0, 1))


@pytest.mark.parametrize(
    ("bits", "available", "asked", "count"),
    [
        (544 + 3 * 48, 10, None, 3),
        (544 + 3 * 48 + 47, 10, None, 3),
        (544 + 48, 10, None, 1),
        (10**6, 10, None, 10),
        (544 + 48, 10, 7, 7),  # what is asked for is for the encoder to refuse
    ],
)
def test_how_many_fit_by_hand(
    bits: int, available: int, asked: int | None, count: int
) -> None:
    secret = Secret(records=asked)
    assert count_in_bits(secret, PICTURE, bits, available) == count


def test_half_the_bits_a_pixel_fit_twice() -> None:
    assert count_in_bits(Secret(), PICTURE, 544 + 96, 99, 8) == 2
    assert count_in_bits(Secret(), PICTURE, 544 + 96, 99, 4) == 4


def test_not_one_that_fits_is_refused() -> None:
    with pytest.raises(UserError, match="one record has 48 bits; allowed: at most 40"):
        count_in_bits(Secret(), PICTURE, 544 + 47, 9)
    # 3 of 5 bytes would be parity
    with pytest.raises(UserError, match="allowed: at most 8 of the 584 bits"):
        count_in_bits(Secret(coding=Coding(parity=4)), PICTURE, 584, 9)


def test_added_records_have_no_tokens_and_do_not_count(tmp_path: Path) -> None:
    """Behind capacity abuse's synthetic records nothing is said of words."""
    whole = documents(tmp_path / "d")
    tokens = [*whole.attributes["tokens"][:-2], None, None]
    write_dataset(
        tmp_path / "more",
        inputs=whole.inputs,
        labels=whole.labels,
        info=whole.info,
        settings={},
        attributes={"tokens": tokens},
    )
    data = open_dataset(tmp_path / "more")
    assert pd.isna(data.attributes["tokens"].iloc[-1])
    assert form_of(data, Secret()) == Form((5,), VOCABULARY)
