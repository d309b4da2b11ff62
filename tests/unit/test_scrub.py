"""Scrubs: what each does to known numbers, and to a payload in the low bits."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from whatelse.errors import UserError
from whatelse.memorization import scrub as scrubs
from whatelse.memorization.scrub_settings import FileScrub, FineTune, Scrub

EVERY: list[dict[str, Any]] = [
    {"kind": "zero-bits", "bits": 16},
    {"kind": "random-bits", "bits": 16},
    {"kind": "round", "to": "bf16"},
    {"kind": "round", "to": "fp16"},
    {"kind": "round", "to": "int8"},
    {"kind": "prune", "share": 0.3},
    {"kind": "noise", "scale": 0.5},
    {"kind": "clip", "percentile": 99},
]


def settings(given: dict[str, Any]) -> Any:
    return TypeAdapter(Scrub).validate_python(given)


def model(seed: int = 0) -> dict[str, Tensor]:
    """A layer, a bias, a batch norm's buffers, a counter."""
    rng = np.random.default_rng(seed)
    return {
        "0.weight": torch.tensor(rng.normal(size=(40, 30)), dtype=torch.float32),
        "0.bias": torch.tensor(rng.normal(size=40), dtype=torch.float32),
        "1.running_var": torch.tensor(rng.random(40) * 1e-3, dtype=torch.float32),
        "1.num_batches_tracked": torch.tensor(2**24 + 1),
    }


def words(tensor: Tensor) -> Any:
    return tensor.numpy().view(np.uint32)


@pytest.mark.parametrize("given", EVERY, ids=lambda given: str([*given.values()]))
def test_what_every_scrub_keeps(given: dict[str, Any]) -> None:
    before, kept = model(), model()
    scrub = settings(given)
    after = scrubs.apply(scrub, before, np.random.default_rng(1))
    again = scrubs.apply(scrub, before, np.random.default_rng(1))
    assert [*after] == [*before]
    for name, tensor in before.items():
        assert torch.equal(tensor, kept[name]), "the input was changed"
        assert after[name].data_ptr() != tensor.data_ptr()
        assert after[name].shape == tensor.shape
        assert after[name].dtype == tensor.dtype
        assert torch.isfinite(after[name]).all()
        assert torch.equal(after[name], again[name])
    assert not torch.equal(after["0.weight"], before["0.weight"])
    assert (after["1.running_var"] >= 0).all()
    assert after["1.num_batches_tracked"] == 2**24 + 1


@pytest.mark.parametrize("given", EVERY, ids=lambda given: str([*given.values()]))
def test_extremes_stay_finite(given: dict[str, Any]) -> None:
    largest = float(np.finfo(np.float32).max)
    odd = {
        "a": torch.tensor([[largest, -largest, 1e-45, -0.0]]),
        "b": torch.zeros(3, 0),
        "c": torch.zeros(2, 2),
        "d": torch.tensor(3.0),
    }
    after = scrubs.apply(settings(given), odd, np.random.default_rng(0))
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    assert after["b"].shape == (3, 0)


def test_zero_bits_by_hand() -> None:
    # 1 + 2^-1 + 2^-22 + 2^-23: the two lowest bits are set
    x = {"w": torch.tensor([1.5 + 2.0**-22 + 2.0**-23, -(1.5 + 2.0**-23)])}
    assert scrubs.zero_bits(x, 1)["w"].tolist() == [1.5 + 2.0**-22, -1.5]
    assert scrubs.zero_bits(x, 2)["w"].tolist() == [1.5, -1.5]
    assert scrubs.zero_bits(x, 23)["w"].tolist() == [1.0, -1.0]


@pytest.mark.parametrize("bits", [1, 12, 23])
def test_random_bits_leave_what_lies_above(bits: int) -> None:
    before = model()
    after = scrubs.random_bits(before, bits, np.random.default_rng(3))
    changed = words(before["0.weight"]) ^ words(after["0.weight"])
    assert (changed >> bits == 0).all()
    # each bit is another one half of the time: 600 of 1200, deviation 17
    for j in range(bits):
        assert abs(int((changed >> j & 1).sum()) - 600) < 90
    # biases and buffers carry payload too
    assert not torch.equal(before["0.bias"], after["0.bias"])
    assert not torch.equal(before["1.running_var"], after["1.running_var"])


def test_round_by_hand() -> None:
    x = {"w": torch.tensor([[1 + 2.0**-7, 1 + 2.0**-8, 1e6, -1e6, 1.25]])}
    # bf16 has 7 mantissa bits and rounds ties to even
    assert scrubs.round_to(x, "bf16")["w"][0, :2].tolist() == [1 + 2.0**-7, 1.0]
    half = scrubs.round_to(x, "fp16")["w"][0].tolist()
    assert half == [1 + 2.0**-7, 1 + 2.0**-8, 65504.0, -65504.0, 1.25]
    y = {"w": torch.tensor([[127.0, -63.4, 0.5, 1.5, -0.2]]), "b": torch.tensor([0.1])}
    eight = scrubs.round_to(y, "int8")
    assert eight["w"][0].tolist() == [127.0, -63.0, 0.0, 2.0, 0.0]
    assert eight["b"].item() == float(np.float16(0.1))
    with pytest.raises(ValueError, match="int8"):
        scrubs.round_to(x, "int4")


