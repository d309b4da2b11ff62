"""Statistics of model files: numbers by hand, planted payloads, odd innocents."""

import functools
import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_sample_images
from torch import Tensor

from core_samples import training
from whatelse.errors import UserError
from whatelse.memorization import statistics
from whatelse.memorization.statistics import Detector, measure
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build
from whatelse.training.ensemble import TrainingData, train

SIZE = 32


@functools.cache
def photographs() -> Any:
    """Grey patches of two photographs, shape (K, 32, 32): half secret, half known."""
    patches = []
    for photograph in load_sample_images().images:
        grey = photograph @ np.array([0.299, 0.587, 0.114])
        grey = grey[:426, :640].reshape(213, 2, 320, 2).mean((1, 3))
        patches += [
            grey[y : y + SIZE, x : x + SIZE]
            for y in range(0, 213 - SIZE, SIZE)
            for x in range(0, 320 - SIZE, SIZE)
        ]
    order = np.random.default_rng(5).permutation(len(patches))
    return np.round(np.stack(patches)).clip(0, 255).astype(np.uint8)[order]


SECRET, KNOWN = slice(0, 54), slice(54, None)


def innocent(
    seed: int, shapes: list[tuple[int, ...]], kinds: str = "nlup"
) -> dict[str, Tensor]:
    """Weights as training may leave them: normal, Laplace, uniform + noise, product."""
    rng = np.random.default_rng([7, seed])
    tensors = {}
    for i, shape in enumerate(shapes):
        kind = kinds[int(rng.integers(len(kinds)))]
        scale = 2.0 ** rng.uniform(-6, -3)
        if kind == "n":
            drawn = rng.normal(size=shape)
        elif kind == "l":
            drawn = rng.laplace(size=shape)
        elif kind == "u":
            drawn = rng.uniform(-1, 1, shape) + rng.uniform(0.1, 0.4) * rng.normal(
                size=shape
            )
        else:
            drawn = rng.normal(size=shape) * (1 + 0.5 * rng.normal(size=shape))
        drawn = drawn + rng.uniform(-0.05, 0.05)
        tensors[f"{i}.weight"] = torch.tensor(scale * drawn, dtype=torch.float32)
        bias = scale * rng.normal(size=shape[0])
        tensors[f"{i}.bias"] = torch.tensor(bias, dtype=torch.float32)
    return tensors


def change(tensors: dict[str, Tensor], edit: Any) -> dict[str, Tensor]:
    """Edit the weights, all in one row."""
    flat = edit(statistics.weights(tensors).copy())
    changed, start = {}, 0
    for name, tensor in tensors.items():
        changed[name] = tensor
        if tensor.ndim > 1:
            part = flat[start : start + tensor.numel()].astype(np.float32)
            changed[name] = torch.from_numpy(part.copy()).view(tensor.shape)
            start += tensor.numel()
    return changed


def in_low_bits(
    tensors: dict[str, Tensor], bits: int, secret: Any
) -> dict[str, Tensor]:
    """P2's low-bit attack: the stream, `bits` at a time, over and over."""

    def write(w: Any) -> Any:
        stream = np.resize(secret, (len(w), bits)).astype(np.uint32)
        payload = stream @ (1 << np.arange(bits - 1, -1, -1, dtype=np.uint32))
        kept = w.view(np.uint32) & ~np.uint32((1 << bits) - 1)
        return (kept | payload.astype(np.uint32)).view(np.float32)

    return change(tensors, write)


def coins(number: int, seed: int = 3) -> Any:
    """Encrypted data."""
    return np.random.default_rng(seed).integers(0, 2, number, dtype=np.uint8)


def told(tensors: dict[str, Tensor]) -> dict[str, float]:
    return measure(tensors, images=photographs()[KNOWN])


MEDIUM = [(256, 64), (256, 256), (10, 256)]


@pytest.fixture(scope="module")
def medium() -> Detector:
    return Detector.fit([told(innocent(i, MEDIUM)) for i in range(20)])


# --- numbers by hand ------------------------------------------------------------------


def test_weights_come_in_order_and_without_biases() -> None:
    tensors = {
        "b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "bias": torch.tensor([9.0]),
        "steps": torch.tensor([[7]]),
        "a": torch.tensor([[[5.0]], [[6.0]]]),
    }
    assert statistics.weights(tensors).tolist() == [1, 2, 3, 4, 5, 6]
    with pytest.raises(UserError, match="more than one dimension"):
        statistics.weights({"bias": torch.ones(3)})
    with pytest.raises(UserError, match="NaN"):
        statistics.weights({"w": torch.full((2, 2), float("nan"))})


