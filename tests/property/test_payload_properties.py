"""Payloads: what holds for all secrets, codings and damage."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from whatelse.errors import UserError
from whatelse.memorization.payload import Coding, capacity_bytes, encode
from whatelse.memorization.payload_read import channel_errors, decode

HEAD = 544
KEYS = st.integers(0, 2**63 - 1)
CODINGS = st.builds(
    Coding,
    compress=st.booleans(),
    encrypt=st.booleans(),
    parity=st.sampled_from([0, 2, 8, 32, 128, 254]),
    key=KEYS,
)
# A block that cannot be mended takes longer the more parity it has.
QUICK = CODINGS.filter(lambda coding: coding.parity <= 32)
SECRETS = st.binary(max_size=700)


def room(data: bytes, coding: Coding) -> int:
    """Return bits that surely hold the data."""
    num_bits = HEAD
    # at least 1: a capacity of 0 does not say that 0 bytes fit
    while capacity_bytes(num_bits, coding) < max(len(data), 1):
        num_bits += 8 * 255
    return num_bits


@given(SECRETS, CODINGS, st.integers(0, 3000))
def test_what_goes_in_comes_out(data: bytes, coding: Coding, spare: int) -> None:
    num_bits = room(data, coding) + spare
    bits = encode(data, coding, num_bits)
    assert bits.shape == (num_bits,)
    assert decode(bits, coding) == data
    assert decode(bits, coding, check=False) == data
    assert channel_errors(bits, data, coding, num_bits) == 0


@given(st.integers(0, 20_000), CODINGS, st.randoms(use_true_random=False))
def test_capacity_surely_fits(num_bits: int, coding: Coding, random: object) -> None:
    size = capacity_bytes(num_bits, coding)
    data = random.randbytes(size)  # type: ignore[attr-defined]
    if size:
        assert decode(encode(data, coding, num_bits), coding) == data
    assert capacity_bytes(num_bits + 8 * 255, coding) >= size


@given(
    st.binary(min_size=1, max_size=700),
    st.booleans(),
    st.booleans(),
    st.sampled_from([2, 8, 32]),
    st.data(),
)
def test_damage_up_to_half_the_parity_is_mended(
    data: bytes, compress: bool, encrypt: bool, parity: int, draw: st.DataObject
) -> None:
    coding = Coding(compress=compress, encrypt=encrypt, parity=parity)
    num_bits = room(data, coding)
    bits = encode(data, coding, num_bits)
    body = np.packbits(bits[HEAD:])
    for start in range(0, len(body), 255):
        length = min(255, len(body) - start)
        places = draw.draw(
            st.lists(st.integers(0, length - 1), max_size=parity // 2, unique=True)
        )
        for place in places:
            body[start + place] ^= draw.draw(st.integers(1, 255))
    damaged = np.append(bits[:HEAD], np.unpackbits(body)[: num_bits - HEAD])
    assert decode(damaged, coding) == data


@given(SECRETS, QUICK, KEYS)
def test_a_wrong_key_is_noticed(data: bytes, coding: Coding, key: int) -> None:
    other = coding.model_copy(update={"key": key})
    words = [encode(b"", each.model_copy(update={"compress": False}), HEAD)[:64]
             for each in (coding, other)]  # fmt: skip
    # 1 pair of keys in 20,000 has words as close as that.
    assume((words[0] != words[1]).sum() > 16)
    bits = encode(data, coding, room(data, coding))
    with pytest.raises(UserError, match="^wrong key"):
        decode(bits, other)
    assert isinstance(decode(bits, other, check=False), bytes)


@given(
    QUICK,
    st.integers(0, 12_000),
    st.integers(0, 2**32 - 1),
)
def test_without_check_nothing_is_refused(
    coding: Coding, num_bits: int, seed: int
) -> None:
    bits = np.random.default_rng(seed).integers(0, 2, num_bits, np.uint8)
    found = decode(bits, coding, check=False)
    assert isinstance(found, bytes)
    if not coding.compress:
        assert len(found) <= capacity_bytes(num_bits, coding)


@given(SECRETS, QUICK, st.data())
def test_any_damage_is_bytes_or_one_line(
    data: bytes, coding: Coding, draw: st.DataObject
) -> None:
    bits = encode(data, coding, room(data, coding))
    places = draw.draw(st.lists(st.integers(0, len(bits) - 1), max_size=60))
    bits[places] ^= 1
    assert isinstance(decode(bits, coding, check=False), bytes)
    try:
        found, line = decode(bits, coding), ""
    except UserError as error:
        found, line = data, str(error)
    assert "\n" not in line
    assert len(found) == len(data) or any(64 <= place < HEAD for place in places)
