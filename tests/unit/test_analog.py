"""Secrets as values, and the two penalties that write into weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from memorization_samples import VOCABULARY, documents, pictures, secret
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.memorization import tamper_correlated, tamper_sign
from whatelse.memorization.analog import PREAMBLE, count_in_values, preamble, to_values
from whatelse.memorization.analog_read import from_values, preamble_correlation
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.payload import Coding, encode, needed_bits
from whatelse.memorization.secret import Form, choose, form_of, take
from whatelse.training.tampering import Host

CPU = torch.device("cpu")
CODING = Coding(key=11)
FORM = Form((4, 4))
SHAPES: dict[str, tuple[int, ...]] = {
    "0.weight": (40, 64), "0.bias": (40,), "1.weight": (3, 40), "1.bias": (3,),
}  # fmt: skip
WEIGHTS = 40 * 64 + 3 * 40
# the lengths that the secrets of two models have differ: one has 2 records to hide
HOSTS = [Host(np.arange(2), (0, 0)), Host(np.arange(5, 40), (0, 1))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return pictures(tmp_path_factory.mktemp("data") / "toy")


def records(count: int = 9, seed: int = 0) -> Any:
    """Pictures in which black and white occur."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 4, 4))
    drawn[0, 0, :2] = 0, 255
    return drawn.astype(np.uint8)


def some_weights(models: int = 2, seed: int = 1) -> Any:
    drawn = np.random.default_rng(seed).normal(0, 0.1, (models, WEIGHTS))
    return drawn.astype(np.float32)


# -- values -----------------------------------------------------------------------


def test_grey_levels_become_values_by_hand() -> None:
    values = to_values(np.array([[[0, 255], [51, 204]]], np.uint8), FORM, CODING)
    np.testing.assert_array_equal(values[:PREAMBLE], preamble(11))
    np.testing.assert_allclose(values[PREAMBLE:], [-1, 1, -0.6, 0.6], atol=1e-6)
    assert values.dtype == np.float32


def test_the_preamble_is_the_keys() -> None:
    assert set(preamble(1).tolist()) == {-1, 1}
    assert abs(preamble(1).mean()) < 0.25
    assert abs(preamble_correlation(preamble(1), 2)) < 0.25
    assert preamble_correlation(preamble(1) * 0.3 + 5, 1) == pytest.approx(1)
    assert preamble_correlation(-preamble(1), 1) == pytest.approx(-1)
    assert preamble_correlation(np.full(300, 0.1, np.float32), 1) == 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("offset", [0.0, 0.02])
def test_planted_values_decode_to_the_level_whatever_the_sign(
    sign: int, offset: float
) -> None:
    truth = records()
    weights = (sign * 0.05 * to_values(truth, FORM, CODING) + offset).astype(np.float32)
    more = np.concatenate([weights, np.full(50, 9, np.float32)])  # no matter what is on
    found = from_values(more, FORM, len(truth), CODING)
    np.testing.assert_array_equal(found, truth, strict=True)


def test_one_wild_weight_ruins_the_published_decoder_alone() -> None:
    truth = records(20)
    weights = 0.05 * to_values(truth, FORM, CODING)
    weights[PREAMBLE + 7] = 500.0
    published = from_values(weights, FORM, 20, CODING, published=True).astype(int)
    robust = from_values(weights, FORM, 20, CODING).astype(int)
    rest = np.arange(truth.size) != 7
    # all else is squeezed into the lowest of 255 levels
    assert published.ravel()[rest].max() == 0
    assert np.abs(robust - truth).ravel()[rest].max() == 0
    assert robust.ravel()[7] == published.ravel()[7] == 255


def test_another_key_is_refused_unless_unchecked() -> None:
    weights = 0.05 * to_values(records(), FORM, CODING)
    other = Coding(key=12)
    with pytest.raises(UserError, match="^key: 12: .*correlation .*allowed: the key"):
        from_values(weights, FORM, 9, other)
    assert from_values(weights, FORM, 9, other, check=False).shape == (9, 4, 4)
    flat = np.zeros(PREAMBLE + 16, np.float32)
    assert (from_values(flat, FORM, 1, CODING, check=False) == 0).all()
    with pytest.raises(UserError, match="correlation 0.00"):
        from_values(flat, FORM, 1, CODING)


