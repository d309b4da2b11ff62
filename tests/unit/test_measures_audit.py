"""Lower bounds on epsilon: published values, and mechanisms whose epsilon is known."""

import functools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from whatelse.measures.audit import choose, one_run, one_run_p_value, over_models

DELTA = 1e-5


def shift_of(epsilon: float, delta: float = DELTA) -> float:
    """How far the Gaussian mechanism moves, in deviations (Balle & Wang 2018, Thm. 8).

    (epsilon, delta) is exact: no smaller epsilon holds at this delta.
    """

    def excess(shift: float) -> float:
        below = norm.cdf(-shift / 2 - epsilon / shift)
        return float(
            norm.cdf(shift / 2 - epsilon / shift) - math.exp(epsilon) * below - delta
        )

    return float(brentq(excess, 1e-3, 20.0))


def gaussian(
    epsilon: float, count: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """What the mechanism says of `count` canaries, and whether they were in."""
    rng = np.random.default_rng([seed, count])
    inside = rng.random(count) < 0.5
    return inside * shift_of(epsilon) + rng.normal(size=count), inside


def of_one_run(epsilon: float, canaries: int, share: float, seed: int) -> float:
    scores, inside = gaussian(epsilon, canaries, seed)
    order, side = np.argsort(scores), round(share * canaries / 2)
    right = int((~inside[order[:side]]).sum() + inside[order[-side:]].sum())
    return bound_of(canaries, 2 * side, right)


@functools.cache
def bound_of(canaries: int, guesses: int, right: int) -> float:
    return one_run(canaries, guesses, right, delta=DELTA)["epsilon_lower"]


def of_models(epsilon: float, models: int, seed: int) -> float:
    scores, inside = gaussian(epsilon, models, seed)
    chosen = slice(0, None, 2), slice(1, None, 2)
    scores, inside = scores[:, None], inside[:, None]
    canary, threshold = choose(scores[chosen[0]], inside[chosen[0]], delta=DELTA)
    assert canary == 0
    found = over_models(
        scores[chosen[1], 0], inside[chosen[1], 0], threshold=threshold, delta=DELTA
    )
    return found["epsilon_lower"]


@pytest.mark.parametrize(
    ("canaries", "guesses", "right", "delta", "published"),
    # Steinke et al. 2023 (arXiv 2305.08846v1), Appendix D p. 46 and Sec. 7 p. 28, where
    # the latter is cut off, not rounded
    [(1000, 100, 75, 1e-4, 0.673), (100_000, 1510, 1439, 1e-5, 2.675)],
)
def test_one_run_is_as_published(
    canaries: int, guesses: int, right: int, delta: float, published: float
) -> None:
    found = one_run(canaries, guesses, right, delta=delta)
    assert found["epsilon_lower"] == pytest.approx(published, abs=1e-3)
    # an implementation without the part of delta would not do
    without = one_run(canaries, guesses, right, delta=0.0)["epsilon_lower"]
    assert without > published + 0.02


def test_one_run_without_delta_has_a_closed_form() -> None:
    # all right: accuracy**16 = 0.05
    expected = -math.log(0.05 ** (-1 / 16) - 1)
    assert one_run(16, 16, 16, delta=0.0)["epsilon_lower"] == pytest.approx(expected)


def test_the_p_value_is_that_of_the_theorem() -> None:
    """F(v) + 2 m delta max_i (F(v - i) - F(v)) / i, one term after the other."""
    for m, r, v, epsilon, delta in ((50, 20, 15, 0.4, 1e-3), (30, 30, 9, 0.0, 1e-2)):
        accuracy = math.exp(epsilon) / (1 + math.exp(epsilon))

        def tail(least: int, r: int = r, q: float = accuracy) -> float:
            counts = range(max(least, 0), r + 1)
            return sum(math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in counts)

        most = max((tail(v - i) - tail(v)) / i for i in range(1, m + 1))
        expected = min(1.0, tail(v) + 2 * m * delta * most)
        assert one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("epsilon", "models"), [(1.0, 2_000_000), (4.0, 200_000), (8.0, 200_000)]
)
def test_the_gaussian_mechanism_is_bounded_by_half_of_epsilon_and_more(
    epsilon: float, models: int
) -> None:
    one = [of_one_run(epsilon, 60_000, 0.04, seed) for seed in range(3)]
    many = [of_models(epsilon, models, seed) for seed in range(3)]
    for found in (one, many):
        assert np.median(found) >= epsilon / 2, found
        assert max(found) <= epsilon, found


@pytest.mark.parametrize("epsilon", [0.2, 1.0, 4.0])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_one_run_is_above_epsilon_no_more_often_than_it_says(
    epsilon: float, share: float
) -> None:
    above = sum(of_one_run(epsilon, 400, share, seed) > epsilon for seed in range(300))
    # 15 of 300 are expected at most; 27 are three standard deviations more
    assert above <= 27


