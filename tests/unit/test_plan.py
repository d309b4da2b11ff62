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


# ---- a given split


LABELS = np.repeat([0, 1, 0, 1], [30, 10, 15, 5])  # a training part, a test part
PARTS = np.arange(60) < 40


def given(models: range = range(3), **changes: Any) -> Plan:
    return plan(LABELS, models, **{"members": None, "parts": PARTS, **changes})


def test_a_given_split_is_taken_whole() -> None:
    drawn = given()
    assert drawn.models.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(drawn.train, [PARTS] * 3)
    # tested on all 20 that were held out, and on as many members, class by class
    np.testing.assert_array_equal(drawn.test & ~drawn.train, [~PARTS] * 3)
    for row in drawn.test & drawn.train:
        assert np.bincount(LABELS[row]).tolist() == [15, 5]
    # which members are tested is drawn for each model
    assert (drawn.test[0] != drawn.test[1]).any()


def test_a_number_of_either_part_is_drawn_in_proportion() -> None:
    drawn = given(members=20, non_members=8)
    assert not (drawn.train & ~PARTS).any()
    assert not (drawn.test & ~drawn.train & PARTS).any()
    for train, test in zip(drawn.train, drawn.test, strict=True):
        assert np.bincount(LABELS[train]).tolist() == [15, 5]
        assert np.bincount(LABELS[test & ~train]).tolist() == [6, 2]
        assert np.bincount(LABELS[test & train]).tolist() == [6, 2]
    assert (drawn.train[1] != drawn.train[2]).any()


def test_fewer_members_than_held_out_records_are_all_tested() -> None:
    drawn = given(members=4)
    assert drawn.train.sum(1).tolist() == [4] * 3
    assert (drawn.test & drawn.train).sum(1).tolist() == [4] * 3
    assert (drawn.test & ~drawn.train).sum(1).tolist() == [20] * 3


def test_a_model_of_a_given_split_does_not_depend_on_its_company() -> None:
    whole, one = (given(models, members=9) for models in (range(6), range(4, 5)))
    np.testing.assert_array_equal(one.train[0], whole.train[4])
    np.testing.assert_array_equal(one.test[0], whole.test[4])
    other = given(range(4, 5), members=9, replicate=1)
    assert (other.train != one.train).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"members": 41}, "members: 41 of a part of 40 records; allowed: 1..40"),
        ({"non_members": 21}, "non_members: 21 of a part of 20 records; .*: 1..20"),
        ({"parts": np.ones(60, bool)}, "non_members: all of a part of 0 records"),
        ({"parts": np.zeros(60, bool)}, "members: all of a part of 0 records"),
    ],
)
def test_more_than_a_part_holds_is_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        given(**changes)
    assert "\n" not in str(caught.value)
    # the most that is named does work
    assert given(members=40, non_members=20).train.sum(1).tolist() == [40] * 3


def test_a_random_split_needs_a_size() -> None:
    with pytest.raises(UserError, match="members: left out; allowed: a number, or a"):
        plan(LABELS, members=None)


def test_a_target_without_shadows_may_take_half_of_the_records() -> None:
    """Shadows would need as many records again."""
    drawn = plan(np.arange(40) % 2, range(1), members=20)
    assert drawn.train.sum(1).tolist() == [20]
    assert drawn.test.all()
    with pytest.raises(UserError, match="members up to 20$"):
        plan(np.arange(40) % 2, range(1), members=21)
    # with few enough members it is the target that shadows go with
    np.testing.assert_array_equal(
        plan(np.arange(40) % 2, range(1)).train[0], plan(np.arange(40) % 2).train[0]
    )


# ---- halves


def halves(models: range = range(17), labels: Any = None, **changes: Any) -> Plan:
    labels = np.arange(120) % 3 if labels is None else labels
    return plan(labels, models, **{"members": 40, "halves": True, **changes})


@pytest.mark.parametrize("references", [2, 4, 16, 64, 256])
def test_each_record_is_in_exactly_half_of_the_references(references: int) -> None:
    drawn = halves(range(references + 1))
    assert drawn.train.sum(1).tolist() == [40] * (references + 1)
    pool = drawn.test[0]
    assert pool.sum() == 80
    np.testing.assert_array_equal(drawn.test, [pool] * (references + 1))
    inside = drawn.train[1:].sum(0)
    np.testing.assert_array_equal(inside, np.where(pool, references // 2, 0))
    # pairs complement each other, and no two are alike
    np.testing.assert_array_equal(drawn.train[1::2] ^ drawn.train[2::2], drawn.test[1::2])  # fmt: skip  # noqa: E501
    assert len(np.unique(drawn.train, axis=0)) == references + 1


def test_a_half_depends_on_no_other_model() -> None:
    whole, part = halves(range(65)), halves(range(3, 9))
    np.testing.assert_array_equal(part.train, whole.train[3:9])
    np.testing.assert_array_equal(part.test, whole.test[3:9])


def test_classes_are_halved_as_evenly_as_they_can_be() -> None:
    labels = np.repeat([0, 1, 2], [30, 31, 33])
    drawn = halves(range(41), labels=labels, members=None)
    counts = np.stack([np.bincount(labels[row]) for row in drawn.train])
    assert (counts.sum(1) == 47).all()
    assert (counts[:, 0] == 15).all()
    assert set(counts[:, 1]) == {15, 16}
    assert set(counts[:, 2]) == {16, 17}


def test_replicates_share_the_records_but_not_the_halves() -> None:
    first, second = halves(range(1)), halves(range(1), replicate=1)
    np.testing.assert_array_equal(first.test, second.test)
    assert (first.train != second.train).any()
    # a target's half says nothing about a reference's: half of it is there too
    overlap = (halves().train[0] & halves().train[1]).sum()
    assert 10 <= overlap <= 30


def test_halves_of_an_odd_number_leave_one_record_out() -> None:
    drawn = halves(labels=np.arange(61) % 2, members=None)
    assert drawn.test.sum(1).tolist() == [60] * 17
    assert drawn.train.sum(1).tolist() == [30] * 17


@pytest.mark.parametrize("members", [1, 61])
def test_halves_that_cannot_be(members: int) -> None:
    with pytest.raises(UserError, match=f"members: {members} .*120.*allowed: 2..60$"):
        halves(members=members)