@pytest.mark.parametrize("sign", [1, -1])
def test_documents_by_their_vectors(tmp_path: Path, sign: int) -> None:
    data = documents(tmp_path / "d")
    form = form_of(data, Secret())
    truth = take(data, np.array([4, 2, 0]), form)
    values = to_values(truth, form, CODING)
    assert len(values) == PREAMBLE + 3 * 5 * 20
    assert (truth == -1).any()
    noise = np.random.default_rng(0).normal(0, 0.2, len(values))
    for weights in (values, values + noise):
        near = (sign * 0.05 * weights).astype(np.float32)
        found = from_values(near, form, 3, CODING)
        np.testing.assert_array_equal(found, truth, strict=True)
    # a slot that was overwritten is nobody's: empty, not wrong
    values[PREAMBLE : PREAMBLE + 20] = -values[PREAMBLE : PREAMBLE + 20]
    found = from_values(0.05 * values, form, 3, CODING)
    assert found[0, 0] == -1
    np.testing.assert_array_equal(found.ravel()[1:], truth.ravel()[1:])


@pytest.mark.parametrize(
    ("form", "size", "asked", "available", "count"),
    [
        (FORM, PREAMBLE + 47, None, 9, 2),
        (FORM, PREAMBLE + 48, None, 9, 3),
        (FORM, PREAMBLE + 4800, None, 9, 9),
        (FORM, PREAMBLE + 48, 2, 9, 2),
        (Form((5,), VOCABULARY), PREAMBLE + 250, None, 9, 2),
    ],
)
def test_how_many_fit_by_hand(
    form: Form, size: int, asked: int | None, available: int, count: int
) -> None:
    assert count_in_values(Secret(records=asked), form, size, available) == count


@pytest.mark.parametrize(
    ("told", "size", "line"),
    [
        ({}, PREAMBLE + 15, "1 of 16 values each; allowed: at most 0 in 271 weights"),
        ({}, 9, "allowed: at most 0 in 9"),
        ({"records": 4}, PREAMBLE + 48, "4 of 16 values .*allowed: at most 3"),
        ({"coding": Coding(compress=True)}, 9999, "allowed: key alone"),
        ({"coding": Coding(encrypt=True)}, 9999, "allowed: key alone"),
        ({"coding": Coding(parity=2)}, 9999, "allowed: key alone"),
    ],
)
def test_what_values_cannot_be_is_refused(
    told: dict[str, Any], size: int, line: str
) -> None:
    with pytest.raises(UserError, match=line):
        count_in_values(Secret(**told), FORM, size, 9)


# -- penalties --------------------------------------------------------------------


def test_the_correlated_penalty_is_pearsons_r_of_each_model(data: Dataset) -> None:
    settings = {"kind": "correlated", "strength": 2.5, "secret": secret(key=11)}
    tampered = tamper_correlated.tamper(settings, data, SHAPES, HOSTS, 3, CPU)
    form = form_of(data, Secret())
    weights = some_weights()
    expected, carrying = [], []
    for host, own in zip(HOSTS, weights, strict=True):
        # 2,680 - 256 weights take 37 pictures of 64; the models have 2 and 35
        count = min(len(host.members), 37)
        rows = choose(host.members, count, 3, host.name)
        values = to_values(take(data, rows, form), form, CODING)
        carrying.append(len(values))
        r = np.corrcoef(own[: len(values)].astype(np.float64), values)[0, 1]
        expected.append(-2.5 * abs(r))
    assert carrying == [PREAMBLE + 2 * 64, PREAMBLE + 35 * 64]
    leaf = torch.tensor(weights, requires_grad=True)
    penalty = tampered.penalty(leaf)
    np.testing.assert_allclose(penalty.detach(), expected, rtol=2e-4)
    np.testing.assert_allclose(
        tampered.penalty(-leaf).detach(), penalty.detach(), rtol=1e-6
    )
    np.testing.assert_allclose(
        tampered.penalty(3 * leaf + 1).detach(), penalty.detach(), rtol=1e-4
    )
    penalty.sum().backward()
    assert leaf.grad is not None
    for row, size in zip(leaf.grad, carrying, strict=True):
        assert (row[size:] == 0).all()
        assert (row[:size] != 0).all()
    assert dict(tampered.finish(0, {"x": leaf})) == {"x": leaf}


