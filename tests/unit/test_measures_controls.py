import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from whatelse.errors import UserError
from whatelse.measures.controls import exchange_test, holm
from whatelse.seeding import stream


def test_exchange_test_exact_by_hand():
    # 3 against 3, fully apart: 2 of the 20 splits are as extreme.
    assert exchange_test([1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1]) == pytest.approx(0.1)


def test_exchange_test_is_two_sided():
    scores, member = [1, 2, 3, 5, 4, 6], np.array([0, 0, 1, 0, 1, 1])
    assert exchange_test(scores, member) == exchange_test(scores, 1 - member)


def test_exchange_test_corrects_for_ties():
    # Half of each kind scores 1. U = 50, its variance with the tie correction is
    # 100 / 12 * (21 - (2 * (10^3 - 10)) / (20 * 19)); shifted by 2 records: U = 70.
    scores = np.array([1] * 7 + [0] * 3 + [1] * 3 + [0] * 7)
    member = np.arange(20) < 10
    variance = 100 / 12 * (21 - 2 * (10**3 - 10) / (20 * 19))
    z = (70 - 50 - 0.5) / math.sqrt(variance)
    assert exchange_test(scores, member) == pytest.approx(
        math.erfc(z / math.sqrt(2)), rel=1e-9
    )


def test_exchange_test_of_constant_scores():
    assert exchange_test(np.ones(50), np.arange(50) < 25) == 1.0


def test_exchange_test_allows_infinite_scores():
    scores = np.array([math.inf, math.inf, 2, 1, 0, -math.inf, -math.inf, -1])
    member = np.array([1, 1, 1, 0, 1, 0, 0, 0], dtype=bool)
    finite = np.clip(scores, -99, 99)
    expected = mannwhitneyu(finite[member], finite[~member]).pvalue
    assert exchange_test(scores, member) == pytest.approx(expected)


@pytest.mark.parametrize("levels", [2, 5, 10**9])
def test_exchange_test_holds_its_level_and_finds_a_leak(levels):
    draw = stream(1, "level", levels)
    member = np.arange(200) < 100
    nulls = [exchange_test(draw.integers(levels, size=200), member) for _ in range(800)]
    # Standard error of the share: .008.
    assert np.mean(np.array(nulls) <= 0.05) <= 0.075
    leak = draw.integers(levels, size=200) + levels * (draw.random(200) < 0.5) * member
    assert exchange_test(leak, member) < 1e-6


def test_exchange_test_refusals():
    with pytest.raises(UserError, match="at least one member and one non-member"):
        exchange_test([1, 2], [1, 1])
    with pytest.raises(UserError, match="NaN"):
        exchange_test([1, math.nan], [0, 1])
    with pytest.raises(ValueError, match="scores has 1, member has 2"):
        exchange_test([1], [0, 1])


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04; the last is raised to
    # .06, since corrected values must not fall.
    adjusted, rejected = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert rejected == [True, False, False, True]


def test_holm_is_plain_for_one_and_nothing_for_none():
    assert holm([0.04]) == ([0.04], [True])
    assert holm([]) == ([], [])


def test_holm_alpha():
    assert holm([0.01, 0.2], alpha=0.01)[1] == [False, False]
    assert holm([0.01, 0.2], alpha=0.2)[1] == [True, True]


def test_holm_returns_plain_values():
    adjusted, rejected = holm([0.5, 0.9])
    assert adjusted == [1.0, 1.0]
    assert {type(value) for value in adjusted} == {float}
    assert {type(value) for value in rejected} == {bool}


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p_value(wrong):
    with pytest.raises(ValueError, match=r"p_values: must be in \[0, 1\]"):
        holm([0.5, wrong])


@pytest.mark.parametrize("alpha", [0, 1, 5])
def test_holm_refuses_alpha_out_of_range(alpha):
    with pytest.raises(ValueError, match=r"alpha: must be in \(0, 1\)"):
        holm([0.5], alpha)
