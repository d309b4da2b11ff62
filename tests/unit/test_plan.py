"""Plans by hand: sizes, matched classes, and what is refused."""

from typing import Any

import numpy as np
import pytest

from whatelse.errors import UserError
from whatelse.training.plan import Plan, draw_plan


def plan(labels: Any, models: range = range(3), **changes: Any) -> Plan:
    given = {"members": 10, "non_members": None, "seed": 1, "replicate": 0, **changes}
    return draw_plan(np.asarray(labels), models, **given)


def test_members_and_non_members_of_a_balanced_data_set() -> None:
    drawn = plan(np.arange(60) % 3, members=12)
    assert drawn.models.tolist() == [0, 1, 2]
    assert drawn.train.sum(1).tolist() == [12] * 3
    assert drawn.test.sum(1).tolist() == [24] * 3
    for train, test in zip(drawn.train, drawn.test, strict=True):
        for inside in (train & test, ~train & test):
            assert np.bincount(np.flatnonzero(inside) % 3).tolist() == [4, 4, 4]


def test_fewer_non_members_test_as_few_members() -> None:
    drawn = plan(np.arange(60) % 3, members=20, non_members=6)
    assert drawn.train.sum(1).tolist() == [20] * 3
    assert (drawn.train & drawn.test).sum(1).tolist() == [6] * 3
    assert (~drawn.train & drawn.test).sum(1).tolist() == [6] * 3


def test_classes_are_drawn_in_proportion() -> None:
    labels = np.repeat([0, 1], [300, 100])
    drawn = plan(labels, members=40)
    assert [np.bincount(labels[row]).tolist() for row in drawn.train] == [[30, 10]] * 3


def test_a_quarter_of_the_records_is_the_most() -> None:
    labels = np.arange(40) % 2
    drawn = plan(labels, members=10)
    assert (drawn.train | drawn.test).sum(1).tolist() == [20] * 3
    with pytest.raises(UserError, match="members: 11 training .*40; .*up to 10$"):
        plan(labels, members=11)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 4, "non_members": 5}, "non_members: 5 .*allowed: 2..4"),
        (
            {"members": 95, "non_members": 6},
            "members: 95 .*: members up to 94",
        ),
        ({"members": 10**9}, "members: 1000000000 .*: members up to 50"),
    ],
)
def test_sizes_that_cannot_be(changes: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan(np.arange(200) % 2, **changes)
    assert "\n" not in str(caught.value)


def test_the_largest_members_that_are_named_do_work() -> None:
    labels = np.arange(200) % 2
    assert plan(labels, members=94, non_members=6).train.sum(1).tolist() == [94] * 3
    assert plan(labels, members=50).train.sum(1).tolist() == [50] * 3


def test_what_is_named_as_allowed_does_not_contradict_itself() -> None:
    """600 and 400 of 1,000: no number of members goes with 400 held-out records."""
    labels = np.arange(1000) % 2
    with pytest.raises(UserError, match="allowed: members and non_members up to 250$"):
        plan(labels, members=600, non_members=400)
    assert plan(labels, members=250, non_members=250).train.sum(1).tolist() == [250] * 3


def test_classes_too_small_for_pairs_are_refused() -> None:
    with pytest.raises(UserError, match="the classes of the data set hold 3 records"):
        plan(np.arange(30) // 3, members=7)


def test_another_seed_or_replicate_is_another_plan() -> None:
    labels = np.arange(60) % 3
    first = plan(labels)
    assert (plan(labels).train == first.train).all()
    assert (plan(labels, seed=2).train != first.train).any(1).all()
    assert (plan(labels, replicate=1).train != first.train).any(1).all()
    assert (first.train[1] != first.train[2]).any()


def test_a_class_without_records_is_no_hindrance() -> None:
    drawn = plan(np.arange(60) % 3 * 2, members=12)  # classes 0, 2, 4
    assert drawn.train.sum(1).tolist() == [12] * 3


def test_no_class_is_left_out_of_all_models() -> None:
    """With fewer members than classes, each class is drawn as often as any other."""
    labels = np.arange(400) % 20
    drawn = plan(labels, range(600), members=8)
    of_class = np.stack([drawn.train[1:, labels == c].any(1) for c in range(20)])
    # 599 models, 8 of 20 classes each: 240 expected, deviation 12
    assert of_class.sum(1).min() > 180
    assert of_class.sum(1).max() < 300


def test_shares_that_come_out_whole_are_not_drawn_by_lot() -> None:
    labels = np.repeat([0, 1, 2], [60, 120, 60])
    drawn = plan(labels, range(40), members=20, non_members=8)
    assert {tuple(np.bincount(labels[row])) for row in drawn.train} == {(5, 10, 5)}