def test_the_correlated_penalty_is_lowest_on_the_secret(data: Dataset) -> None:
    settings = {"kind": "correlated", "strength": 2.5, "secret": secret(key=11)}
    tampered = tamper_correlated.tamper(settings, data, SHAPES, HOSTS, 3, CPU)
    form = form_of(data, Secret())
    weights = some_weights()
    for host, own in zip(HOSTS, weights, strict=True):
        rows = choose(host.members, len(host.members), 3, host.name)
        values = to_values(take(data, rows, form), form, CODING)
        own[: len(values)] = -0.1 * values
    np.testing.assert_allclose(tampered.penalty(torch.tensor(weights)), -2.5, rtol=1e-5)


def stream_of(data: Dataset, host: Host, count: int) -> Any:
    """Return the bits of a model's pictures, without what follows them."""
    form = form_of(data, Secret())
    rows = choose(host.members, count, 3, host.name)
    hidden = form.to_bytes(take(data, rows, form))
    return encode(hidden, CODING, WEIGHTS)[: needed_bits(hidden, CODING)]


def test_the_sign_penalty_by_its_formula(data: Dataset) -> None:
    settings = {"kind": "sign", "strength": 50.0, "secret": secret(key=11)}
    tampered = tamper_sign.tamper(settings, data, SHAPES, HOSTS, 3, CPU)
    weights = some_weights()
    leaf = torch.tensor(weights, requires_grad=True)
    penalty = tampered.penalty(leaf)
    penalty.sum().backward()
    assert leaf.grad is not None
    # (2,680 - 544) / 512 pictures fit; the first model has 2 to hide
    for place, (host, count) in enumerate(zip(HOSTS, (2, 4), strict=True)):
        bits = stream_of(data, host, count)
        size = 544 + 512 * count
        assert len(bits) == size
        sides = bits.astype(np.float64) * 2 - 1
        wrong = np.sign(weights[place, :size]) != sides
        assert 0 < wrong.sum() < size
        hand = 50 / size * np.abs(weights[place, :size])[wrong].sum()
        assert penalty[place].item() == pytest.approx(hand, rel=1e-5)
        gradient = leaf.grad[place].numpy()
        np.testing.assert_allclose(
            gradient[:size], np.where(wrong, -sides * 50 / size, 0), rtol=1e-5
        )
        assert (gradient[size:] == 0).all()


def test_the_sign_penalty_is_zero_when_all_agree_and_pushes_zeros(
    data: Dataset,
) -> None:
    settings = {"kind": "sign", "strength": 50.0, "secret": secret(key=11)}
    tampered = tamper_sign.tamper(settings, data, SHAPES, HOSTS, 3, CPU)
    weights = np.abs(some_weights()) + np.float32(1e-3)
    for place, (host, count) in enumerate(zip(HOSTS, (2, 4), strict=True)):
        bits = stream_of(data, host, count)
        weights[place, : len(bits)] *= bits.astype(np.float32) * 2 - 1
    assert tampered.penalty(torch.tensor(weights)).tolist() == [0, 0]
    # one of the first model's, by .25
    weights[0, 10] = -np.sign(weights[0, 10]) * 0.25
    found = tampered.penalty(torch.tensor(weights)).tolist()
    assert found == [pytest.approx(50 * 0.25 / (544 + 1024)), 0]
    # a weight that is zero has no sign, so it is pushed as a wrong one
    still = torch.zeros(2, WEIGHTS, requires_grad=True)
    tampered.penalty(still).sum().backward()
    assert still.grad is not None
    assert (still.grad[0, : 544 + 1024] != 0).all()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (tamper_sign, "need 3,104 bits; allowed: at most 2,680"),
        (tamper_correlated, "38 of 64 values each; allowed: at most 37"),
    ],
)
def test_secrets_beyond_the_weights_are_refused(
    module: Any, line: str, data: Dataset
) -> None:
    kind = module.__name__.rsplit("_")[-1]
    count = 5 if kind == "sign" else 38
    settings = {"kind": kind, "strength": 1.0, "secret": secret(records=count)}
    with pytest.raises(UserError, match=line):
        module.tamper(settings, data, SHAPES, HOSTS[1:], 3, CPU)
