import struct
import zlib

import numpy as np
import pytest
import reedsolo
from pydantic import ValidationError

from whatelse.errors import UserError
from whatelse.memorization.payload import Coding, capacity_bytes, encode
from whatelse.memorization.payload_read import channel_errors, decode
from whatelse.seeding import stream

SECRET = b"What else has the model learned? " * 20
HEAD = 64 + 5 * 96


def flipped(bits, *places):
    damaged = bits.copy()
    damaged[list(places)] ^= 1
    return damaged


def test_layout_by_hand():
    bits = encode(b"\x80\x01", Coding(), HEAD + 16 + 5)
    assert bits.dtype == np.uint8
    copy = struct.pack(">III", 2, 2, zlib.crc32(b"\x80\x01"))
    found = np.packbits(bits[64:HEAD]).tobytes()
    assert found == copy * 5
    body = [1, 0, 0, 0, 0, 0, 0, 0] + [0, 0, 0, 0, 0, 0, 0, 1]
    assert bits[HEAD:].tolist() == body + body[:5]  # and again, to the end


def test_sync_word_is_the_keys():
    first, second = (encode(b"", Coding(key=key), HEAD)[:64] for key in (3, 4))
    np.testing.assert_array_equal(first, encode(b"", Coding(key=3), HEAD)[:64])
    assert 16 < (first != second).sum() < 48


def test_encryption_is_aes_256_in_counter_mode():
    # RFC 5869 and NIST SP 800-38A, spelled out with one block at a time.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    def of(coding):
        return np.packbits(encode(SECRET, coding, 8000)[64:])

    keystream = of(Coding(key=5)) ^ of(Coding(key=5, encrypt=True))
    material = HKDF(SHA256(), 48, None, b"whatelse payload").derive(
        bytes([0] * 7 + [5])
    )
    block = Cipher(algorithms.AES256(material[:32]), modes.ECB()).encryptor()
    counter = int.from_bytes(material[32:], "big")
    for number in range(3):
        plain = ((counter + number) % 2**128).to_bytes(16, "big")
        at = slice(16 * number, 16 * number + 16)
        assert keystream[at].tobytes() == block.update(plain)


