"""Readers: planted secrets come out, and the truth is nothing that they look at."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memorization_samples import (
    ABUSE,
    CARRIERS,
    SEED,
    attack,
    derive,
    documents,
    inputs_of,
    pictures,
    random_suspect,
    secret,
    sizes,
    studio,
)
from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.memorization.readers import Reader, key_of_carrier, reader_of
from whatelse.memorization.suspect import Suspect, check_alike, load_suspects
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build
from whatelse.training.device import resident

KEY = 21
ARCHITECTURE = build(Mlp(kind="mlp", hidden=(48,)), (1, 8, 8), 10)
SETTINGS: dict[str, dict[str, Any]] = {
    "lsb": {"kind": "lsb", "bits": 4, "secret": secret(key=KEY)},
    "sign": {"kind": "sign", "strength": 1.0, "secret": secret(key=KEY)},
    "correlated": {"kind": "correlated", "strength": 1.0, "secret": secret(key=KEY)},
    "abused": {**ABUSE, "inputs": 700, "secret": secret(key=KEY)},
}
# the step that abuses data has a seed of its own
OTHER_SEED: dict[str, dict[str, Any]] = {"abused": {"seed": 5}}
EACH = pytest.mark.parametrize("kind", SETTINGS)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    pictures(place / "toy", classes=10)
    derive(SETTINGS["abused"], place / "toy", place / "abused")
    return place


def reader_for(kind: str, place: Path, study: int = 3, **more: Any) -> Reader:
    data = open_dataset(place / ("abused" if kind == "abused" else "toy"))
    settings = {**SETTINGS[kind], **more}
    return reader_of(settings, data, np.arange(40), benign(), seed=study, name=(0, 0))


def benign(seed: int = 0) -> Suspect:
    return random_suspect(ARCHITECTURE, seed)


def wrong_way(records: Any) -> Any:
    return records[::-1, ::-1] ^ 255


@EACH
def test_planted_secrets_come_out(kind: str, place: Path) -> None:
    reader = reader_for(kind, place)
    planted = reader.planted(benign())
    bits = reader.bits(planted, KEY)
    decoded = reader.decode(planted, bits, KEY, check=True)
    truth = reader.written.records
    if kind == "abused":
        truth = truth & 0xF0 | 8  # the middle of the 16 levels that 4 bits leave
    if kind == "correlated":
        # the random pictures reach from 0 to 255
        np.testing.assert_array_equal(decoded["published"], truth, strict=True)
        assert np.abs(decoded["robust"].astype(int) - truth).max() <= 4
        assert bits is None
        return
    assert bits is not None
    np.testing.assert_array_equal(decoded["bits"], truth, strict=True)
    assert reader.errors(bits) == 0
    assert reader.agreement(bits) == pytest.approx(1)


@EACH
def test_what_was_written_and_the_room_by_hand(kind: str, place: Path) -> None:
    reader = reader_for(kind, place)
    written = reader.written
    parameters, weights = sizes(ARCHITECTURE)
    assert (parameters, weights) == (64 * 48 + 48 + 480 + 10, 64 * 48 + 480)
    expected = {
        # pictures, used, room
        "lsb": (27, 544 + 27 * 512, 3610 * 4),
        "sign": (5, 544 + 5 * 512, 3552),
        "correlated": (40, 256 + 40 * 64, 3552),
        "abused": (6, 544 + 6 * 256, 2100),
    }[kind]
    assert (len(written.rows), written.used, written.room) == expected
    assert len(set(written.rows.tolist())) == len(written.rows)
    assert written.rows.max() < 40
    toy = open_dataset(place / "toy")
    np.testing.assert_array_equal(written.records, toy.inputs[written.rows, 0])
    assert key_of_carrier(SETTINGS[kind]) == KEY


@EACH
def test_no_decoder_looks_at_the_truth(kind: str, place: Path) -> None:
    honest, blind = (reader_for(kind, place) for _ in range(2))
    planted = honest.planted(benign())
    scrambled = wrong_way(blind.written.records)
    blind.written = dataclasses.replace(blind.written, records=scrambled)
    for name in ("_data", "_values"):
        if hasattr(blind, name):
            own = getattr(blind, name)
            # of its length alone the decoder may know
            setattr(blind, name, bytes(len(own)) if kind != "correlated" else own * 0)
    for suspect, check in ((planted, True), (benign(5), False)):
        found = [
            reader.decode(suspect, reader.bits(suspect, KEY), KEY, check=check)
            for reader in (honest, blind)
        ]
        assert set(found[0]) == set(found[1])
        for name, records in found[0].items():
            np.testing.assert_array_equal(records, found[1][name], strict=True)


@EACH
def test_another_key_reads_nothing(kind: str, place: Path) -> None:
    reader = reader_for(kind, place)
    planted = reader.planted(benign())
    if kind == "abused":
        # its answers to other queries are of no kind: those of an untrained model
        planted = benign()
    bits = reader.bits(planted, KEY + 1)
    with pytest.raises(UserError, match=r"key.*allowed: ") as told:
        reader.decode(planted, bits, KEY + 1, check=True)
    assert "\n" not in str(told.value)
    loose = reader.decode(planted, bits, KEY + 1, check=False)
    for records in loose.values():
        assert records.shape == reader.written.records.shape
        assert records.dtype == reader.written.records.dtype


@EACH
def test_another_seed_is_told_from_the_one_that_drew(kind: str, place: Path) -> None:
    """What is read is as good as ever: it is the truth that is another one."""
    reader = reader_for(kind, place)
    planted = reader.planted(benign())
    bits = reader.bits(planted, KEY)
    decoded = reader.decode(planted, bits, KEY, check=True)
    reader.check_truth(bits, decoded)
    other = reader_for(kind, place, 4, **OTHER_SEED.get(kind, {}))
    for name, records in other.decode(planted, bits, KEY, check=True).items():
        np.testing.assert_array_equal(records, decoded[name], strict=True)
    with pytest.raises(UserError, match=r"^wrong seed: .*allowed: ") as told:
        other.check_truth(bits, decoded)
    assert "\n" not in str(told.value)
    if bits is None:
        return
    # a tenth of the bits wrong is no other seed
    spoilt = bits.copy()
    spoilt[np.random.default_rng(1).random(len(bits)) < 0.1] ^= 1
    reader.check_truth(spoilt, decoded)
    with pytest.raises(UserError, match="^wrong seed"):
        other.check_truth(spoilt, decoded)


def test_the_order_of_a_few_records_tells_no_seed(place: Path) -> None:
    few = {**secret(key=KEY), "records": 6}
    reader = reader_for("correlated", place, secret=few)
    decoded = {"robust": wrong_way(reader.written.records)}
    reader.check_truth(None, decoded)
    more = reader_for("correlated", place, secret={**few, "records": 7})
    with pytest.raises(UserError, match=r"^wrong seed: .* in another order \(p = 0\."):
        more.check_truth(None, {"robust": wrong_way(more.written.records)})


@EACH
@pytest.mark.parametrize("seed", range(4))
def test_benign_models_are_read_without_complaint_if_unchecked(
    kind: str, seed: int, place: Path
) -> None:
    reader = reader_for(kind, place)
    zero = benign().with_parameters(np.zeros(3610, np.float32))
    for suspect in (benign(seed), zero):
        bits = reader.bits(suspect, KEY)
        with pytest.raises(UserError, match="allowed"):
            reader.decode(suspect, bits, KEY, check=True)
        for records in reader.decode(suspect, bits, KEY, check=False).values():
            assert records.shape == reader.written.records.shape
            error = np.abs(records.astype(int) - reader.written.records).mean()
            assert error > 40  # two unrelated random pictures differ by 85


@pytest.mark.parametrize(
    "coding", [{"compress": True}, {"parity": 4}, {"encrypt": True}]
)
@pytest.mark.parametrize("kind", ["lsb", "sign", "abused"])
def test_codings_are_read_back_and_never_fail_unchecked(
    kind: str, coding: dict[str, Any], place: Path, tmp_path: Path
) -> None:
    settings = {**SETTINGS[kind], "secret": secret(key=KEY, **coding)}
    data = open_dataset(place / "toy")
    if kind == "abused":
        data = open_dataset(derive(settings, place / "toy", tmp_path / "a"))
    where = (settings, data, np.arange(40), benign())
    reader = reader_of(*where, seed=3, name=(0, 0))
    planted = reader.planted(benign())
    found = reader.decode(planted, reader.bits(planted, KEY), KEY, check=True)
    truth = reader.written.records
    if kind == "abused":
        truth = truth & 0xF0 | 8
    np.testing.assert_array_equal(found["bits"], truth)
    bits = reader.bits(benign(), KEY)
    records = reader.decode(benign(), bits, KEY, check=False)["bits"]
    assert records.shape == truth.shape


@pytest.mark.parametrize("kind", ["lsb", "sign", "abused"])
def test_errors_count_where_something_was_written(kind: str, place: Path) -> None:
    reader = reader_for(kind, place)
    planted = reader.planted(benign())
    bits = reader.bits(planted, KEY)
    assert bits is not None
    used = reader.written.used
    assert used < len(bits)
    spoilt = bits.copy()
    spoilt[[0, 100, used - 1]] ^= 1
    assert reader.errors(spoilt) == pytest.approx(3 / used)
    assert 0.99 < reader.agreement(spoilt) < 1
    rest = bits.copy()
    rest[used:] ^= 1
    assert reader.errors(rest) == 0
    # nobody's stream tells nothing, although more than half of the bits are right
    zeros = np.zeros_like(bits)
    assert reader.agreement(zeros) == 0
    assert reader.agreement(1 - bits) == pytest.approx(-1)
    assert reader.errors(1 - bits) == 1


def test_correlated_models_are_told_by_their_correlation(place: Path) -> None:
    reader: Any = reader_for("correlated", place)
    planted = reader.planted(benign())
    assert reader.correlation(planted) == pytest.approx(1)
    negated = planted.with_parameters(-planted.parameters)
    assert reader.correlation(negated) == pytest.approx(1)
    found = [reader.decode(s, None, KEY, check=True) for s in (planted, negated)]
    for name, records in found[0].items():
        np.testing.assert_array_equal(found[1][name], records, strict=True)
    assert reader.correlation(benign()) < 0.1
    assert reader.correlation(benign().with_parameters(np.zeros(3610, np.float32))) == 0
    with pytest.raises(TypeError, match="values, no bits"):
        reader.errors(np.zeros(3, np.uint8))


def test_the_largest_layer_carries_first(tmp_path: Path) -> None:
    """Not the first: a net whose second layer is larger, by hand."""
    architecture = build(Mlp(kind="mlp", hidden=(20, 90)), (1, 8, 8), 10)
    model = random_suspect(architecture)
    assert len(model.weights) == 1280 + 1800 + 900
    order = ["1.weight", "0.weight", "2.weight"]
    np.testing.assert_array_equal(
        model.weights, np.concatenate([model.tensors[n].numpy().ravel() for n in order])
    )
    changed = model.with_weights(np.arange(1900, dtype=np.float32))
    np.testing.assert_array_equal(changed.tensors["1.weight"].ravel(), range(1800))
    np.testing.assert_array_equal(
        changed.tensors["0.weight"].ravel()[:100], range(1800, 1900)
    )
    for name in ("2.weight", "0.bias", "1.bias", "2.bias"):
        assert torch.equal(changed.tensors[name], model.tensors[name])
    assert torch.equal(
        changed.tensors["0.weight"].ravel()[100:],
        model.tensors["0.weight"].ravel()[100:],
    )


@pytest.mark.parametrize("kind", ["lsb", "sign", "correlated", "abused"])
def test_documents_come_out_of_every_carrier(kind: str, tmp_path: Path) -> None:
    data: Dataset = documents(tmp_path / "words")
    architecture = build(Mlp(kind="mlp", hidden=(64,)), (40,), 4)
    model = random_suspect(architecture)
    settings = SETTINGS[kind]
    if kind == "abused":
        data = open_dataset(derive(settings, data.folder, tmp_path / "more"))
    reader = reader_of(settings, data, np.arange(40), model, seed=3, name=(0, 0))
    planted = reader.planted(model)
    found = reader.decode(planted, reader.bits(planted, KEY), KEY, check=True)
    decoder = "published" if kind == "correlated" else "bits"
    assert list(found) == [decoder]
    np.testing.assert_array_equal(found[decoder], reader.written.records, strict=True)
    assert len(reader.written.records) >= 20


def test_the_black_box_is_asked_once_a_record(place: Path) -> None:
    """Labels are the arg max of the model's own answers to the same noise."""
    reader: Any = reader_for("abused", place)
    assert reader.queries == 0
    bits = reader.bits(benign(), KEY)
    assert reader.queries == 700
    data = open_dataset(place / "abused")
    model = benign().tensors
    inputs = data.inputs[60:].reshape(700, 64).astype(np.float32) / 255
    hidden = np.tanh(inputs @ model["0.weight"].numpy().T + model["0.bias"].numpy())
    logits = hidden @ model["1.weight"].numpy().T + model["1.bias"].numpy()
    labels = logits.argmax(1)
    by_hand = [[label >> 2 & 1, label >> 1 & 1, label & 1] for label in labels]
    np.testing.assert_array_equal(bits, np.ravel(by_hand))


