import math

import pytest

from whatelse.measures.spread import spread


def test_by_hand():
    # std 1, t(2, .975) = 4.30265, reach 4.30265 / sqrt(3).
    found = spread([1.0, 2.0, 3.0])
    assert found == {
        "mean": 2.0,
        "std": 1.0,
        "count": 3,
        "low": pytest.approx(2 - 4.302652729911 / math.sqrt(3)),
        "high": pytest.approx(2 + 4.302652729911 / math.sqrt(3)),
        "values": [1.0, 2.0, 3.0],
    }


def test_one_replicate_has_no_spread():
    assert spread([0.7]) == {
        "mean": 0.7,
        "std": None,
        "count": 1,
        "low": None,
        "high": None,
        "values": [0.7],
    }


def test_equal_replicates():
    found = spread([0.1] * 5)
    assert (found["mean"], found["std"]) == (0.1, 0.0)
    assert found["low"] == found["high"] == 0.1


def test_undefined_replicates_are_seen_and_not_averaged():
    found = spread([0.5, None, 0.7])
    assert found["mean"] == pytest.approx(0.6)
    assert found["count"] == 2
    assert found["values"] == [0.5, None, 0.7]
    assert spread([None, None])["mean"] is None
    assert spread([None, 0.5])["std"] is None


def test_confidence():
    # t(1, .75) = 1: half the distance, i.e. the interval ends at the two values.
    found = spread([0.0, 1.0], confidence=0.5)
    assert (found["low"], found["high"]) == pytest.approx((0.0, 1.0))


def test_no_replicates():
    with pytest.raises(ValueError, match="at least one replicate"):
        spread([])


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_refuses_what_json_cannot_hold(wrong):
    with pytest.raises(ValueError, match="values: must be finite"):
        spread([0.5, wrong])