def test_room_that_is_left_repeats_the_body():
    plain, hidden = (encode(b"a", Coding(encrypt=e), 40_000) for e in (False, True))
    assert np.packbits(plain[HEAD:]).tobytes() == b"a" * ((40_000 - HEAD) // 8)
    assert not encode(b"", Coding(), 900)[HEAD:].any()
    assert abs(hidden[HEAD + 8 :].mean() - 0.5) < 0.02


@pytest.mark.parametrize("length", [0, 1, 222, 223, 224, 446, 1000])
def test_parity_is_that_of_reedsolo(length):
    data = stream(0, "data").bytes(length)
    expected = bytes(reedsolo.RSCodec(32).encode(data)) if length else b""
    bits = encode(data, Coding(parity=32), HEAD + 8 * len(expected))
    assert np.packbits(bits[HEAD:]).tobytes() == expected


@pytest.mark.parametrize(
    ("bits", "coding", "expected"),
    [
        (0, Coding(), 0),
        (HEAD, Coding(), 0),
        (HEAD + 7, Coding(), 0),
        (HEAD + 8, Coding(), 1),
        (HEAD + 8 * 255, Coding(parity=32), 223),
        (HEAD + 8 * (255 + 32), Coding(parity=32), 223),
        (HEAD + 8 * (255 + 33), Coding(parity=32), 224),
        (HEAD + 8 * 255 * 3, Coding(parity=254), 3),
        (HEAD + 8 * 113, Coding(compress=True), 100),
        (HEAD + 8 * 12, Coding(compress=True), 0),
    ],
)
def test_capacity_by_hand(bits, coding, expected):
    assert capacity_bytes(bits, coding) == expected


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("parity", [0, 32])
def test_as_much_as_the_capacity_fits_and_no_more(compress, parity):
    coding = Coding(compress=compress, parity=parity)
    size = capacity_bytes(90_000, coding)
    data = stream(1, "data").bytes(size + 300)
    assert decode(encode(data[:size], coding, 90_000), coding) == data[:size]
    with pytest.raises(UserError, match="secret: "):
        encode(data, coding, 90_000)


def test_too_large_a_secret_is_refused_in_one_line():
    with pytest.raises(UserError) as error:
        encode(bytes(12_000), Coding(), 90_000)
    assert str(error.value) == (
        "secret: 12,000 bytes need 96,544 bits; allowed: at most 90,000 (fewer "
        "records, or fewer bits for each)"
    )
    # Zeros compress well.
    coding = Coding(compress=True)
    assert decode(encode(bytes(12_000), coding, 90_000), coding) == bytes(12_000)


def test_damage_of_one_bit_is_one_bit():
    for coding in (Coding(key=1), Coding(key=1, encrypt=True)):
        bits = flipped(encode(SECRET, coding, 9000), HEAD + 8 * 3 + 7)
        expected = SECRET[:3] + bytes([SECRET[3] ^ 1]) + SECRET[4:]
        assert decode(bits, coding) == expected


def test_lengths_survive_two_damaged_copies_of_the_header():
    coding = Coding(encrypt=True)
    bits = encode(SECRET, coding, 9000)
    with pytest.raises(UserError, match="payload: its header tells of"):
        decode(flipped(bits, *range(64, 64 + 3 * 96)), coding)


def test_sync_word_tolerates_a_quarter():
    bits = encode(SECRET, Coding(key=7), 9000)
    assert decode(flipped(bits, *range(16)), Coding(key=7)) == SECRET
    with pytest.raises(UserError, match="^wrong key .* 17 of the 64 .* at most 16$"):
        decode(flipped(bits, *range(17)), Coding(key=7))
    with pytest.raises(UserError, match="^wrong key"):
        decode(bits, Coding(key=8))


def test_a_short_carrier_is_refused():
    with pytest.raises(UserError, match="543 bits; allowed: at least 544"):
        decode(np.zeros(HEAD - 1, np.uint8), Coding())
    assert decode(np.zeros(HEAD - 1, np.uint8), Coding(), check=False) == b""
    with pytest.raises(UserError, match="secret: 0 bytes need 544 bits"):
        encode(b"", Coding(), 0)


def test_parity_mends_half_its_bytes_in_each_block():
    coding = Coding(parity=8)
    data = stream(2, "data").bytes(247 + 10)
    bits = encode(data, coding, HEAD + 8 * (255 + 18))
    body = np.packbits(bits[HEAD:])
    body[[0, 100, 250, 254, 255, 256, 264, 272]] ^= 0xFF  # 4 in either block
    assert decode(np.append(bits[:HEAD], np.unpackbits(body)), coding) == data
    body[[1, 2, 3]] ^= 0xFF  # 7 in the first: left as it is, the second mended
    found = decode(np.append(bits[:HEAD], np.unpackbits(body)), coding)
    assert found[247:] == data[247:]
    wrong = np.flatnonzero(np.frombuffer(found, np.uint8) != np.frombuffer(data, "u1"))
    assert wrong.tolist() == [0, 1, 2, 3, 100]


def test_damage_under_compression():
    coding = Coding(compress=True)
    bits = encode(SECRET, coding, 9000)
    for place in (HEAD + 20, HEAD + 150):
        with pytest.raises(
            UserError, match="^payload: damaged beyond repair: "
        ) as error:
            decode(flipped(bits, place), coding)
        assert "\n" not in str(error.value)
    mended = Coding(compress=True, parity=2)
    bits = encode(SECRET, mended, 9000)
    assert decode(flipped(bits, HEAD + 150), mended) == SECRET


def test_without_check_the_start_of_a_compressed_secret_is_kept():
    coding = Coding(compress=True)
    data = stream(3, "data").bytes(5000)
    bits = encode(data, coding, 50_000)
    body = HEAD + 8 * len(zlib.compress(data, 9))
    found = decode(flipped(bits, body - 1), coding, check=False)
    assert len(found) > 4800
    assert found == data[: len(found)]


@pytest.mark.parametrize("encrypt", [False, True])
def test_without_check_an_empty_carrier_gives_bytes(encrypt):
    bits = stream(4, "bits").integers(0, 2, 9001, np.uint8)
    coding = Coding(encrypt=encrypt, key=2**63 - 1)
    assert len(decode(bits, coding, check=False)) == (9001 - HEAD) // 8
    # The header is nonsense, yet what was written is read.
    written = encode(bytes(100), Coding(), HEAD + 800)
    assert decode(flipped(written, 64, 160, 256), Coding(), check=False) == bytes(100)


def test_channel_errors_count_what_carries():
    coding = Coding(encrypt=True)
    bits = encode(b"four", coding, 1000)
    used = HEAD + 32
    assert channel_errors(bits, b"four", coding, 1000) == 0
    damaged = flipped(bits, 0, 70, HEAD, used, 999)  # the last two carry nothing
    assert channel_errors(damaged, b"four", coding, 1000) == 3 / used
    assert channel_errors(1 - bits, b"four", coding, 1000) == 1
    with pytest.raises(ValueError, match="found_bits: must be 1000, are 999"):
        channel_errors(bits[1:], b"four", coding, 1000)


def test_bits_may_be_booleans_and_nothing_but_bits():
    bits = encode(b"four", Coding(), 1000)
    assert decode(bits.astype(bool), Coding()) == b"four"
    assert decode(bits.astype(np.int64).tolist(), Coding()) == b"four"
    with pytest.raises(ValueError, match="bits: must be 0 or 1"):
        decode(2 * bits, Coding())
    with pytest.raises(ValueError, match="bits: must be a vector"):
        decode(bits[None], Coding())


@pytest.mark.parametrize(
    "fields",
    [{"parity": 3}, {"parity": 256}, {"parity": -2}, {"key": -1}, {"key": 2**63},
     {"compress": 1}, {"salt": 0}],
)  # fmt: skip
def test_codings_that_are_refused(fields):
    with pytest.raises(ValidationError):
        Coding(**fields)
