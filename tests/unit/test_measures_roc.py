import math

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as scikit_learns_curve

from whatelse.errors import UserError
from whatelse.measures.rates import rate
from whatelse.measures.roc import auc, aucs, band, class_rocs, roc_curve, tpr_at_fpr
from whatelse.seeding import stream

MEASURES = [roc_curve, auc, lambda s, m: tpr_at_fpr(s, m, 0.5)]


def two_valued(num_true_calls, num_false_calls, *, num_each):
    """Return scores that are a bare yes/no, with the given counts of yes."""
    member = np.repeat([True, False], num_each)
    scores = np.zeros(2 * num_each)
    scores[:num_true_calls] = 1
    scores[num_each : num_each + num_false_calls] = 1
    return scores, member


def test_curve_by_hand():
    curve = roc_curve([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0])
    assert curve.fpr.tolist() == [0, 0, 0.5, 1]
    assert curve.tpr.tolist() == [0, 0.5, 1, 1]
    assert curve.threshold.tolist() == [math.inf, 0.9, 0.8, 0.3]


def test_curve_of_a_perfect_attack():
    curve = roc_curve([3, 2, 1, 0], [True, True, False, False])
    points = list(zip(curve.fpr.tolist(), curve.tpr.tolist(), strict=True))
    assert points == [(0, 0), (0, 0.5), (0, 1), (0.5, 1), (1, 1)]


def test_curve_of_constant_scores_is_the_diagonal():
    curve = roc_curve(np.ones(6), [1, 0, 1, 0, 0, 0])
    assert curve.fpr.tolist() == [0, 1]
    assert curve.tpr.tolist() == [0, 1]


def test_infinite_scores_rank_and_tie():
    scores = [math.inf, math.inf, 0.0, -math.inf, -math.inf]
    member = [1, 0, 1, 1, 0]
    curve = roc_curve(scores, member)
    assert curve.tpr.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert curve.fpr.tolist() == [0, 0.5, 0.5, 1]
    # Pairs: inf 0.5 + 1, 0 0 + 1, -inf 0 + 0.5 of 6.
    assert auc(scores, member)["value"] == 0.5
    assert auc([math.inf, 1.0, 0.0], [1, 0, 0])["value"] == 1


def test_two_valued_scores_have_the_area_of_their_two_rates():
    # (1 + .528 - .2) / 2 = .664; a tool of the field, blind to ties, printed .18.
    scores, member = two_valued(528, 200, num_each=1000)
    assert auc(scores, member)["value"] == pytest.approx(0.664, abs=1e-12)
    curve = roc_curve(scores, member)
    assert curve.fpr.tolist() == [0, 0.2, 1]
    assert curve.tpr.tolist() == [0, 0.528, 1]
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(0.664, abs=1e-12)


def test_area_does_not_depend_on_the_order_of_records():
    scores, member = two_valued(528, 200, num_each=1000)
    order = stream(0, "order").permutation(len(scores))
    assert auc(scores[order], member[order]) == auc(scores, member)
    assert auc(scores[::-1], member[::-1]) == auc(scores, member)


def test_float32_ties_stay_ties():
    scores = np.array([0.1, 0.1, 0.2, 0.1], dtype=np.float32)
    assert auc(scores, [1, 0, 1, 0])["value"] == 0.75


def test_constant_scores_are_a_coin():
    found = auc(np.full(200, 0.7), np.arange(200) < 100)
    width = 1 - 0.025 ** (1 / 100)
    assert found["value"] == 0.5
    assert found["low"] == pytest.approx(0.5 - width / 2)
    assert found["high"] == pytest.approx(0.5 + width / 2)


def test_perfect_and_inverted_scores_have_one_sided_intervals():
    scores, member = np.arange(30.0), np.arange(30) >= 20
    bound = 0.025 ** (1 / 10)  # 10 members: 10 disjoint pairs
    assert auc(scores, member) == {
        "value": 1.0,
        "low": pytest.approx(bound),
        "high": 1.0,
    }
    assert auc(-scores, member) == {
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(1 - bound),
    }


def test_one_member_says_nothing_about_the_variance():
    assert auc([1, 0, 2], [1, 0, 0]) == {"value": 0.5, "low": 0.0, "high": 1.0}


def test_delong_by_hand():
    # Members 1, 3; non-members 0, 2. Placements of members 1/2, 1 and of
    # non-members 1, 1/2: variances 1/8 each, so var = (1/8 + 1/8) / 2 = 1/8.
    found = auc([1, 3, 0, 2], [1, 1, 0, 0])
    reach = 1.959963984540054 * math.sqrt(1 / 8) / (0.75 * 0.25)
    assert found["value"] == 0.75
    assert found["low"] == pytest.approx(1 / (1 + math.exp(-(math.log(3) - reach))))
    assert found["high"] == pytest.approx(1 / (1 + math.exp(-(math.log(3) + reach))))