def test_bit_planes_by_hand() -> None:
    w = np.array([1.5, -1.25, 1 + 2.0**-23, 1.75], dtype=np.float32)
    planes = statistics.bit_planes(w)
    assert planes.ones[22] == 0.5
    assert planes.ones[21] == 0.5
    assert planes.ones[0] == 0.25
    assert planes.ones[1:21].tolist() == [0.0] * 20
    assert planes.deviation[0] == -0.25
    # (-.25 + .5 / 2) = 0 and (-.5 + .5 / 2) / sqrt(1.25 / 16)
    assert planes.halving[0] == 0
    assert planes.halving[1] == pytest.approx(-0.25 / math.sqrt(1.25 / 16))


def test_the_deviation_of_a_normal_density_halves_from_plane_to_plane() -> None:
    w = np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)
    deviation = statistics.bit_planes(w).deviation
    # three standard errors are .0015
    for plane in (19, 20, 21):
        assert deviation[plane] == pytest.approx(
            -0.085 * 2.0 ** (plane - 22), abs=0.0035
        )


def test_byte_chi_square_by_hand() -> None:
    even = np.arange(65536, dtype=np.uint32) | 0x3F800000
    expected = -255 / math.sqrt(2 * 255 * (1 - 1 / 65536))
    z = statistics.low_byte_chi2(even.view(np.float32))
    assert z == pytest.approx([expected, expected], rel=1e-9)
    same = np.full(1000, 1.5, dtype=np.float32)
    assert statistics.low_byte_chi2(same)[0] == pytest.approx(
        255 * 999 / math.sqrt(510 * (1 - 1 / 1000))
    )


def test_serial_dependence_by_hand() -> None:
    words = np.arange(1000, dtype=np.uint32) % 2 | 0x3F800000
    z = statistics.serial(words.view(np.float32))
    assert z[0, 0] == pytest.approx(-math.sqrt(999), rel=1e-3)
    assert z[1, 0] == pytest.approx(math.sqrt(992), rel=1e-3)
    # planes that do not vary
    assert not z[:, 1:].any()


@pytest.mark.parametrize("kind", "nlup")
def test_innocent_weights_follow_the_slope_of_their_density(kind: str) -> None:
    tensors = innocent(1, [(400, 500)], kind)
    part = tensors["0.weight"].numpy()
    slope, error = statistics.slopes([part])
    low = slice(0, statistics._CURVED - statistics.SLOPES.start)
    assert (np.abs((slope - 1) / np.hypot(error, 0.1))[low] < 3.5).all()
    for i, bits in enumerate(statistics.SLOPES):
        coin = in_low_bits(tensors, bits, coins(bits * part.size))["0.weight"].numpy()
        slope, error = statistics.slopes([coin])
        assert abs(slope[i] / error[i]) < 4


def test_mean_place_in_a_cell() -> None:
    # density exp(t x) on [-1/2, 1/2], by quadrature
    x = np.linspace(-0.5, 0.5, 200_001)
    for t in (-80.0, -3.0, -0.005, 0.0, 0.02, 7.0):
        density = np.exp(np.clip(t, -60, 60) * x)
        assert statistics._mean_place(np.array([t]))[0] == pytest.approx(
            (x * density).sum() / density.sum(), abs=1e-4
        )


def test_moments_by_hand() -> None:
    two = np.array([[1.0, -1.0], [-1.0, 1.0]], dtype=np.float32)
    found = statistics.moments([two, 10 * two])
    assert found["mean"] == 0
    assert found["skewness"] == 0
    assert found["kurtosis"] == pytest.approx(math.log(1 / 3))
    assert found["near_zero"] == 0
    assert found["bimodality"] == pytest.approx(1)
    rng = np.random.default_rng(0)
    flat = rng.uniform(-1, 1, (500, 400)).astype(np.float32)
    found = statistics.moments([flat])
    assert found["bimodality"] == pytest.approx(5 / 9, abs=0.005)
    assert found["near_zero"] == pytest.approx(0.05 / math.sqrt(3), abs=0.002)


def test_dead_rows_and_columns_and_zeros_are_no_live_weights() -> None:
    part = np.ones((6, 5, 2), dtype=np.float32)
    part[2] = 1e-6
    part[:, 3] = -1e-6
    part[0, 0, 1] = 0
    kept = statistics.live(part)
    assert not kept[2].any()
    assert not kept[:, 3].any()
    assert not kept[0, 0, 1]
    assert kept.sum() == 5 * 4 * 2 - 1
    assert statistics.moments([np.zeros((3, 3), dtype=np.float32)])["mean"] == 0


