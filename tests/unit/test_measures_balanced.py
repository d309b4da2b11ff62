import math

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from whatelse.measures.balanced import best_balanced_accuracy
from whatelse.measures.roc import roc_curve
from whatelse.seeding import stream


def best(scores, member, **more):
    member = np.asarray(member, dtype=bool)
    inside = int(member.sum())
    return best_balanced_accuracy(
        roc_curve(scores, member), inside, len(member) - inside, **more
    )


def test_by_hand():
    # At .8 both members are called, and one of the two non-members: (1 + .5) / 2.
    found = best([0.9, 0.8, 0.8, 0.3], [1, 1, 0, 0])
    assert found["value"] == 0.75
    # at .9 alone, (.5 + 1) / 2: no better
    assert best([0.9, 0.8, 0.8, 0.8], [1, 1, 0, 0])["value"] == 0.75
    assert best([1, 2, 3, 4], [0, 0, 1, 1])["value"] == 1


def test_no_threshold_is_worse_than_calling_nobody():
    assert best([4, 3, 2, 1], [0, 0, 1, 1])["value"] == 0.5
    assert best(np.ones(6), [1, 0, 1, 0, 0, 0])["value"] == 0.5


@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_agrees_with_trying_every_threshold(levels):
    # Few levels: most scores tie. Unequal numbers: plain accuracy would differ.
    draw = stream(5, "brute", str(levels))
    member = draw.permutation(np.repeat([True, False], [40, 110]))
    scores = draw.integers(levels, size=150) + draw.integers(2, size=150) * member
    tried = [
        balanced_accuracy_score(member, scores >= threshold)
        for threshold in (*np.unique(scores), math.inf)
    ]
    assert best(scores, member)["value"] == pytest.approx(max(tried), abs=1e-12)
    # not the accuracy of the best threshold, nor of any other
    assert max(tried) != pytest.approx(
        max(np.mean((scores >= t) == member) for t in (*np.unique(scores), math.inf))
    )


def test_chance_alone_is_above_a_half_by_what_the_docstring_says():
    draw = stream(6, "chance")
    member = np.repeat([True, False], 500)
    values = [best(draw.normal(size=1000), member)["value"] for _ in range(400)]
    expected = math.sqrt(math.pi / 32) * math.sqrt(2 / 500)
    assert np.mean(values) - 0.5 == pytest.approx(expected, rel=0.08)


@pytest.mark.parametrize("levels", [None, 1])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_interval_covers_the_best_thresholds_true_worth(shift, levels):
    from scipy.stats import norm

    draw = stream(8, "covers", str(shift), str(levels))
    member = np.repeat([True, False], [60, 90])
    # scores rounded up to whole numbers are at least t where the normal is above t - 1
    thresholds = np.linspace(-8, 8, 16001) if levels is None else np.arange(-9.0, 9)
    worth = (1 + norm.sf(thresholds - shift) - norm.sf(thresholds)).max() / 2
    covered = 0
    for _ in range(400):
        scores = draw.normal(0, 1, 150) + shift * member
        found = best(scores if levels is None else np.ceil(scores), member)
        covered += found["low"] <= worth <= found["high"]
        assert 0.5 <= found["low"] <= found["value"] <= found["high"] <= 1
    assert covered / 400 >= 0.95


def test_the_interval_by_hand():
    # 200 of each: sqrt(log(4 / .05) / 400) = .1047 on either side
    member = np.repeat([True, False], 200)
    scores = np.where(member, np.arange(400) % 10 < 9, np.arange(400) % 10 < 1)
    found = best(scores.astype(float), member)
    assert found["value"] == pytest.approx(0.9)
    assert found["low"] == pytest.approx(0.9 - 0.104666, abs=1e-6)
    assert found["high"] == 1.0
    assert best(scores.astype(float), member, confidence=0.5)["low"] > found["low"]


def test_a_confidence_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"confidence: must be in \(0, 1\), is 1"):
        best([1, 0], [1, 0], confidence=1)