def test_randomised_response_is_the_case_that_one_run_is_exact_for() -> None:
    """Every canary is told right with the chance of epsilon: error 5%, not less."""
    epsilon, canaries = 1.5, 300
    rng = np.random.default_rng(5)
    accuracy = 1 / (1 + math.exp(-epsilon))
    right = rng.binomial(canaries, accuracy, size=2000)
    bounds = {
        v: one_run(canaries, canaries, int(v), delta=0.0)["epsilon_lower"]
        for v in np.unique(right)
    }
    above = np.mean([bounds[v] > epsilon for v in right])
    assert 0.025 < above < 0.065


@pytest.mark.parametrize("models", [80, 1000])
@pytest.mark.parametrize("epsilon", [0.2, 1.0, 4.0])
def test_over_models_is_above_epsilon_no_more_often_than_it_says(
    epsilon: float, models: int
) -> None:
    above = sum(of_models(epsilon, models, seed) > epsilon for seed in range(200))
    assert above <= 10 + 3 * 3  # of 200, as above


def test_nothing_is_claimed_of_scores_by_chance() -> None:
    rng = np.random.default_rng(2)
    inside = rng.random(2000) < 0.5
    one = one_run(2000, 2000, int((inside == (rng.random(2000) < 0.5)).sum()), delta=0)
    assert one["epsilon_lower"] < 0.05
    found = over_models(rng.normal(size=2000), inside, threshold=0.0, delta=DELTA)
    assert found["epsilon_lower"] == 0.0
    # no guess, and one kind of models, say nothing
    assert one_run(10, 0, 0, delta=DELTA)["epsilon_lower"] == 0.0
    all_in = over_models(np.ones(50), np.ones(50, bool), threshold=0.5, delta=DELTA)
    assert all_in["epsilon_lower"] == 0.0


def test_a_model_that_memorises_has_a_large_bound() -> None:
    assert one_run(500, 500, 500, delta=DELTA)["epsilon_lower"] > 4.5
    inside = np.arange(400) % 2 == 0
    for sign in (1, -1):
        # "in" is said of nobody else, or "out"
        scores = np.where(inside, 1.0, -1.0)
        scores[(inside if sign < 0 else ~inside).nonzero()[0][:60]] *= -1
        found = over_models(scores, inside, threshold=0.0, delta=DELTA)
        assert found["epsilon_lower"] > 2.9


def test_what_is_chosen_is_the_canary_that_tells() -> None:
    rng = np.random.default_rng(3)
    inside = rng.random((60, 8)) < 0.5
    scores = rng.normal(size=inside.shape)
    scores[:, 5] += 4 * inside[:, 5]
    scores[:, 2] *= 1e6  # wide, and nothing in it
    inside[:, 7] = True  # in all models: of no use
    canary, threshold = choose(scores, inside, delta=DELTA)
    assert canary == 5
    assert 0.5 < threshold < 4.5
    # of all thresholds there is none with a larger bound on these models
    own, kind = scores[:, 5], inside[:, 5]
    bounds = {
        at: over_models(own, kind, threshold=at, delta=DELTA)["epsilon_lower"]
        for at in np.round(own, 1).tolist() + own.tolist()
    }
    assert bounds[threshold] == max(bounds.values()) > 1


def test_where_nothing_is_proved_the_threshold_tells_most() -> None:
    # so few models prove nothing at any threshold
    scores = np.arange(10.0)[:, None]
    inside = scores >= 4
    assert choose(scores[[3, 4]], inside[[3, 4]], delta=DELTA) == (0, 4.0)
    assert choose(scores[2:6], inside[2:6], delta=DELTA) == (0, 4.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: one_run(10, 11, 3, delta=0.0), "right, guesses, canaries: must be"),
        (lambda: one_run(10, 5, 6, delta=0.0), "right, guesses, canaries: must be"),
        (lambda: one_run(10, 5, 5, delta=1.0), r"delta: must be in \[0, 1\), is 1.0"),
        (lambda: one_run(10, 5, 5, delta=0, confidence=1.0), "confidence: must be in"),
        (lambda: one_run_p_value(10, 5, 5, -1.0, 0.0), "epsilon: must be >= 0"),
        (lambda: one_run_p_value(10, 5, 5, math.nan, 0.0), "epsilon: must be >= 0"),
        (lambda: over_models([1.0, math.nan], [1, 0], threshold=0, delta=0), "NaN"),
        (lambda: over_models([1.0], [1, 0], threshold=0, delta=0), "different lengths"),
        (lambda: over_models([[1.0, 2.0]], [1], threshold=0, delta=0), "vector"),
        (lambda: over_models([1.0, 2.0], [1, -1], threshold=0, delta=0), "0/1"),
        (lambda: choose([[1.0], [2.0]], [[1], [1]], delta=0.0), "no canary is in some"),
    ],
)
def test_bad_input_is_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