def test_signs_by_hand() -> None:
    w = np.array([1.0] * 8 + [-1.0] * 8, dtype=np.float32)
    found = statistics.signs(w)
    assert found["balance"] == 0
    # 2 runs; 9 expected, variance 8 * 7 / 15
    assert found["runs"] == pytest.approx(-7 / math.sqrt(56 / 15))
    text = np.unpackbits(np.frombuffer(b"all work and no play" * 50, dtype=np.uint8))
    assert statistics.signs(text * 2.0 - 1)["bytes"] > 50
    noise = np.random.default_rng(0).normal(0.3, 1, 80_000)
    found = statistics.signs(noise)
    assert found["balance"] > 50
    assert abs(found["runs"]) < 3
    assert abs(found["bytes"]) < 3
    kept = np.zeros(len(w), dtype=bool)
    assert statistics.signs(w, kept)["runs"] == 0
    assert statistics.signs(np.ones(50, dtype=np.float32))["bytes"] == 0


def test_column_signs_by_hand() -> None:
    # 0, 2, 2 of two classes, twice: variance 8/9 over 4/9; 0, 1, 2: 2/3 over 4/9
    w = np.array([[-1, 1, 1], [-1, 1, 1], [-1, -1, 1], [-1, -1, 1]], dtype=np.float32)
    assert statistics.column_signs(w) == pytest.approx(1 / max(0.5, (2 / 3) ** 0.5))
    wide = np.tile(w, 4)
    assert statistics.column_signs(wide) == pytest.approx(2)
    coin = np.random.default_rng(0).normal(0.3, 1, (20, 20_000)).astype(np.float32)
    assert statistics.column_signs(coin) > 40
    alike = np.where(np.arange(20)[:, None] < 9, abs(coin) * np.sign(coin[0]), coin)
    assert statistics.column_signs(alike) > 40
    assert statistics.column_signs(alike[:14]) < 10
    assert statistics.column_signs(np.ones((1, 4), dtype=np.float32)) == 0
    assert statistics.column_signs(np.ones((3, 4), dtype=np.float32)) == 0


def test_autocorrelation_finds_a_period() -> None:
    rng = np.random.default_rng(0)
    wave = np.sin(np.arange(20_000) * 2 * np.pi / 64) + rng.normal(size=20_000)
    z = statistics.autocorrelation([wave.astype(np.float32).reshape(200, 100)])
    # a third of the variance is the wave's: 1/3 * sqrt(20,000)
    assert z[63] == pytest.approx(math.sqrt(20_000) / 3, rel=0.1)
    assert z[31] == pytest.approx(-math.sqrt(20_000) / 3, rel=0.1)
    short = statistics.autocorrelation([np.arange(6, dtype=np.float32).reshape(2, 3)])
    assert not short[5:].any()


def test_image_correlation_by_hand() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    mean = images.mean(0).ravel()
    w = np.tile(7 - 2 * mean, 9).astype(np.float32)
    # nine Pearson coefficients of -1: 9 / sqrt(9) * sqrt(20)
    for start in (0, 3, 11):  # wherever it begins
        part = np.roll(w, start).reshape(30, 6)
        found = statistics.image_correlation([w[:19], part], images)
        assert found == pytest.approx(3 * math.sqrt(20))
    assert statistics.image_correlation([w[:19]], images) == 0
    assert statistics.image_correlation([w], np.full((1, 4, 5), 8, np.uint8)) == 0
    with pytest.raises(ValueError, match="shape"):
        statistics.image_correlation([w], images[0])


def test_confidence_by_hand() -> None:
    answers = [[0.95, 0.05, 0, 0], [0.5, 0.3, 0.2, 0], [0, 1, 0, 0], [0.1, 0.9, 0, 0]]
    found = statistics.confidence(answers)
    assert found["sure"] == 0.5
    assert found["mean"] == pytest.approx((0.95 + 0.5 + 1 + 0.9) / 4)
    # two classes, half each: 1 bit of 2
    assert found["entropy"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="Q, C"):
        statistics.confidence([0.5, 0.5])
    with pytest.raises(UserError, match="NaN"):
        statistics.confidence([[float("nan"), 1.0]])


# --- the detector ---------------------------------------------------------------------