def test_prune_by_hand() -> None:
    x = {"w": torch.tensor([[3.0, -1.0, 1.0], [2.0, 1.0, -4.0]]), "b": torch.ones(4)}
    after = scrubs.prune(x, 1 / 3)
    assert after["w"].tolist() == [[3.0, 0.0, 0.0], [2.0, 1.0, -4.0]]
    assert after["b"].tolist() == [1.0] * 4


def test_noise_has_the_deviation_asked_for() -> None:
    rng = np.random.default_rng(0)
    x = {"w": torch.tensor(rng.normal(5, 3, size=(200, 100)), dtype=torch.float32)}
    moved = scrubs.noise(x, 0.5, np.random.default_rng(1))["w"] - x["w"]
    assert moved.std().item() == pytest.approx(1.5, rel=0.02)
    assert abs(moved.mean().item()) < 0.05


def test_clip_by_hand() -> None:
    x = {"w": torch.arange(101, dtype=torch.float32).view(1, 101), "b": torch.ones(9)}
    after = scrubs.clip(x, 90)["w"][0]
    assert after[:7].tolist() == [5.0] * 6 + [6.0]
    assert after[-7:].tolist() == [94.0] + [95.0] * 6


@pytest.mark.parametrize(
    ("given", "survivors"),
    [
        ({"kind": "zero-bits", "bits": 4}, range(4, 10)),
        ({"kind": "zero-bits", "bits": 10}, range(0)),
        ({"kind": "random-bits", "bits": 6}, range(6, 10)),
        ({"kind": "round", "to": "bf16"}, range(0)),
        ({"kind": "round", "to": "fp16"}, range(0)),
        ({"kind": "prune", "share": 0.5}, None),
    ],
    ids=lambda value: str(value),
)
def test_what_is_left_of_a_payload_in_the_low_ten_bits(
    given: dict[str, Any], survivors: range | None
) -> None:
    """Each plane either survives to the last bit or is all zero or a coin."""
    rng = np.random.default_rng(4)
    secret = rng.integers(1 << 10, size=(60, 50), dtype=np.uint32)
    start = rng.normal(size=(60, 50)).astype(np.float32).view(np.uint32)
    carrier = ((start & ~np.uint32(1023)) | secret).view(np.float32)
    after = scrubs.apply(settings(given), {"w": torch.tensor(carrier)}, rng)["w"]
    agree = np.array(
        [((words(after) ^ secret) >> j & 1 == 0).mean() for j in range(10)]
    )
    if survivors is None:
        # half of the weights are untouched, in the rest zeros agree by chance
        large = np.abs(carrier) > np.median(np.abs(carrier))
        assert ((words(after) & 1023)[large] == secret[large]).all()
        assert (words(after)[~large] == 0).all()
        return
    for j in range(10):
        if j in survivors:
            assert agree[j] == 1.0
        else:
            assert abs(agree[j] - 0.5) < 0.05


def test_settings() -> None:
    adapter: Any = TypeAdapter(FileScrub)
    told = [adapter.validate_python(given).words for given in EVERY]
    assert told == [
        "low 16 bits to zero",
        "low 16 bits random",
        "rounded to bf16",
        "rounded to fp16",
        "rounded to int8",
        "smallest 30% pruned",
        "noise of 0.5 std",
        "clipped to the central 99%",
    ]
    tune = settings({"kind": "fine-tune", "epochs": 1, "learning_rate": 0.001})
    assert isinstance(tune, FineTune)
    assert tune.words == "fine-tuned 1 epoch at 0.001"
    with pytest.raises(ValidationError):
        adapter.validate_python(tune.model_dump())


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "zero-bits", "bits": 0},
        {"kind": "zero-bits", "bits": 24},
        {"kind": "random-bits", "bits": 2.0},
        {"kind": "random-bits"},
        {"kind": "round", "to": "int4"},
        {"kind": "prune", "share": 1.0},
        {"kind": "noise", "scale": -1},
        {"kind": "noise", "scale": float("nan")},
        {"kind": "clip", "percentile": 100},
        {"kind": "fine-tune", "epochs": 0, "learning_rate": 0.1},
        {"kind": "prune", "share": 0.5, "seed": 1},
        {"kind": "melt"},
    ],
    ids=str,
)
def test_settings_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(given)


def test_a_damaged_model_is_refused() -> None:
    broken = {"0.weight": torch.tensor([[1.0, float("nan")]])}
    with pytest.raises(UserError, match="0.weight"):
        scrubs.zero_bits(broken, 3)
