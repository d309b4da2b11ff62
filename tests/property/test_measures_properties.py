import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

from whatelse.measures.controls import holm
from whatelse.measures.rates import decision_measures, rate
from whatelse.measures.roc import auc, roc_curve, tpr_at_fpr


@st.composite
def attacks(draw, *, infinite=False):
    """Draw scores with heavy ties, and a membership column with both kinds."""
    size = draw(st.integers(2, 60))
    tied = st.integers(-3, 3).map(float)
    anything = st.floats(allow_nan=False, allow_infinity=infinite, width=32)
    scores = draw(st.lists(st.one_of(tied, anything), min_size=size, max_size=size))
    member = draw(
        st.lists(st.booleans(), min_size=size, max_size=size).filter(
            lambda column: 0 < sum(column) < len(column)
        )
    )
    return np.array(scores), np.array(member)


@given(attacks())
def test_curve_equals_scikit_learns(attack):
    scores, member = attack
    fpr, tpr, threshold = metrics.roc_curve(member, scores, drop_intermediate=False)
    curve = roc_curve(scores, member)
    np.testing.assert_array_equal(curve.fpr, fpr)
    np.testing.assert_array_equal(curve.tpr, tpr)
    np.testing.assert_array_equal(curve.threshold, threshold)


@given(attacks())
def test_area_equals_scikit_learns(attack):
    scores, member = attack
    expected = metrics.roc_auc_score(member, scores)
    assert auc(scores, member)["value"] == pytest.approx(expected, abs=1e-12)


@given(attacks(infinite=True))
def test_curve_rises_from_corner_to_corner_and_encloses_the_area(attack):
    scores, member = attack
    curve = roc_curve(scores, member)
    assert (curve.fpr[0], curve.tpr[0]) == (0, 0)
    assert (curve.fpr[-1], curve.tpr[-1]) == (1, 1)
    assert (np.diff(curve.fpr) >= 0).all()
    assert (np.diff(curve.tpr) >= 0).all()
    assert len(curve.fpr) == 1 + len(np.unique(scores))
    area = auc(scores, member)["value"]
    assert np.trapezoid(curve.tpr, curve.fpr) == pytest.approx(area, abs=1e-12)


@given(attacks(infinite=True))
def test_interval_holds_the_area_and_mirrors(attack):
    scores, member = attack
    found, mirrored = auc(scores, member), auc(-scores, member)
    assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert found["low"] < found["high"]
    assert mirrored["value"] == pytest.approx(1 - found["value"], abs=1e-12)
    assert mirrored["low"] == pytest.approx(1 - found["high"], abs=1e-9)
    assert auc(scores, ~member) == pytest.approx(mirrored)


@given(attacks(infinite=True), st.floats(1e-12, 1))
def test_tpr_at_fpr_is_the_best_point_of_the_curve(attack, fpr):
    scores, member = attack
    found = tpr_at_fpr(scores, member, fpr)
    if fpr < 1 / (~member).sum():
        assert list(found) == ["refused"]
        return
    curve = roc_curve(scores, member)
    best = curve.tpr[curve.fpr <= fpr].max()
    assert found["value"] == best
    assert 0 <= found["low"] <= best <= found["high"] <= 1
    # no narrower than if the threshold were known
    given = rate(round(best * member.sum()), int(member.sum()))
    assert found["low"] <= given["low"] + 1e-9
    assert given["high"] <= found["high"] + 1e-9


@given(st.integers(0, 300), st.integers(1, 300), st.floats(0.01, 0.999))
def test_rate_equals_scipys_exact_interval(successes, trials, confidence):
    successes = min(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    found = rate(successes, trials, confidence)
    assert math.isclose(found["low"], expected.low, rel_tol=1e-7, abs_tol=1e-12)
    assert math.isclose(found["high"], expected.high, rel_tol=1e-7, abs_tol=1e-12)


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)),
        min_size=2,
        max_size=60,
    ).filter(lambda rows: len({row[1] for row in rows}) == 2)
)
def test_decisions_equal_scikit_learns(rows):
    decision, member, labels = (np.array(column) for column in zip(*rows, strict=True))
    overall, per_class = decision_measures(decision, member, labels, list("abcd"))
    assert overall["accuracy"]["value"] == pytest.approx(
        metrics.accuracy_score(member, decision)
    )
    assert overall["recall"]["value"] == pytest.approx(
        metrics.recall_score(member, decision)
    )
    if decision.any():
        assert overall["precision"]["value"] == pytest.approx(
            metrics.precision_score(member, decision)
        )
    else:
        assert overall["precision"] is None
    assert sum(row["members"] for row in per_class) == member.sum()
    assert sum(row["non_members"] for row in per_class) == (~member).sum()
    assert [row["class"] for row in per_class] == sorted(set(labels.tolist()))


# Few examples: statsmodels collects garbage in every call.
@settings(max_examples=20)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_between_none_and_bonferroni(p_values):
    adjusted, rejected = holm(p_values)
    bonferroni = multipletests(p_values, method="bonferroni")[1]
    for raw, held, most in zip(p_values, adjusted, bonferroni, strict=True):
        assert raw <= held <= most + 1e-12
    assert rejected == [value <= 0.05 for value in adjusted]
    # The order of p-values survives.
    ranked = np.array(adjusted)[np.argsort(p_values, kind="stable")]
    assert (np.diff(ranked) >= 0).all()