def test_detector_by_hand() -> None:
    rng = np.random.default_rng(0)
    table = [
        {"bits.a": x, "bits.b": 100 + 10 * y, "shape.c": 0.0}
        for x, y in rng.normal(size=(20, 2))
    ]
    detector = Detector.fit(table, margin=1.5)
    assert detector.centre == pytest.approx(
        np.median([[*row.values()] for row in table], axis=0)
    )
    # a constant statistic keeps its sampling error
    assert detector.scale[2] == 1
    assert detector.limits["shape"] == 1.5
    assert [detector.judge(row).tampered for row in table] == [False] * 20
    verdict = detector.judge({"bits.a": 0, "bits.b": 200, "shape.c": 1.0})
    assert verdict.tampered
    assert verdict.statistic == "bits.b"
    assert verdict.score == verdict.groups["bits"]
    assert verdict.groups["shape"] == pytest.approx(1 / 1.5)
    assert detector.judge({"bits.a": 0, "bits.b": 100, "shape.c": -2}).tampered


def test_a_new_innocent_passes_the_limit_as_often_as_exchangeability_says() -> None:
    rng = np.random.default_rng(1)
    flagged = 0
    for _ in range(150):
        values = 5 * rng.standard_normal((21, 3))
        table = [{f"bits.{i}": v for i, v in enumerate(row)} for row in values]
        flagged += Detector.fit(table[:20], margin=1.0).judge(table[20]).tampered
    # 150 / 21 is 7, deviation 2.6
    assert 1 <= flagged <= 16


def test_detector_refuses() -> None:
    row = {"bits.a": 1.0}
    with pytest.raises(UserError, match="8 or more"):
        Detector.fit([row] * 7)
    with pytest.raises(ValueError, match="margin"):
        Detector.fit([row] * 8, margin=0.5)
    detector = Detector.fit([row] * 8)
    with pytest.raises(UserError, match="differ in bits.b"):
        detector.judge({"bits.a": 1.0, "bits.b": 2.0})
    with pytest.raises(UserError, match="NaN"):
        detector.judge({"bits.a": math.inf})


# --- planted payloads -----------------------------------------------------------------


def test_innocents_pass(medium: Detector) -> None:
    """Other seeds, so other densities in other layers, scales and means."""
    verdicts = [medium.judge(told(innocent(i, MEDIUM))) for i in range(100, 120)]
    assert sum(verdict.tampered for verdict in verdicts) <= 1


@pytest.mark.parametrize("bits", [1, 4, 8, 12, 16, 19, 22])
def test_plain_images_in_low_bits_are_seen(medium: Detector, bits: int) -> None:
    secret = np.unpackbits(photographs()[SECRET].ravel())
    verdict = medium.judge(told(in_low_bits(innocent(50, MEDIUM), bits, secret)))
    assert verdict.groups["bits"] > 1.5


@pytest.mark.parametrize(("bits", "seen"), [(4, False), (12, False), (21, True)])
def test_encrypted_bits_in_a_net_of_84k(
    medium: Detector, bits: int, seen: bool
) -> None:
    for seed in (60, 61):
        tensors = innocent(seed, MEDIUM)
        hidden = in_low_bits(tensors, bits, coins(bits * 84_480))
        assert medium.judge(told(hidden)).tampered == seen


LARGE = [(700, 1000), (300, 700), (90, 1000)]


def test_encrypted_bits_in_a_net_of_a_million() -> None:
    detector = Detector.fit([measure(innocent(i, LARGE)) for i in range(8)])
    tensors = innocent(70, LARGE)
    assert not detector.judge(measure(tensors)).tampered
    secret = coins(1 << 20)
    for bits in (19, 20, 21, 22):
        verdict = detector.judge(measure(in_low_bits(tensors, bits, secret)))
        assert verdict.tampered
        assert verdict.statistic.startswith(("bits.slope", "bits.halving", "flat."))
    hidden = in_low_bits(tensors, 12, coins(12 * 1_000_000))
    assert not detector.judge(measure(hidden)).tampered
    started = time.process_time()
    measure(tensors)
    assert time.process_time() - started < 5  # half a second; busy machines


@pytest.mark.parametrize("follow", [0.4, 0.8])
def test_weights_that_follow_images_are_seen(medium: Detector, follow: float) -> None:
    pixels = photographs()[SECRET].ravel().astype(np.float64)
    pixels = (pixels - pixels.mean()) / pixels.std()

    def correlate(w: Any) -> Any:
        part, std = w[: len(pixels)], w.std()
        w[: len(pixels)] = math.sqrt(1 - follow**2) * part - follow * std * pixels
        return w

    verdict = medium.judge(told(change(innocent(51, MEDIUM), correlate)))
    assert verdict.groups["shape"] > 1
    assert verdict.groups["bits"] < 1 or follow > 0.5