@pytest.mark.parametrize("rounded", [False, True])
def test_delong_agrees_with_the_bootstrap(rounded):
    draw = stream(7, "bootstrap")
    inside, outside = draw.normal(1, 1, 300), draw.normal(0, 1, 400)
    if rounded:
        inside, outside = inside.round(), outside.round()
    member = np.repeat([True, False], [300, 400])
    found = auc(np.concatenate([inside, outside]), member)
    areas = []
    for _ in range(1000):
        both = [draw.choice(inside, 300), draw.choice(outside, 400)]
        areas.append(auc(np.concatenate(both), member)["value"])
    low, high = np.quantile(areas, [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.006)
    assert found["high"] == pytest.approx(high, abs=0.006)


@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize("shift", [0.0, 0.8, 2.0])
def test_intervals_of_the_area_cover(shift, levels):
    # levels: scores rounded up to whole numbers, hence many ties.
    draw = stream(11, "coverage", str(shift), str(levels))
    member = np.repeat([True, False], [60, 90])
    covered = 0
    truth = _true_area(shift, tied=levels is not None)
    for _ in range(1500):
        scores = draw.normal(0, 1, 150) + shift * member
        found = auc(scores if levels is None else np.ceil(scores), member)
        covered += found["low"] <= truth <= found["high"]
    # Standard error of the share: .006.
    assert 0.93 <= covered / 1500 <= 0.975


def _true_area(shift, *, tied):
    """Return P(X > Y) + P(X = Y) / 2 for X ~ N(shift, 1) and Y ~ N(0, 1)."""
    from scipy.stats import norm

    if not tied:
        return norm.cdf(shift / math.sqrt(2))
    edges = np.arange(-12, 15)
    inside = np.diff(norm.cdf(edges, shift))
    below = norm.cdf(edges)
    return float((inside * (below[1:] + below[:-1]) / 2).sum())


def test_a_planted_weak_leak_has_an_interval_that_covers():
    # Few records and a near-perfect attack, where DeLong often has no variance.
    draw = stream(3, "degenerate")
    member = np.repeat([True, False], 8)
    truth = _true_area(3.5, tied=False)
    covered = [
        found["low"] <= truth <= found["high"]
        for found in (
            auc(draw.normal(0, 1, 16) + 3.5 * member, member) for _ in range(500)
        )
    ]
    assert np.mean(covered) >= 0.93


def test_tpr_at_fpr_takes_the_largest_without_interpolating():
    #                  1 non-member of 4 lies above the third member
    scores = [9, 8, 7, 6, 5, 4, 3, 2]
    member = [1, 1, 0, 1, 0, 1, 0, 0]
    for fpr, expected in ((0.25, 0.75), (0.4999, 0.75), (0.5, 1), (1.0, 1)):
        assert tpr_at_fpr(scores, member, fpr)["value"] == expected


def test_tpr_at_fpr_keeps_ties_together():
    # All four share the highest score: no threshold takes only the members.
    assert tpr_at_fpr([1, 1, 1, 1, 0], [1, 1, 0, 0, 0], 0.5)["value"] == 0


def test_tpr_at_fpr_of_two_valued_scores():
    scores, member = two_valued(528, 200, num_each=1000)
    assert tpr_at_fpr(scores, member, 0.2)["value"] == 0.528
    assert tpr_at_fpr(scores, member, 0.199)["value"] == 0


def test_tpr_at_fpr_counts_in_whole_records():
    # .29 * 100 is 28.999999999999996 in floating point, yet 29 of 100 is .29.
    scores = np.concatenate([[0.5], np.arange(100) < 29])
    member = np.arange(101) == 0
    assert tpr_at_fpr(scores, member, 0.29)["value"] == 1
    assert tpr_at_fpr(scores, member, 0.28)["value"] == 0


@pytest.mark.parametrize(
    ("fpr", "num_non_members", "needed"),
    [(0.001, 600, 1000), (0.001, 999, 1000), (1e-5, 60_000, 100_000), (0.3, 3, 4)],
)
def test_unresolved_fpr_is_refused(fpr, num_non_members, needed):
    member = np.arange(num_non_members + 1) == 0
    scores = np.arange(num_non_members + 1)
    assert tpr_at_fpr(scores, member, fpr) == {
        "refused": f"needs at least {needed} non-members, has {num_non_members}"
    }
    enough = np.arange(needed + 1)
    assert tpr_at_fpr(enough, enough == needed, fpr)["value"] == 1


@pytest.mark.parametrize("fpr", [0, -0.1, 1e-320, 1.01, math.nan])
def test_fpr_out_of_range(fpr):
    with pytest.raises(ValueError, match=r"fpr: must be in \[1e-12, 1\]"):
        tpr_at_fpr([0, 1], [0, 1], fpr)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("member", [[1, 1], [0, 0], []])
def test_one_kind_of_record(measure, member):
    with pytest.raises(UserError, match="at least one member and one non-member"):
        measure(np.zeros(len(member)), member)


@pytest.mark.parametrize("measure", MEASURES)
def test_nan_scores_are_refused(measure):
    with pytest.raises(UserError, match="scores: 1 of 3 are NaN .*row 1"):
        measure([0, math.nan, 1], [0, 1, 1])


@pytest.mark.parametrize("measure", MEASURES)
def test_misuse(measure):
    with pytest.raises(ValueError, match="scores has 3, member has 2"):
        measure([0, 1, 2], [0, 1])
    with pytest.raises(ValueError, match="scores: must be a vector"):
        measure([[0, 1]], [0, 1])
    with pytest.raises(ValueError, match="member: must be boolean or 0/1"):
        measure([0, 1], [-1, 1])


def test_area_is_scikit_learns_on_probabilities():
    draw = stream(5, "probabilities")
    member = draw.random(4000) < 0.3
    scores = draw.beta(2 + member, 2)
    assert auc(scores, member)["value"] == pytest.approx(
        roc_auc_score(member, scores), abs=1e-12
    )


@pytest.mark.parametrize("levels", [None, 40, 3, 1])
def test_area_is_the_u_statistic_of_scipy(levels):
    """U over the number of pairs; scores on a few levels tie often, on one always."""
    draw = stream(6, "u", str(levels))
    member = draw.random(900) < 0.4
    scores = draw.normal(0, 1, 900) + 0.7 * member
    if levels is not None:
        scores = np.digitize(scores, np.linspace(-1.5, 2.0, levels - 1))
        assert len(np.unique(scores)) == levels
    inside, outside = scores[member], scores[~member]
    u = mannwhitneyu(inside, outside, method="asymptotic").statistic
    found = auc(scores, member)["value"]
    assert found == pytest.approx(u / (len(inside) * len(outside)), abs=1e-12)
    # and of each column at once
    both = np.stack([scores, -scores], axis=1)
    value, _, _ = aucs(both, np.stack([member, member], axis=1))
    np.testing.assert_allclose(value, [found, 1 - found], atol=1e-12)


@pytest.mark.parametrize("levels", [None, 40, 3, 1])
def test_curve_is_scikit_learns_and_its_area_scipys(levels):
    draw = stream(8, "curve", str(levels))
    member = draw.random(700) < 0.5
    scores = draw.normal(0, 1, 700) + member
    if levels is not None:
        scores = np.digitize(scores, np.linspace(-1.5, 2.5, levels - 1))
    curve = roc_curve(scores, member)
    fpr, tpr, threshold = scikit_learns_curve(member, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.fpr, fpr, atol=1e-12)
    np.testing.assert_allclose(curve.tpr, tpr, atol=1e-12)
    np.testing.assert_array_equal(curve.threshold, threshold)
    u = mannwhitneyu(scores[member], scores[~member], method="asymptotic").statistic
    pairs = member.sum() * (~member).sum()
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(u / pairs, abs=1e-12)


def test_aucs_are_the_auc_of_each_column():
    rng = np.random.default_rng(0)
    for rows in (2, 3, 8, 25):
        scores = rng.integers(0, 5, (rows, 60)).astype(np.float32)
        member = rng.random((rows, 60)) < 0.5
        member[0], member[1] = True, False
        scores[:, :10] = member[:, :10]  # all told
        scores[:, 10:20] = ~member[:, 10:20]  # all told the wrong way round
        scores[:, 20:30] = 1  # nothing told
        found = np.transpose(aucs(scores, member))
        for column, (value, low, high) in enumerate(found):
            one = auc(scores[:, column], member[:, column])
            expected = [one["value"], one["low"], one["high"]]
            np.testing.assert_allclose([value, low, high], expected, atol=1e-12)


def test_the_band_by_hand():
    # no non-member of 10 above, 5 of 5 members: one false call is the first surely more
    scores, member = np.arange(15.0)[::-1], np.arange(15) < 5
    curve = roc_curve(scores, member)
    each = 0.025 / 2
    fpr_high = 1 - each ** (1 / 10)  # of no false call
    tpr_low = each ** (1 / 5)  # of five calls of five
    at = np.array([0.0, fpr_high - 1e-9, fpr_high + 1e-9, 1.0])
    low, high = band(curve, 5, 10, at)
    # thresholds that call nobody, too, are surely at most fpr_high
    np.testing.assert_allclose(low, [0, 0, tpr_low, tpr_low], atol=1e-12)
    # the first threshold with a false call finds all: nothing bounds it from above
    np.testing.assert_array_equal(high, 1)
    # the other way round, two of ten non-members above all members: surely not none
    scores = np.array([*range(5), 6.0, 7.0, *range(-8, 0)])
    _, high = band(roc_curve(scores, np.arange(15) < 5), 5, 10, np.array([0.0]))
    np.testing.assert_allclose(high, 1 - each ** (1 / 5))  # none of five members


def test_the_band_holds_the_true_curve():
    rng, misses = np.random.default_rng(1), np.zeros(5)
    at = np.array([0.005, 0.01, 0.05, 0.2, 0.6])
    true = norm.sf(norm.isf(at) - 1.2)
    member = np.arange(300) < 120
    for _ in range(300):
        scores = rng.normal(size=300) + 1.2 * member
        low, high = band(roc_curve(scores, member), 120, 180, at)
        assert (low <= high).all()
        misses += (true < low) | (true > high)
    assert (misses <= 15).all()  # 5% of 300
    assert (high - low).max() < 1


@pytest.mark.parametrize("fpr", [0.01, 0.05])
def test_the_interval_at_a_rate_holds_the_true_rate(fpr):
    """That of a threshold taken as given, which is itself drawn, holds it seldom."""
    rng, true = np.random.default_rng(4), norm.sf(norm.isf(fpr) - 1.5)
    member = np.arange(2200) < 2000
    held, given = [], []
    for _ in range(200):
        found = tpr_at_fpr(rng.normal(size=2200) + 1.5 * member, member, fpr)
        assert found["low"] <= found["value"] <= found["high"]
        held.append(found["low"] <= true <= found["high"])
        taken = rate(round(found["value"] * 2000), 2000)
        given.append(taken["low"] <= true <= taken["high"])
    assert np.mean(held) >= 0.95
    assert np.mean(given) < 0.6


def test_classes_have_one_threshold_for_all():
    scores = np.array([9, 8, 2, 1, 7, 6, 5, 0.0])
    member = np.array([1, 1, 0, 0, 1, 1, 0, 0], dtype=bool)
    labels = np.array([0, 0, 0, 0, 3, 3, 3, 3])
    first, second = class_rocs(scores, member, labels, [0.25, 0.1])
    # one of four non-members may pass: the one of class 3, at 5
    assert first["tpr_at_fpr"]["0.25"] == rate(2, 2)
    assert second["tpr_at_fpr"]["0.25"] == rate(2, 2)
    assert first["auc"]["value"] == 1.0
    assert "needs at least 10" in first["tpr_at_fpr"]["0.1"]["refused"]
    lone = class_rocs(scores, member, np.arange(8), [0.25])
    assert lone[0] == {"auc": None, "tpr_at_fpr": {"0.25": rate(1, 1)}}
    assert lone[2]["tpr_at_fpr"]["0.25"] is None  # no member, nothing to find


def test_no_allowed_threshold_finds_nobody():
    (only,) = class_rocs([3.0, 3.0, 1.0, 1.0], [0, 1, 0, 1], [0] * 4, [0.5])
    assert only["tpr_at_fpr"]["0.5"] == rate(1, 2)
    (only,) = class_rocs([3.0, 3.0, 3.0, 1.0], [0, 1, 0, 1], [0] * 4, [0.5])
    assert only["tpr_at_fpr"]["0.5"] == rate(0, 2)


def test_intervals_of_pairs_that_depend_on_each_other_hold():
    """One of each pair is a member, and the two scores are as far apart as can be."""
    rng = np.random.default_rng(2)
    first = rng.normal(size=(18, 4000))
    scores = np.stack([first, -first], 1).reshape(36, 4000)
    chosen = rng.random((18, 4000)) < 0.5
    member = np.stack([chosen, ~chosen], 1).reshape(36, 4000)
    pairs = np.arange(36) // 2
    together, alone = (
        (low > 0.5).mean() + (high < 0.5).mean()
        for _, low, high in (aucs(scores, member, pairs), aucs(scores, member))
    )
    assert together < 0.06  # 5% asked
    assert alone > 0.12


def test_pairs_by_hand():
    # one member is above both others, one below: parts 1 and 0; of non-members 1/2
    scores = np.array([[3.0], [2.0], [1.0], [2.5]])
    member = np.array([[True], [False], [True], [False]])
    value, low, high = aucs(scores, member, np.array([0, 0, 1, 1]))
    assert value[0] == 0.5
    # members: (1 - .5) / 2 and (0 - .5) / 2; non-members: 0
    reach = norm.isf(0.025) * np.sqrt(2 * (0.25**2 + 0.25**2)) / 0.25
    np.testing.assert_allclose(low, 1 / (1 + np.exp(reach)))
    np.testing.assert_allclose(high, 1 / (1 + np.exp(-reach)))
