"""What holds for every plan, odd populations and uneven classes included."""

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from whatelse.errors import UserError
from whatelse.training.plan import Plan, draw_plan


@st.composite
def asked(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, object]]:
    counts = draw(st.lists(st.integers(2, 40), min_size=1, max_size=6))
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = labels[np.random.default_rng(draw(st.integers(0, 9))).permutation(len(labels))]  # fmt: skip  # noqa: E501
    members = draw(st.integers(2, max(2, len(labels) // 3)))
    non_members = draw(st.none() | st.integers(2, members))
    return labels, {
        "members": members,
        "non_members": non_members,
        "seed": draw(st.integers(0, 2**63 - 1)),
        "replicate": draw(st.integers(0, 3)),
    }


def drawn(case: tuple[np.ndarray, dict], models: range) -> Plan:
    labels, settings = case
    try:
        return draw_plan(labels, models, **settings)
    except UserError as error:
        assert "allowed:" in str(error)  # noqa: PT017 - a range is always named
        assume(False)
        raise


@given(case=asked())
def test_sizes_disjointness_and_matched_classes(case: tuple) -> None:
    labels, settings = case
    plan = drawn(case, range(4))
    outside = settings["non_members"] or settings["members"]
    tested_in, tested_out = plan.train & plan.test, ~plan.train & plan.test
    assert (plan.train.sum(1) == settings["members"]).all()
    assert (tested_in.sum(1) == outside).all()
    assert (tested_out.sum(1) == outside).all()
    for own_in, own_out in zip(tested_in, tested_out, strict=True):
        size = labels.max() + 1
        np.testing.assert_array_equal(
            np.bincount(labels[own_in], minlength=size),
            np.bincount(labels[own_out], minlength=size),
        )
    of_target = plan.train[0] | plan.test[0]
    assert not (of_target & (plan.train[1:] | plan.test[1:])).any()


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    pairs=st.integers(1, 20),
    seed=st.integers(0, 2**63 - 1),
    data=st.data(),
)
def test_halves_are_balanced_to_the_record(
    counts: list[int], pairs: int, seed: int, data: st.DataObject
) -> None:
    assume(sum(counts) >= 4)
    labels = np.repeat(np.arange(len(counts)), counts)
    members = data.draw(st.none() | st.integers(2, len(labels) // 2))
    plan = draw_plan(
        labels, range(2 * pairs + 1), members=members, non_members=None, seed=seed,
        replicate=0, halves=True,
    )  # fmt: skip
    size = members or len(labels) // 2
    pool = plan.test[0]
    assert pool.sum() == 2 * size
    assert (plan.test == pool).all()
    assert (plan.train.sum(1) == size).all()
    np.testing.assert_array_equal(plan.train[1:].sum(0), pairs * pool)
    of_class = np.stack([plan.train[:, labels == c].sum(1) for c in range(len(counts))])
    whole = np.bincount(labels[pool], minlength=len(counts))[:, None]
    assert (abs(2 * of_class - whole) <= 1).all()


@given(case=asked(), first=st.integers(0, 30), more=st.integers(1, 8))
def test_a_row_does_not_depend_on_which_others_are_asked_for(
    case: tuple, first: int, more: int
) -> None:
    part = drawn(case, range(first, first + more))
    whole = drawn(case, range(40))
    rows = slice(first, first + more)
    np.testing.assert_array_equal(part.models, whole.models[rows])
    np.testing.assert_array_equal(part.train, whole.train[rows])
    np.testing.assert_array_equal(part.test, whole.test[rows])


@settings(max_examples=10)
@given(
    # from 29 on: the target leaves 19, of 9 classes at most, in which 5 pairs are left
    records=st.integers(29, 45),
    classes=st.integers(1, 9),
    seed=st.integers(0, 10**6),
)
def test_every_record_can_be_in_and_out(records: int, classes: int, seed: int) -> None:
    """Of the target over replicates, and of shadows where the target leaves it free."""
    labels = np.arange(records) % classes
    seen = np.zeros((4, records), dtype=bool)
    for replicate in range(300):
        plan = draw_plan(
            labels, range(3), members=5, non_members=None, seed=seed,
            replicate=replicate,
        )  # fmt: skip
        inside, outside = plan.train & plan.test, ~plan.train & plan.test
        seen |= [inside[0], outside[0], inside[1:].any(0), outside[1:].any(0)]
    assert seen.all()


@st.composite
def given_splits(draw: st.DrawFn) -> tuple[np.ndarray, dict[str, object]]:
    """Uneven classes in two parts, either of which may lack some."""
    counts = draw(st.lists(st.integers(0, 20), min_size=2, max_size=8))
    half = len(counts) // 2
    labels = np.concatenate(
        [
            np.repeat(np.arange(len(part)), part)
            for part in (counts[:half], counts[half:])
        ]
    )
    parts = np.arange(len(labels)) < sum(counts[:half])
    assume(parts.sum() >= 2)
    assume((~parts).sum() >= 2)
    order = np.random.default_rng(draw(st.integers(0, 9))).permutation(len(labels))
    return labels[order], {
        "parts": parts[order],
        "members": draw(st.none() | st.integers(2, int(parts.sum()))),
        "non_members": draw(st.none() | st.integers(2, int((~parts).sum()))),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "replicate": draw(st.integers(0, 3)),
    }


@given(case=given_splits())
def test_a_given_split_is_kept_and_its_classes_are_in_proportion(case: tuple) -> None:
    labels, settings = case
    parts = settings["parts"]
    plan = draw_plan(labels, range(4), **settings)
    members = settings["members"] or parts.sum()
    outside = settings["non_members"] or (~parts).sum()
    assert not (plan.train & ~parts).any()
    assert not (plan.test & ~plan.train & parts).any()
    assert (plan.train.sum(1) == members).all()
    assert ((plan.test & ~plan.train).sum(1) == outside).all()
    assert ((plan.test & plan.train).sum(1) == min(members, outside)).all()
    for pool, drawn in ((parts, plan.train), (~parts, plan.test & ~plan.train)):
        due = np.bincount(labels[pool]) * drawn[0].sum() / pool.sum()
        for row in drawn:
            found = np.bincount(labels[row], minlength=len(due))
            # no class is off by a whole record
            assert (np.abs(found - due) < 1).all()


@given(case=given_splits(), first=st.integers(0, 20), more=st.integers(1, 5))
def test_a_row_of_a_given_split_does_not_depend_on_the_others(
    case: tuple, first: int, more: int
) -> None:
    labels, settings = case
    part = draw_plan(labels, range(first, first + more), **settings)
    whole = draw_plan(labels, range(25), **settings)
    rows = slice(first, first + more)
    np.testing.assert_array_equal(part.train, whole.train[rows])
    np.testing.assert_array_equal(part.test, whole.test[rows])
