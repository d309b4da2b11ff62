"""Statistics that tell an innocent model file from one with a payload.

Five groups, by what a payload disturbs:

- "bits": a trained weight is a smooth random variable, so its mantissa bits are all
  but fair coins, and how far they are from fair follows from the density. Replaced
  bits break that in one way (plain data: shares, bytes, serial dependence) or in the
  other (encrypted data: too fair in high planes).
- "flat": within small cells weights follow the slope of their density, and replaced
  bits follow none. Innocents may follow it more or less than they should, which "bits"
  measures; that they do not follow it at all is another matter.
- "shape": weights that follow pixels are smooth along the file and correlate with
  natural images; signs that were pushed leave a crowd of small weights.
- "answers": a model that was trained on made-up inputs answers such inputs unlike
  its kin. How sure a net is there depends more on how it was trained than on that, so
  this group sees gross cases only, as P2 says of its black-box attack.
- "columns": in a linear model an input speaks for many classes or for few, and signs
  that a payload drew do not know of inputs. Linear models only: their weights differ
  so much between losses and optimizers that "shape" sees nothing odd in any.

`measure` gives all of them for one model, `Detector` learns from innocent models what
is usual and calls the unusual.

Legend for shape suffixes: N weights, J mantissa planes (0 is the lowest), K images,
Y X image rows and columns, Q queries, C classes, D inputs, M models, S statistics.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from whatelse.errors import UserError

Floats = NDArray[np.float64]
Words = NDArray[np.uint32]
Group = Literal["bits", "flat", "shape", "answers", "columns"]

PLANES = 23
SERIAL_LAGS = (1, 8)
LONGEST_LAG = 128
# Cells of 2^b units in the last place whose slope is looked at; the finest cells that
# weights are counted in; octaves below the largest weight.
SLOPES = range(15, 23)
_FINEST = 11
_OCTAVES = 12
# Up to this plane no density that training makes moves a share by a standard error.
_FAIR_PLANES = 14
# From here on the curvature of the density, which is training's, shows in the planes.
_CURVED = 21

# By how much innocent models that were trained in other ways may differ, beyond their
# sampling error. Initial weights are multiples of 2^-24 times a power of 2, and those
# of dead units and constant pixels never move, so low bits have many zeros.
_TOLERANCE = {
    "bits.share.low": 0.02,
    "bits.serial.low": 0.02,
    "bits.bytes.low": 0.1,
    "bits.slope": 0.05,
    "shape.mean": 0.05,
    "shape.skewness": 0.4,
    "shape.kurtosis": 0.5,
    "shape.near_zero": 0.025,
    "shape.bimodality": 0.15,
    "shape.balance": 0.03,
    "shape.runs": 0.03,
    "shape.bytes": 0.1,
    # neighbours in a filter are alike, the more so the higher the rate
    "shape.along.near": 0.1,
    "shape.along.far": 0.05,
    "answers.sure": 0.35,
    "answers.entropy": 0.3,
    "answers.mean": 0.2,
}


@dataclass(frozen=True)
class BitPlanes:
    """Mantissa planes, the lowest first.

    Attributes
    ----------
    ones : ndarray, shape (J,)
        Share of ones.
    deviation : ndarray, shape (J,)
        d_j, the share less one half.
    halving : ndarray, shape (J - 1,)
        d_j - d_(j+1) / 2 in units of its binomial standard error. A density that is
        smooth over a cell of plane j + 1 halves the deviation from plane to plane, so
        this is 0 but for the topmost planes. Bits that were replaced by fair ones up
        to plane j leave it far below.
    """

    ones: Floats
    deviation: Floats
    halving: Floats


def weights(tensors: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """Concatenate the float32 tensors with more than one dimension, in their order.

    It is what P2's white-box attacks write to: no biases and no norms.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Parameters and buffers of one model, on the CPU.

    Returns
    -------
    ndarray of float32, shape (N,)
        Flattened row by row.

    Raises
    ------
    UserError
        If there are none, or one is NaN or infinite.
    """
    parts = _parts(tensors)
    if not parts:
        raise UserError("tensors: has no float32 tensor with more than one dimension")
    joined = np.concatenate([part.ravel() for part in parts])
    if not np.isfinite(joined).all():
        raise UserError("tensors: holds NaN or infinity; allowed: finite numbers")
    return joined


def bit_planes(w: NDArray[np.float32]) -> BitPlanes:
    """Return the shares of ones of the mantissa planes and what follows from them."""
    ones = _plane_shares(_words(w))
    deviation = ones - 0.5
    error = np.sqrt(1.25 * 0.25 / max(len(w), 1))
    return BitPlanes(ones, deviation, (deviation[:-1] - deviation[1:] / 2) / error)


def low_byte_chi2(w: NDArray[np.float32]) -> Floats:
    """Hold the histograms of bits 0-7 and 8-15 against the uniform one.

    Returns
    -------
    ndarray, shape (2,)
        Pearson's chi-square as z-scores by its exact mean and variance.
    """
    words = _words(w)
    uniform = np.full(256, 1 / 256)
    return np.array([_chi2_z(_bytes(words, i), uniform) for i in range(2)])


def serial(w: NDArray[np.float32]) -> Floats:
    """Return the autocorrelation of each mantissa plane along the file.

    Returns
    -------
    ndarray, shape (len(SERIAL_LAGS), J)
        As z-scores; zero for a plane that does not vary.
    """
    words = _words(w)
    found = np.zeros((len(SERIAL_LAGS), PLANES))
    for i, lag in enumerate(SERIAL_LAGS):
        if len(words) <= lag:
            continue
        left, right = _plane_shares(words[:-lag]), _plane_shares(words[lag:])
        unequal = _plane_shares(words[:-lag] ^ words[lag:])
        # unequal = left + right - 2 both
        covariance = (left + right - unequal) / 2 - left * right
        scale = np.sqrt(left * (1 - left) * right * (1 - right))
        found[i] = _ratio(covariance, scale) * math.sqrt(len(words) - lag)
    return found


def slopes(parts: Sequence[NDArray[np.float32]]) -> tuple[Floats, Floats]:
    """Test whether weights lie within cells of 2^b ulp as their density says.

    Within a cell the density slopes, mostly towards zero. For a cell whose log density
    differs by t between its ends, a weight lies at mu = coth(t / 2) / 2 - 1 / t of the
    cell's width from its middle on average; replaced by fair bits, at 0. The
    regression of positions on mu, over all cells, has slope 1 for innocent weights of
    any smooth density. It sees about one plane deeper than `BitPlanes.halving`, since
    cells with a steep density count for more.

    Parameters
    ----------
    parts : sequence of ndarray of float32
        The weights of each tensor, since each has a density of its own.

    Returns
    -------
    slope, error : ndarray, shape (len(SLOPES),)
        For each b in SLOPES. The slope is near 0 where nothing of the density is left
        in the low b bits; the error is infinite if the density is flat.
    """
    matched, expected = np.zeros(len(SLOPES)), np.zeros(len(SLOPES))
    for part in parts:
        counted = _cells(part.ravel())
        if counted is None:
            continue
        counts, logs = counted
        for i, bits in enumerate(SLOPES):
            width = 1 << (bits - _FINEST)
            inside = counts.reshape(-1, width)
            place = (np.arange(width) + 0.5) / width - 0.5
            mu = _mean_place(np.diff(logs[::width]))
            matched[i] += mu @ (inside @ place)
            expected[i] += mu**2 @ inside.sum(axis=1)
    flat = expected == 0
    safe = np.where(flat, 1.0, expected)
    return np.where(flat, 1.0, matched / safe), np.where(
        flat, np.inf, 1 / np.sqrt(12 * safe)
    )


def moments(parts: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Return the shape of the weights, standardised tensor by tensor and pooled.

    Weights of dead rows and columns (see `live`) are left out: weight decay takes
    them to zero, where they look like signs that were pushed.

    Parameters
    ----------
    parts : sequence of ndarray of float32
        The tensors with more than one dimension.

    Returns
    -------
    dict of str to float
        ``mean`` (in standard deviations), ``skewness``, ``kurtosis`` (the logarithm
        of E z^4 / 3, 0 for a normal density: heavy tails would swamp all else),
        ``near_zero`` (share with magnitude below .05 standard deviations) and
        ``bimodality`` (Sarle's coefficient, 5/9 for a uniform density, up to 1).
    """
    kept = [part[live(part)] for part in parts]
    total = max(sum(len(part) for part in kept), 1)
    z = _standardised(kept)
    squared = z * z
    skewness = float(squared @ z) / total
    fourth = max(float(squared @ squared) / total, 1.0)
    mean, near = 0.0, 0
    for part in kept:
        if len(part) and (std := _std(part)):
            mean += len(part) * float(part.mean(dtype=np.float64)) / std
            near += int((np.abs(part) < 0.05 * std).sum())
    return {
        "mean": mean / total,
        "skewness": skewness,
        "kurtosis": math.log(fourth / 3),
        "near_zero": near / total,
        "bimodality": (skewness**2 + 1) / max(fourth, skewness**2 + 1),
    }