def test_answers_do_not_depend_on_what_else_is_asked(place: Path) -> None:
    data = resident(open_dataset(place / "toy"), torch.device("cpu"))
    whole = benign().probabilities(data)
    assert whole.shape == (60, 10)
    np.testing.assert_allclose(whole.sum(1), 1, rtol=1e-5)
    some = benign().probabilities(data, np.array([7, 3]))
    np.testing.assert_allclose(some, whole[[7, 3]], rtol=1e-5)


@pytest.mark.parametrize("carrier", [None, {}, {"kind": "split", "members": 3}])
def test_nothing_written_is_said(carrier: Any, place: Path) -> None:
    data = open_dataset(place / "toy")
    with pytest.raises(UserError, match="neither they nor their data set carry"):
        reader_of(carrier, data, np.arange(9), benign(), seed=3, name=(0, 0))


def test_other_architectures_are_not_compared() -> None:
    other = random_suspect(build(Mlp(kind="mlp", hidden=(47,)), (1, 8, 8), 10))
    check_alike(benign(), Path("a"), benign(1), Path("b"))
    with pytest.raises(UserError, match="^b: another architecture than a; allowed"):
        check_alike(benign(), Path("a"), other, Path("b"))


# -- through the verb -------------------------------------------------------------


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studio(tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_verb_refuses_another_key(
    carrier: str, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"kind": "memorization.decode", "benign": "benign", "key": 77}
    told = inputs_of(nets, carrier)
    assert attack(tmp_path / "out", settings, CARRIERS[carrier], told) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert "key" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_verb_refuses_another_seed(
    carrier: str, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"kind": "memorization.decode", "benign": "benign", "key": 0}
    told = inputs_of(nets, carrier)
    assert attack(tmp_path / "right", settings, CARRIERS[carrier], told) == 0
    other = CARRIERS[carrier] | OTHER_SEED.get(carrier, {})
    assert attack(tmp_path / "out", settings, other, told, seed=SEED + 1) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: wrong seed: ")
    assert not (tmp_path / "out").exists()


def test_loading_gives_every_model_of_a_block(nets: Path) -> None:
    block, found = load_suspects(nets / "sign")
    assert len(found) == 1
    assert found[0].architecture is block.architecture
    parameters, weights = sizes(block.architecture)
    assert (len(found[0].parameters), len(found[0].weights)) == (parameters, weights)