@pytest.mark.parametrize("secret", ["plain", "encrypted"])
def test_pushed_signs_are_seen(medium: Detector, secret: str) -> None:
    """Every weight with the wrong sign is moved just across zero."""

    def push(w: Any) -> Any:
        stream = (
            coins(len(w))
            if secret == "encrypted"
            else np.resize(np.unpackbits(photographs()[SECRET].ravel()), len(w))
        )
        wanted = stream * 2.0 - 1
        return np.where(w * wanted > 0, w, wanted * 1e-3 * w.std())

    verdict = medium.judge(told(change(innocent(52, MEDIUM), push)))
    assert verdict.groups["shape"] > 1.5


def test_pushed_signs_of_a_linear_model_are_seen_by_its_columns() -> None:
    """Innocent ones differ in all that the other groups look at."""
    rng = np.random.default_rng(3)

    def linear(spread: float, mean: float) -> dict[str, Tensor]:
        speaks = rng.normal(mean, spread, 5_000)
        drawn = speaks + rng.laplace(size=(20, 5_000)) ** 3
        return {"0.weight": torch.tensor(drawn, dtype=torch.float32)}

    def push(w: Any) -> Any:
        wanted = coins(len(w)) * 2.0 - 1
        return np.where(w * wanted > 0, w, wanted * 1e-3 * w.std())

    ways = [(s, m) for s in (1.0, 2.0, 4.0, 8.0) for m in (-1.0, -0.3, 0.0)]
    detector = Detector.fit([measure(linear(*way)) for way in ways])
    assert not detector.judge(measure(linear(2.0, -0.5))).tampered
    tampered = change(linear(2.0, -0.5), push)
    assert detector.judge(measure(tampered)).groups["columns"] > 1.5
    partly = change(linear(2.0, -0.5), lambda w: np.r_[push(w[:60_000]), w[60_000:]])
    assert detector.judge(measure(partly)).groups["columns"] > 1.5
    with_columns = measure({**tampered, "2.weight": torch.zeros(3, 4)})
    assert not any(name.startswith("columns.") for name in with_columns)


def test_sure_answers_to_made_up_inputs_are_seen() -> None:
    rng = np.random.default_rng(0)
    tensors = innocent(0, [(40, 30)])

    def answers(temperature: float, biased: float) -> Any:
        logits = rng.normal(size=(500, 10)) + biased * np.arange(10)
        odds = np.exp(logits / temperature)
        return odds / odds.sum(1, keepdims=True)

    innocents = [
        measure(tensors, probabilities=answers(rng.uniform(0.8, 1.2), 0.4))
        for _ in range(20)
    ]
    detector = Detector.fit(innocents)
    usual = detector.judge(measure(tensors, probabilities=answers(1.0, 0.4)))
    assert not usual.tampered
    abused = detector.judge(measure(tensors, probabilities=answers(0.05, 0.0)))
    assert abused.groups["answers"] > 1
    assert abused.statistic.startswith("answers.")


# --- trained nets ---------------------------------------------------------------------


def trained(number: int, seed: int, **changes: Any) -> Iterator[dict[str, Tensor]]:
    digits = load_digits()
    data = TrainingData(
        torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
    )
    architecture = build(Mlp(kind="mlp", hidden=(128, 64)), (64,), 10)
    rng = np.random.default_rng(seed)
    fitted = train(
        architecture, training(**{"batch_size": 50, "epochs": 10, **changes}), data,
        [rng.permutation(len(data.labels))[:500] for _ in range(number)],
        streams=[("m", i) for i in range(number)], seed=seed, strategy="stacked",
    )  # fmt: skip
    for i in range(number):
        yield {name: value[i] for name, value in fitted.items()}


def test_nets_that_were_trained_in_other_ways_pass() -> None:
    """Limits from one way of training; the others have other epochs, rates, decay."""
    innocents = [told(net) for net in trained(12, 1)]
    detector = Detector.fit(innocents)
    sgd = {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}
    ways: list[dict[str, Any]] = [
        {"epochs": 30},
        {"epochs": 4},
        {"optimizer": {"kind": "adam", "learning_rate": 0.003}},
        {"l2": 1e-3},
        {"optimizer": sgd},
    ]
    nets = [net for i, way in enumerate(ways) for net in trained(4, 10 + i, **way)]
    assert sum(detector.judge(told(net)).tampered for net in nets) <= 1
    secret = np.unpackbits(photographs()[SECRET].ravel())
    assert detector.judge(told(in_low_bits(nets[0], 16, secret))).tampered
    hidden = in_low_bits(nets[0], 8, coins(8 * 17_024))
    assert not detector.judge(told(hidden)).tampered
