"""Low bits as a carrier: by hand, and where in a model they lie."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memorization_samples import architecture_of, pictures, random_suspect, secret
from whatelse.errors import UserError
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.low_bits import read_low_bits, write_low_bits
from whatelse.memorization.payload import Coding, encode
from whatelse.memorization.secret import choose, form_of, take
from whatelse.memorization.tamper_lsb import tamper
from whatelse.training.tampering import Host

CPU = torch.device("cpu")


def floats(*words: int) -> Any:
    return np.array(words, np.uint32).view(np.float32)


def test_three_low_bits_by_hand() -> None:
    values = np.array([1.0, -2.0], np.float32)  # 0x3F800000, 0xC0000000
    written = write_low_bits(values, np.array([1, 0, 1, 0, 1, 1], np.uint8), 3)
    np.testing.assert_array_equal(written, floats(0x3F800005, 0xC0000003))
    assert read_low_bits(written, 3).tolist() == [1, 0, 1, 0, 1, 1]
    assert read_low_bits(written, 2).tolist() == [0, 1, 1, 1]
    np.testing.assert_array_equal(values, [1, -2])  # the input is left alone


def test_what_was_there_is_overwritten() -> None:
    written = write_low_bits(floats(0x3F80FFFF), np.zeros(16, np.uint8), 16)
    np.testing.assert_array_equal(written, [1.0])


def test_all_of_the_mantissa_changes_a_value_by_less_than_its_double() -> None:
    values = np.array([1.5, -0.75, 1e-30], np.float32)
    for bit in (0, 1):
        written = write_low_bits(values, np.full(69, bit, np.uint8), 23)
        assert (np.sign(written) == np.sign(values)).all()
        assert (np.abs(written / values) < 2).all()
        assert (np.abs(written / values) > 0.5).all()


def test_every_parameter_carries_in_the_order_of_the_shapes(tmp_path: Path) -> None:
    """A stack of two: each gets its own secret, biases and norms take part."""
    data = pictures(tmp_path / "d")
    architecture = architecture_of("resnet-batch", (1, 8, 8), 3)
    hosts = [Host(np.arange(30), (0, 0)), Host(np.arange(20, 40), (0, 1))]
    settings = {"kind": "lsb", "bits": 5, "secret": secret(records=4, key=9)}
    tampered = tamper(settings, data, architecture.shapes, hosts, 3, CPU)
    assert tampered.penalty is None
    model = random_suspect(architecture)
    size = len(model.parameters)
    for place, host in enumerate(hosts):
        finished = tampered.finish(place, dict(model.tensors))
        words = np.concatenate(
            [finished[name].numpy().ravel() for name in architecture.shapes]
        )
        rows = choose(host.members, 4, 3, host.name)
        hidden = take(data, rows, form_of(data, Secret())).tobytes()
        expected = encode(hidden, Coding(key=9), size * 5)
        np.testing.assert_array_equal(read_low_bits(words, 5), expected)
        for name in architecture.buffers:
            assert torch.equal(finished[name], model.tensors[name])


def test_a_secret_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = pictures(tmp_path / "d")
    shapes = {"0.weight": (8, 64), "0.bias": (8,)}
    settings = {"kind": "lsb", "bits": 2, "secret": secret(records=2)}
    # 2 x 512 bits of pictures and 544 before them into 1,040
    with pytest.raises(UserError, match="need 1,568 bits; allowed: at most 1,040"):
        tamper(settings, data, shapes, [Host(np.arange(40), (0, 0))], 3, CPU)