def live(part: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which weights of a tensor lie in a live row and column and are not zero.

    A row or column is dead if its root mean square is below a fifth of the tensor's:
    its unit never fires, or its input never varies. Columns are inputs of the layer,
    with all their places in a kernel.
    """
    square = part.astype(np.float64).reshape(len(part), -1) ** 2
    least = 0.04 * square.mean()
    rows, columns = square.mean(axis=1) >= least, square.mean(axis=0) >= least
    return (rows[:, None] & columns & (square > 0)).reshape(part.shape)


def signs(
    w: NDArray[np.float32], kept: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Return z-scores of the signs along the file.

    Parameters
    ----------
    w : ndarray of float32, shape (N,)
        In the order of the file.
    kept : ndarray of bool, shape (N,), optional
        The weights to look at, all if left out.

    Returns
    -------
    dict of str to float
        ``balance`` of positive ones against one half, ``runs`` (Wald and Wolfowitz)
        and ``bytes``, the chi-square of eight signs packed to a byte, as they lie in
        the file, against independent signs with the same balance. Zero counts as
        negative.
    """
    every = w > 0
    positive = every if kept is None else every[kept]
    n = len(positive)
    if n < 16:
        return {"balance": 0.0, "runs": 0.0, "bytes": 0.0}
    share = float(positive.mean())
    balance = (share - 0.5) * 2 * math.sqrt(n)
    if share in (0.0, 1.0):
        return {"balance": balance, "runs": 0.0, "bytes": 0.0}
    runs = 1 + int((positive[1:] != positive[:-1]).sum())
    pairs = 2 * n * share * (1 - share)
    variance = pairs * (pairs - 1) / (n - 1)
    ones = np.array([value.bit_count() for value in range(256)])
    expected = share**ones * (1 - share) ** (8 - ones)
    packed = np.packbits(every[: len(w) - len(w) % 8])
    if kept is not None:
        packed = packed[_whole_bytes(kept)]
    return {
        "balance": balance,
        "runs": (runs - pairs - 1) / math.sqrt(variance),
        "bytes": _chi2_z(np.bincount(packed, minlength=256), expected),
    }


def _whole_bytes(kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which bytes of the file's signs are of kept weights alone."""
    eights = kept[: len(kept) - len(kept) % 8].reshape(-1, 8)
    return np.asarray(eights.all(axis=1))


def column_signs(part: NDArray[np.float32]) -> float:
    """Return how close the signs of a linear model's columns come to coins.

    For how many classes an input has a positive weight varies over inputs. That
    variance over the one of as many independent signs is 1 if a payload drew them, and
    training has no reason to make it so. A payload begins anywhere in the file and
    need not fill it, so that every stretch of half the classes is looked at.

    Parameters
    ----------
    part : ndarray of float32, shape (C, D)
        A row for each class, a column for each input.

    Returns
    -------
    float
        1 / |ratio - 1| of the stretch that is nearest to 1, or 1 / (sampling error of
        the ratio) if that is smaller.
    """
    positive = part > 0
    rows = max(2, -(-len(part) // 2))
    share = positive.mean(axis=1)
    coins = np.convolve(share * (1 - share), np.ones(rows), "valid")
    upto = np.cumsum(np.pad(positive, ((1, 0), (0, 0))), axis=0, dtype=np.int32)
    counts = upto[rows:] - upto[:-rows]
    if not len(counts) or not coins.all():
        return 0.0
    nearest = np.abs(counts.var(axis=1) / coins - 1).min()
    return float(1 / max(nearest, math.sqrt(2 / part.shape[1])))


def autocorrelation(parts: Sequence[NDArray[np.float32]]) -> Floats:
    """Return z-scores of the autocorrelation along the file, shape (LONGEST_LAG,).

    Lag 1 comes first. Tensors are standardised, so that their scales make no trend.
    """
    z = _standardised(parts)
    n = len(z)
    size = 1 << (n + LONGEST_LAG).bit_length()
    power = np.abs(np.fft.rfft(z, size)) ** 2
    products = np.fft.irfft(power, size)[: LONGEST_LAG + 1]
    found = np.zeros(LONGEST_LAG)
    lags = np.arange(1, min(LONGEST_LAG, n - 1) + 1)
    found[: len(lags)] = _ratio(products[lags] / np.sqrt(n - lags), products[0] / n)
    return found


def image_correlation(
    parts: Sequence[NDArray[np.float32]], images: NDArray[np.uint8]
) -> float:
    """Correlate windows of an image's size with the mean natural image.

    A payload may begin anywhere in a tensor, so the mean window is a turned mean image:
    all turns are tried, by their Fourier transforms. It may end anywhere too, so the
    mean is taken over the first 1, 2, 4, ... windows.

    Parameters
    ----------
    parts : sequence of ndarray of float32
        Weight tensors. Not the one that sees the pixels themselves: an innocent model's
        follow the images that it was trained on.
    images : ndarray of uint8, shape (K, Y, X)
        Grey images of the size that a payload would have, not the payload's own.

    Returns
    -------
    float
        The largest |correlation|, in units of its standard error for independent
        weights. Zero if no window fits or the mean image is flat.
    """
    if images.ndim != 3 or not len(images):
        raise ValueError(f"images: must have shape (K, Y, X), has {images.shape}")
    mean = images.mean(axis=0, dtype=np.float64).ravel()
    mean -= mean.mean()
    pixels, norm = mean.size, np.linalg.norm(mean)
    found = 0.0
    if not norm:
        return found
    turned = np.conj(np.fft.rfft(mean / norm))
    for part in parts:
        count = part.size // pixels
        if not count:
            continue
        windows = part.ravel()[: count * pixels].reshape(count, pixels)
        windows = windows - windows.mean(axis=1, keepdims=True, dtype=np.float64)
        lengths = np.linalg.norm(windows, axis=1, keepdims=True)
        units = np.divide(
            windows, lengths, out=np.zeros_like(windows), where=lengths > 0
        )
        sums = np.cumsum(units, axis=0)
        firsts = sorted({count, *(2**k for k in range(count.bit_length()))})
        kept = np.array([k for k in firsts if k <= count])
        along = np.fft.irfft(np.fft.rfft(sums[kept - 1]) * turned, pixels)
        reach = np.abs(along).max(axis=1) / np.sqrt(kept)
        found = max(found, float(reach.max() * math.sqrt(pixels)))
    return found


def confidence(probabilities: ArrayLike) -> dict[str, float]:
    """Return how sure a model is far from its data.

    Parameters
    ----------
    probabilities : array_like, shape (Q, C)
        Answers to inputs that look like nothing the model should know.

    Returns
    -------
    dict of str to float
        ``sure``, the share of answers above .9; ``mean``, the mean largest
        probability; ``entropy`` of the predicted classes over the queries, 1 if all
        are as frequent. A model that learned these very inputs is sure of them and
        deals out classes evenly.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    if values.ndim != 2 or not len(values) or values.shape[1] < 2:
        raise ValueError(f"probabilities: must be (Q, C > 1), has {values.shape}")
    if not np.isfinite(values).all():
        raise UserError("probabilities: holds NaN or infinity")
    largest = values.max(axis=1)
    frequency = np.bincount(values.argmax(axis=1), minlength=values.shape[1])
    entropy = _entropy(frequency / len(values)) / math.log2(values.shape[1])
    return {
        "sure": float(np.mean(largest > 0.9)),
        "entropy": float(entropy),
        "mean": float(largest.mean()),
    }


def measure(
    tensors: Mapping[str, Tensor],
    *,
    images: NDArray[np.uint8] | None = None,
    probabilities: ArrayLike | None = None,
) -> dict[str, float]:
    """Measure a model.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Parameters and buffers, on the CPU.
    images : ndarray of uint8, shape (K, Y, X), optional
        See `image_correlation`, left out without them.
    probabilities : array_like, shape (Q, C), optional
        See `confidence`; without them there is no group "answers".

    Returns
    -------
    dict of str to float
        Named ``<group>.<statistic>``, always in the same order, in units of the
        sampling error, widened by what ways of training may differ by.
    """
    joined = weights(tensors)
    parts = _parts(tensors)
    # A weight that is exactly zero was pruned; it has no mantissa.
    found = _of_bits(joined[joined != 0])
    shares, errors = slopes(parts)
    for b, share, error in zip(SLOPES, shares, errors, strict=True):
        if b < _CURVED:
            found[f"bits.slope.{b}"] = _units(share - 1, error, "bits.slope")
        # What the slope can be at most, by two standard errors.
        found[f"flat.{b}"] = 1 / (abs(share) + 2 * error)
    found |= _of_shape(joined, parts)
    if images is not None:
        found["shape.images"] = image_correlation(parts[1:], images)
    if probabilities is not None:
        queries = len(np.asarray(probabilities))
        for name, value in confidence(probabilities).items():
            label = f"answers.{name}"
            found[label] = _units(value, 0.5 / math.sqrt(queries), label)
    if len(parts) == 1 and parts[0].ndim == 2:
        found["columns.signs"] = column_signs(parts[0])
    return {name: float(value) for name, value in found.items()}


def _of_bits(w: NDArray[np.float32]) -> dict[str, float]:
    found: dict[str, float] = {}
    n = max(len(w), 1)
    planes = bit_planes(w)
    for j in range(_FAIR_PLANES):
        low = "bits.share.low" if j < 8 else ""
        found[f"bits.share.{j}"] = _units(planes.deviation[j], 0.5 / math.sqrt(n), low)
    for j in range(_FAIR_PLANES, _CURVED - 1):
        found[f"bits.halving.{j}"] = planes.halving[j]
    for i, z in enumerate(low_byte_chi2(w)):
        low = "bits.bytes.low" if i == 0 else ""
        found[f"bits.bytes.{i}"] = _chi2_units(z, n, low)
    for lag, row in zip(SERIAL_LAGS, serial(w), strict=True):
        # The top planes follow the magnitudes, which innocent training orders.
        for j in range(_CURVED):
            low = "bits.serial.low" if j < 8 else ""
            found[f"bits.serial.{lag}.{j}"] = _units(
                row[j] / math.sqrt(n), 1 / math.sqrt(n), low
            )
    return found


def _of_shape(
    joined: NDArray[np.float32], parts: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    found: dict[str, float] = {}
    kept = np.concatenate([live(part).ravel() for part in parts])
    unit = 1 / math.sqrt(max(int(kept.sum()), 1))
    errors = {"near_zero": 0.5 * unit, "skewness": math.sqrt(6) * unit}
    errors["kurtosis"] = math.sqrt(24) / 3 * unit
    for name, value in moments(parts).items():
        label = f"shape.{name}"
        found[label] = _units(value, errors.get(name, unit), label)
    z = signs(joined, kept)
    found["shape.balance"] = _units(z["balance"] * unit / 2, unit / 2, "shape.balance")
    found["shape.runs"] = _units(z["runs"] * unit, unit, "shape.runs")
    found["shape.bytes"] = _chi2_units(
        z["bytes"], int(_whole_bytes(kept).sum()), "shape.bytes"
    )
    unit = 1 / math.sqrt(len(joined))
    along = np.abs(autocorrelation(parts)) * unit
    found["shape.along.near"] = _units(along[:8].max(), unit, "shape.along.near")
    found["shape.along.far"] = _units(along[8:].max(), unit, "shape.along.far")
    return found


def _units(value: float, error: float, tolerance: str) -> float:
    """Divide by the sampling error, widened by what training may do."""
    return value / math.hypot(error, _TOLERANCE.get(tolerance, 0.0))


def _chi2_units(z: float, n: int, tolerance: str) -> float:
    """Turn the z-score of a chi-square over bytes into units of effect size.

    The effect size is the root of chi-square's excess over its mean, a weight, with
    its sign; its error is that of a chi-square at its mean.
    """
    excess = z * math.sqrt(2 * 255) / max(n, 1)
    error = math.sqrt(math.sqrt(2 * 255) / max(n, 1))
    return _units(math.copysign(math.sqrt(abs(excess)), excess), error, tolerance)


@dataclass(frozen=True)
class Verdict:
    """What a detector says of a model.

    Attributes
    ----------
    score : float
        The largest distance from the innocents over all statistics, in units of what
        the group allows.
    tampered : bool
        Whether the score is above 1.
    statistic : str
        Where it is largest.
    groups : dict of str to float
        The score of each group.
    """

    score: float
    tampered: bool
    statistic: str
    groups: dict[str, float]


@dataclass(frozen=True)
class Detector:
    """What is usual among innocent models, and how much more is too much.

    Each statistic is standardised by median and scale of the innocents. The scale is
    the largest of MAD, interquartile range and standard deviation (each made
    consistent with a normal's), so that one odd innocent widens its statistic, and 1:
    `measure` gives units of known error. A model's distance in a group is the largest
    |z| of the group.

    Limits are set by leave-one-out: each innocent is standardised by the others, as a
    new model will be, and a group's limit is the largest such distance times
    `margin`. Without a margin a new innocent would pass it with chance 1 / (M + 1) a
    group, by exchangeability, if it was trained like the others; that is all that M
    innocents can say. With 20 models the false-positive rate is known to be about 5%
    a group and no better, and the margin's share in it is a belief about tails.

    Attributes
    ----------
    names : tuple of str
        Of the statistics.
    centre, scale : ndarray, shape (S,)
        Of the innocents.
    limits : dict of str to float
        By group.
    """

    names: tuple[str, ...]
    centre: Floats
    scale: Floats
    limits: dict[str, float]

    @classmethod
    def fit(
        cls, innocents: Sequence[Mapping[str, float]], *, margin: float = 1.5
    ) -> "Detector":
        """Learn from innocent models.

        Parameters
        ----------
        innocents : sequence of mapping of str to float
            `measure` of each; the more ways to train are among them, the better.
        margin : float, optional
            At least 1.

        Raises
        ------
        UserError
            If there are fewer than 8 models or their statistics differ in name.
        """
        if len(innocents) < 8:
            raise UserError(
                f"innocents: has {len(innocents)} models; allowed: 8 or more"
            )
        if margin < 1:
            raise ValueError(f"margin: must be at least 1, is {margin}")
        names = tuple(innocents[0])
        table_MS = np.stack([_row(names, model) for model in innocents])
        held_out = []
        for i, row in enumerate(table_MS):
            centre, scale = _usual(np.delete(table_MS, i, axis=0))
            held_out.append(np.abs(row - centre) / scale)
        largest_S = np.max(held_out, axis=0)
        limits = {
            group: margin * max(float(largest_S[places].max()), 1.0)
            for group, places in _places(names).items()
        }
        centre, scale = _usual(table_MS)
        return cls(names, centre, scale, limits)

    def distances(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Return z of each statistic, with its sign."""
        z = (_row(self.names, statistics) - self.centre) / self.scale
        return dict(zip(self.names, z.tolist(), strict=True))

    def judge(self, statistics: Mapping[str, float]) -> Verdict:
        """Hold one model against the innocents.

        Parameters
        ----------
        statistics : mapping of str to float
            `measure` of the model, with the same images and queries.
        """
        z = np.abs(list(self.distances(statistics).values()))
        groups, first = {}, {}
        for group, places in _places(self.names).items():
            groups[group] = float(z[places].max()) / self.limits[group]
            first[group] = self.names[places[int(z[places].argmax())]]
        worst = max(groups, key=lambda group: groups[group])
        return Verdict(groups[worst], groups[worst] > 1, first[worst], groups)


def _usual(table_MS: Floats) -> tuple[Floats, Floats]:
    """Return median and scale of each statistic; its error, 1, is the least scale."""
    low, centre, high = np.percentile(table_MS, [25, 50, 75], axis=0)
    mad = np.median(np.abs(table_MS - centre), axis=0)
    scales = [mad * 1.4826, (high - low) / 1.349, table_MS.std(axis=0, ddof=1)]
    return centre, np.maximum(np.max(scales, axis=0), 1.0)


def _places(names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return the places of each group's statistics."""
    groups = np.array([name.split(".")[0] for name in names])
    found = {group: np.flatnonzero(groups == group) for group in get_args(Group)}
    return {group: places for group, places in found.items() if len(places)}


def _row(names: Sequence[str], statistics: Mapping[str, float]) -> Floats:
    if set(statistics) != set(names):
        odd = sorted(set(statistics) ^ set(names))
        raise UserError(f"statistics: models differ in {', '.join(odd[:3])}")
    values = np.array([statistics[name] for name in names], dtype=np.float64)
    if not np.isfinite(values).all():
        raise UserError("statistics: holds NaN or infinity")
    return values


def _parts(tensors: Mapping[str, Tensor]) -> list[NDArray[np.float32]]:
    """Return the weights of each tensor with more than one dimension."""
    arrays = [np.asarray(tensor.detach().numpy()) for tensor in tensors.values()]
    return [a for a in arrays if a.ndim > 1 and a.dtype == np.float32 and a.size]


def _words(w: NDArray[np.float32]) -> Words:
    return np.ascontiguousarray(w, dtype=np.float32).view(np.uint32)


def _bytes(words: Words, place: int) -> NDArray[np.int64]:
    """Return the histogram of a byte of each word, the lowest byte being 0."""
    return np.bincount((words >> 8 * place) & 255, minlength=256)


_BITS_OF_BYTE = (np.arange(256)[:, None] >> np.arange(8)) & 1


def _plane_shares(words: Words) -> Floats:
    """Return the share of ones of each mantissa plane, shape (J,)."""
    ones = np.concatenate([_bytes(words, i) @ _BITS_OF_BYTE for i in range(3)])
    return np.asarray(ones[:PLANES] / max(len(words), 1), dtype=np.float64)


def _chi2_z(counts: NDArray[np.int64], expected: Floats) -> float:
    """Return Pearson's chi-square as a z-score, by its exact mean and variance."""
    n, cells = int(counts.sum()), len(counts)
    if not n:
        return 0.0
    chi2 = float((counts**2 / expected).sum()) / n - n
    uneven = float((1 / expected).sum()) - cells**2 - 2 * cells + 2
    variance = 2 * (cells - 1) + uneven / n
    return (chi2 - (cells - 1)) / math.sqrt(variance)


def _entropy(shares: Floats) -> Floats:
    """Return the entropy in bits along the last axis."""
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(axis=-1))


def _ratio(top: ArrayLike, bottom: ArrayLike) -> Floats:
    """Divide; zero where the divisor is."""
    above, below = np.broadcast_arrays(
        np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    )
    return np.divide(above, below, out=np.zeros(above.shape), where=below != 0)


def _std(part: NDArray[np.float32]) -> float:
    return float(part.std(dtype=np.float64))


def _standardised(parts: Sequence[NDArray[np.float32]]) -> Floats:
    """Return all weights, with mean 0 and deviation 1 in each tensor."""
    standardised = [
        _ratio(p - p.mean(dtype=np.float64), _std(p)).ravel() for p in parts if p.size
    ]
    return np.concatenate([np.zeros(0), *standardised])


def _cells(
    part: NDArray[np.float32],
) -> tuple[NDArray[np.int64], Floats] | None:
    """Count the magnitudes of a tensor in its finest cells.

    Returns
    -------
    counts : ndarray, shape (L,)
        L cells of equal width within an octave; the topmost octaves.
    logs : ndarray, shape (L + 1,)
        Logarithm of a smooth density at the ends of the cells. Neither of them if
        there are too few weights for a density.
    """
    magnitudes = np.abs(part[part != 0])
    if len(magnitudes) < 1000:
        return None
    words = _words(magnitudes) >> _FINEST
    stop = (int(words.max()) >> (PLANES - _FINEST)) + 1
    start = max(stop - _OCTAVES, 1)
    first, last = start << (PLANES - _FINEST), stop << (PLANES - _FINEST)
    kept = words[words >= first].astype(np.int64) - first
    edges = (np.arange(first, last + 1, dtype=np.uint32) << _FINEST).view(np.float32)
    counts = np.bincount(kept, minlength=last - first)
    logs = _log_density(magnitudes, edges.astype(np.float64))
    return None if logs is None else (counts, logs)


def _log_density(magnitudes: NDArray[np.float32], places: Floats) -> Floats | None:
    """Return the log density of magnitudes, linear between bins of equal count.

    The bins halve in count towards the tail. They are far coarser than the cells, and
    each holds many weights, so that hardly any weight bends the slope it is held to.
    """
    n = len(magnitudes)
    tail = [1 - 2.0**-k for k in range(5, max(5, int(math.log2(n / 64))) + 1)]
    levels = [*np.linspace(0, 1 - 2.0**-4, 16), *tail, 1.0]
    edges = np.unique(np.quantile(magnitudes, levels))
    if len(edges) < 5:
        return None
    inside, _ = np.histogram(magnitudes, edges)
    width = np.diff(edges)
    full = inside > 0
    middle = ((edges[1:] + edges[:-1]) / 2)[full]
    logs = np.log(inside[full] / width[full])
    if len(middle) < 2:
        return None
    gradient = np.diff(logs) / np.diff(middle)
    piece = np.clip(np.searchsorted(middle, places) - 1, 0, len(gradient) - 1)
    return np.asarray(logs[piece] + gradient[piece] * (places - middle[piece]))


def _mean_place(step: Floats) -> Floats:
    """Return the mean of a density exp(step x) on [-1/2, 1/2]."""
    # Beyond 60 all lies at one end; below .01 the series is exact to 1e-9.
    t = np.clip(step, -60, 60)
    large = np.abs(t) > 0.01
    safe = np.where(large, t, 1.0)
    return np.where(large, 0.5 / np.tanh(safe / 2) - 1 / safe, t / 12)
