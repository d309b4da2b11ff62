"""Carriers: what is written into a model's file comes out of it, bit by bit."""

import itertools
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memorization_samples import (
    ARCHITECTURES,
    architecture_of,
    classes_of,
    pictures,
    random_suspect,
    record_of,
    secret,
)
from whatelse.datasets.store import Dataset
from whatelse.memorization.capacity_abuse import bits_of, labels_of
from whatelse.memorization.low_bits import read_low_bits, write_low_bits
from whatelse.memorization.readers import reader_of
from whatelse.memorization.suspect import load_suspects
from whatelse.models.settings import ArchitectureSettings
from whatelse.training.blocks import save_block
from whatelse.training.plan import draw_plan
from whatelse.training.tampering import Host, tampering

SHAPE, CLASSES, SEED = (3, 12, 12), 3, 4
CODINGS = st.fixed_dictionaries(
    {
        "compress": st.booleans(),
        "encrypt": st.booleans(),
        "parity": st.sampled_from([0, 2, 16]),
        "key": st.integers(0, 2**63 - 1),
    }
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pictures(tmp_path_factory.mktemp("data") / "toy", shape=SHAPE)


def words_of(values: torch.Tensor) -> Any:
    return values.numpy().view(np.uint32)


def check_round_trip(
    name: str, bits: int, coding: dict[str, Any], data: Dataset, folder: Path
) -> None:
    """Hide two secrets in two models of a stack, save, load and read them."""
    architecture = architecture_of(name, SHAPE, CLASSES)
    models = [random_suspect(architecture, seed) for seed in range(2)]
    plan = draw_plan(
        data.labels, range(2), members=12, non_members=None, seed=1, replicate=0
    )
    members = [np.flatnonzero(row) for row in plan.train]
    hosts = [Host(own, (0, number)) for number, own in enumerate(members)]
    carrier = {"kind": "lsb", "bits": bits, "secret": secret(size=4, **coding)}
    tampered = tampering(
        carrier, data, architecture.shapes, hosts, seed=SEED,
        device=torch.device("cpu"),
    )  # fmt: skip
    finished = [
        tampered.finish(place, dict(model.tensors))
        for place, model in enumerate(models)
    ]
    save_block(
        folder,
        description={
            "architecture": ARCHITECTURES[name], "classes": classes_of(name, CLASSES),
            **record_of(name, SHAPE),
        },
        plan=plan,
        parameters={n: torch.stack([m[n] for m in finished]) for n in finished[0]},
    )  # fmt: skip
    _, found = load_suspects(folder)
    for number, (model, before) in enumerate(zip(found, models, strict=True)):
        reader = reader_of(
            carrier, data, members[number], model, seed=SEED, name=(0, number)
        )
        stream = reader.bits(model, coding["key"])
        assert stream is not None
        assert reader.errors(stream) == 0
        decoded = reader.decode(model, stream, coding["key"], check=True)["bits"]
        np.testing.assert_array_equal(decoded, reader.written.records, strict=True)
        assert len(decoded) >= 1
        assert set(model.tensors) == set(before.tensors)
        for part, tensor in model.tensors.items():
            # all of a buffer, and what lies above the low bits of a parameter
            kept = 0 if part in architecture.buffers else bits
            old, new = words_of(before.tensors[part]), words_of(tensor)
            np.testing.assert_array_equal(new >> kept, old >> kept)


def test_every_kind_of_architecture_has_a_sample() -> None:
    kinds = get_args(get_args(ArchitectureSettings)[0])
    assert {own["kind"] for own in ARCHITECTURES.values()} == {
        get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds
    }


@pytest.mark.parametrize("bits", range(1, 24))
def test_low_bits_come_out_in_every_coding(
    bits: int, data: Dataset, tmp_path: Path
) -> None:
    """Every b with compression, encryption and error correction on and off."""
    for way, on in enumerate(itertools.product((False, True), repeat=3)):
        compress, encrypt, parity = on
        coding = {
            "compress": compress, "encrypt": encrypt, "parity": 16 * parity, "key": way,
        }  # fmt: skip
        check_round_trip("regression", bits, coding, data, tmp_path / "b")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_low_bits_come_out_of_the_file_of_any_architecture(
    name: str, data: Dataset, tmp_path: Path
) -> None:
    """Every b, with all ways to code in turn."""
    first = list(ARCHITECTURES).index(name)
    for bits in range(1, 24):
        way = bits + first
        coding = {
            "compress": bool(way & 1), "encrypt": bool(way & 2),
            "parity": (0, 16)[way >> 2 & 1], "key": way,
        }  # fmt: skip
        check_round_trip(name, bits, coding, data, tmp_path / "b")


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(list(ARCHITECTURES)), st.integers(1, 23), CODINGS)
def test_low_bits_come_out_of_any_file_however_coded(
    data: Dataset, tmp_path: Path, name: str, bits: int, coding: dict[str, Any]
) -> None:
    check_round_trip(name, bits, coding, data, tmp_path / "b")


@given(st.data(), st.integers(1, 31))
def test_low_bits_leave_the_high_ones(data: st.DataObject, bits: int) -> None:
    words = data.draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
    size = len(words) * bits
    told = data.draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
    values = np.array(words, np.uint32).view(np.float32)
    stream = np.array(told, np.uint8)
    written = write_low_bits(values, stream, bits)
    np.testing.assert_array_equal(read_low_bits(written, bits), stream)
    np.testing.assert_array_equal(
        written.view(np.uint32) >> bits, np.array(words, np.uint32) >> bits
    )
    if bits <= 23:
        finite = np.isfinite(values)
        assert np.isfinite(written[finite]).all()


@given(st.integers(1, 10), st.integers(1, 30), st.randoms(use_true_random=False))
def test_labels_carry_bits(label_bits: int, count: int, random: Any) -> None:
    stream = np.array([random.getrandbits(1) for _ in range(count * label_bits)])
    labels = labels_of(stream.astype(np.uint8), label_bits)
    assert labels.shape == (count,)
    assert 0 <= labels.min() <= labels.max() < 2**label_bits
    np.testing.assert_array_equal(bits_of(labels, label_bits), stream)
    # a class that no stream names reads as the one that it wraps around to
    np.testing.assert_array_equal(bits_of(labels + 2**label_bits, label_bits), stream)
