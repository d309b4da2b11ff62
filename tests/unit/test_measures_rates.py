import pytest
from scipy.stats import binomtest

from whatelse.errors import UserError
from whatelse.measures.rates import decision_measures, rate


@pytest.mark.parametrize(
    ("successes", "trials"),
    [(0, 1), (1, 1), (0, 40), (40, 40), (3, 10), (678, 1000), (1, 100_000)],
)
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_rate_equals_scipys_exact_interval(successes, trials, confidence):
    found = rate(successes, trials, confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert found["value"] == successes / trials
    assert found["low"] == pytest.approx(expected.low, abs=1e-9)
    assert found["high"] == pytest.approx(expected.high, abs=1e-9)


def test_rate_rule_of_three():
    # 0 of n: the upper end solves (1 - p)^n = .025.
    assert rate(0, 100) == {
        "value": 0.0,
        "low": 0.0,
        "high": pytest.approx(1 - 0.025 ** (1 / 100)),
    }


def test_rate_of_nothing_is_undefined():
    assert rate(0, 0) is None


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3), (1, 0)])
def test_rate_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match=rf"successes: must be in 0\.\.{trials}"):
        rate(successes, trials)


@pytest.mark.parametrize("confidence", [0, 1, 95, float("nan")])
def test_rate_refuses_confidence_out_of_range(confidence):
    with pytest.raises(ValueError, match=r"confidence: must be in \(0, 1\)"):
        rate(1, 2, confidence)


def test_rate_refuses_fractions_of_a_count():
    with pytest.raises(TypeError):
        rate(0.5, 2)


#          class 0: 2 members, 2 non   class 1: 3 members, 1 non   class 3: 1 of each
LABELS = [0, 0, 0, 0, 1, 1, 1, 1, 3, 3]
MEMBER = [1, 1, 0, 0, 1, 1, 1, 0, 1, 0]
CALLED = [1, 1, 1, 0, 1, 0, 0, 0, 0, 0]
NAMES = ["cat", "dog", "never seen", "fox"]


def test_decisions_overall():
    overall, _ = decision_measures(CALLED, MEMBER, LABELS, NAMES)
    assert overall == {
        "accuracy": rate(6, 10),
        "precision": rate(3, 4),
        "recall": rate(3, 6),
    }


def test_decisions_per_class():
    _, per_class = decision_measures(CALLED, MEMBER, LABELS, NAMES)
    assert per_class == [
        {
            "class": 0,
            "name": "cat",
            "members": 2,
            "non_members": 2,
            "accuracy": rate(3, 4),
            "precision": rate(2, 3),
            "recall": rate(2, 2),
        },
        {
            "class": 1,
            "name": "dog",
            "members": 3,
            "non_members": 1,
            "accuracy": rate(2, 4),
            "precision": rate(1, 1),
            "recall": rate(1, 3),
        },
        {
            "class": 3,
            "name": "fox",
            "members": 1,
            "non_members": 1,
            "accuracy": rate(1, 2),
            "precision": None,
            "recall": rate(0, 1),
        },
    ]


def test_class_with_one_kind_has_no_precision():
    # Class 0 has members only, class 1 non-members only: their precision would be
    # 1 and 0 whatever the attack does.
    _, per_class = decision_measures(
        [True] * 4, [True, True, False, False], [0, 0, 1, 1], ["a", "b"]
    )
    assert [row["precision"] for row in per_class] == [None, None]
    assert [row["recall"] for row in per_class] == [rate(2, 2), None]


def test_nobody_called_a_member():
    overall, _ = decision_measures([0] * 4, [1, 1, 1, 0], [0] * 4, ["a"])
    assert overall == {
        "accuracy": rate(1, 4),
        "precision": None,
        "recall": rate(0, 3),
    }


def test_confidence_reaches_every_interval():
    overall, per_class = decision_measures(
        CALLED, MEMBER, LABELS, NAMES, confidence=0.5
    )
    assert overall["recall"] == rate(3, 6, 0.5)
    assert per_class[0]["precision"] == rate(2, 3, 0.5)


@pytest.mark.parametrize("label", [-1, 4])
def test_label_beyond_the_classes(label):
    with pytest.raises(UserError, match=rf"class {label} is outside 0\.\.3"):
        decision_measures([0, 1], [0, 1], [0, label], NAMES)


@pytest.mark.parametrize("member", [[1, 1], [0, 0], []])
def test_one_kind_of_record_is_refused(member):
    with pytest.raises(UserError, match="at least one member and one non-member"):
        decision_measures(member, member, [0] * len(member), NAMES)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="decision has 3, member has 2, labels has 2"):
        decision_measures([0, 1, 1], [0, 1], [0, 0], NAMES)


@pytest.mark.parametrize("member", [[-1, 1], ["no", "yes"], [0.2, 1.0]])
def test_other_codings_of_membership_are_refused(member):
    # Cast to bool, all of these would be members.
    with pytest.raises(ValueError, match="member: must be boolean or 0/1"):
        decision_measures([0, 1], member, [0, 0], NAMES)


def test_labels_must_be_integers():
    with pytest.raises(ValueError, match="labels: must be a vector of integers"):
        decision_measures([0, 1], [0, 1], [0.0, 1.0], NAMES)
