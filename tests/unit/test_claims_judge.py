"""Verdicts on claims, by hand-computed cases."""

import json
from pathlib import Path
from typing import Any

import pytest
from claim_samples import instance, make_result
from pydantic import ValidationError

from whatelse.claims import judge as judging
from whatelse.claims import tables
from whatelse.claims.published import Paper, Published, PublishedNumber
from whatelse.claims.results import Instance, load
from whatelse.claims.settings import Claim
from whatelse.errors import UserError

RETAIL = {"name": "retail", "stand_in_for": "Purchase-100"}
PAPER = Paper(title="t", authors="a", short="Shokri et al. 2017", venue="v")


def published(**fields: Any) -> Published:
    number = {
        "id": "x",
        "dataset": "Location",
        "metric": "precision",
        "value": 0.678,
        "where": "Table II",
        "mark": "S",
        **fields,
    }
    return Published("p/x", PAPER, PublishedNumber.model_validate(number), "meaning")


def claim(**fields: Any) -> Claim:
    raw = {"claim": "So it is.", "attack": "shadow", "metric": "precision", **fields}
    return Claim.model_validate_json(json.dumps(raw))


def judge(
    asked: Claim, instances: list[Instance], **numbers: Published
) -> dict[str, Any]:
    keyed = {f"p/{name}": number for name, number in numbers.items()}
    return judging.judge(asked, instances, published=keyed, place="claims[0]")


@pytest.fixture
def one(tmp_path: Path) -> list[Instance]:
    """One attack over two seeds: mean precision 0.65, test accuracy 0.61."""
    return [
        instance(
            tmp_path / "one", precision=[0.6, 0.7], test_accuracy=[0.6, 0.62],
            train_accuracy=[1.0, 1.0],
        )
    ]  # fmt: skip


def sizes(folder: Path, values: dict[Any, list[float | None]]) -> list[Instance]:
    return load(
        make_result(folder / f"members-{size}", grid={"members": size}, precision=row)
        for size, row in values.items()
    )


# -- numbers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relation", "verdict"),
    [
        ({"kind": "within", "tolerance": 0.028}, "reproduced"),  # |.65 - .678| = .028
        ({"kind": "within", "tolerance": 0.027}, "missed"),
        ({"kind": "between", "low": 0.65, "high": 0.7}, "reproduced"),
        ({"kind": "between", "low": 0.6, "high": 0.65}, "reproduced"),
        ({"kind": "between", "low": 0.651, "high": 0.7}, "missed"),
        ({"kind": "between", "low": 0.6, "high": 0.649}, "missed"),
        ({"kind": "at_least", "bound": 0.65}, "reproduced"),
        ({"kind": "at_least", "bound": 0.651}, "missed"),
        ({"kind": "at_most", "bound": 0.65}, "reproduced"),
        ({"kind": "at_most", "bound": 0.649}, "missed"),
    ],
)
def test_numbers_against_bounds(
    one: list[Instance], relation: dict[str, Any], verdict: str
) -> None:
    row = judge(claim(relation=relation, published="p/x"), one, x=published())
    assert row["verdict"] == verdict
    assert row["ours"]["mean"] == pytest.approx(0.65)
    assert row["ours"]["std"] == pytest.approx(0.0707107)
    assert row["ours"]["count"] == 2
    assert row["points"][0]["test_accuracy"] == pytest.approx(0.61)
    assert row["published"]["value"] == 0.678
    assert row["published"]["where"] == "Table II"


@pytest.mark.parametrize(
    ("kind", "by", "bound", "verdict"),
    [
        # .65 -+ 12.7062 * .05
        ("at_least", "low", 0.0146, "reproduced"),
        ("at_least", "low", 0.0147, "missed"),
        ("at_least", "high", 1.285, "reproduced"),
        ("at_most", "high", 1.286, "reproduced"),
        ("at_most", "high", 1.285, "missed"),
        ("at_most", "low", 0.0147, "reproduced"),
        ("at_least", "mean", 0.65, "reproduced"),
    ],
)
def test_an_end_of_the_interval_against_a_bound(
    one: list[Instance], kind: str, by: str, bound: float, verdict: str
) -> None:
    row = judge(claim(relation={"kind": kind, "bound": bound, "by": by}), one)
    assert row["verdict"] == verdict
    assert ("end of the 95% interval" in row["relation"]) == (by != "mean")
    if by != "mean":
        assert "the mean is 0.650, its interval 0.015 to 1.285" in row["reason"]


def test_one_seed_has_no_interval_to_hold_to_a_bound(tmp_path: Path) -> None:
    asked = claim(relation={"kind": "at_least", "bound": 0.1, "by": "low"})
    one = [instance(tmp_path / "one", precision=[0.9])]
    row = judge(asked, one)
    assert row["verdict"] == "not judged: one seed"
    assert row["ours"]["mean"] == 0.9
    two = [instance(tmp_path / "two", precision=[0.9, None])]
    assert judge(asked, two)["verdict"] == "missed"


def test_bounds_forgive_rounding_only(tmp_path: Path) -> None:
    """0.678 - 0.648 is more than 0.03 in binary, and not in the decimals meant."""
    assert 0.678 - 0.648 > 0.03
    found = [instance(tmp_path / "a", precision=[0.648])]
    asked = claim(relation={"kind": "within", "tolerance": 0.03}, published="p/x")
    assert judge(asked, found, x=published())["verdict"] == "reproduced"


def test_undefined_in_every_seed_is_a_miss(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", precision=[None, None])]
    row = judge(claim(relation={"kind": "at_most", "bound": 1.0}), found)
    assert row["verdict"] == "missed"
    assert row["reason"] == "precision is undefined in every seed"


def test_undefined_seeds_are_told(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", precision=[0.5, None, 0.7])]
    row = judge(claim(relation={"kind": "at_least", "bound": 0.6}), found)
    assert row["verdict"] == "reproduced"
    assert row["reason"].endswith("2 seeds, undefined in 1 more")


def test_from_memory_is_never_judged(one: list[Instance]) -> None:
    memory = published(mark="M")
    for tolerance in (0.001, 0.5):
        asked = claim(
            relation={"kind": "within", "tolerance": tolerance},
            published="p/x",
            comparable={"value": 0.9},
        )
        assert judge(asked, one, x=memory)["verdict"] == "shown only"


def test_own_bounds_are_judged_beside_a_number_from_memory(one: list[Instance]) -> None:
    for bound, verdict in ((0.6, "reproduced"), (0.7, "missed")):
        asked = claim(relation={"kind": "at_least", "bound": bound}, published="p/x")
        row = judge(asked, one, x=published(mark="M"))
        assert (row["verdict"], row["published"]["mark"]) == (verdict, "M")


@pytest.mark.parametrize(
    "fields",
    [
        {"value": [0.6, 0.7], "form": "range"},
        {"value": 0.6, "form": "more than"},
        {"value": [0.6, 0.7], "form": "series", "variable": "n", "at": [1, 2]},
    ],
)
def test_within_needs_a_single_number(
    one: list[Instance], fields: dict[str, Any]
) -> None:
    asked = claim(relation={"kind": "within", "tolerance": 0.1}, published="p/x")
    with pytest.raises(UserError, match=r"claims\[0\]: published: 'p/x' is .*single"):
        judge(asked, one, x=published(**fields))


# -- comparable, stand-ins -------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [(0.64, "reproduced"), (0.58, "reproduced"), (0.65, "not comparable")],
)
@pytest.mark.parametrize("source", ["value", "published"])
def test_targets_must_be_alike(
    one: list[Instance], accuracy: float, verdict: str, source: str
) -> None:
    paper = published(metric="test_accuracy", value=accuracy)
    asked = claim(
        relation={"kind": "at_least", "bound": 0.6},
        comparable={source: accuracy if source == "value" else "p/a"},
    )
    row = judge(asked, one, a=paper)
    assert row["verdict"] == verdict
    told = "test accuracy is 0.610, that of the paper 0.65: more than 0.03"
    assert (told in row["reason"]) == (verdict == "not comparable")


def test_a_miss_with_an_unlike_target_is_not_comparable(one: list[Instance]) -> None:
    asked = claim(
        relation={"kind": "at_least", "bound": 0.9},
        comparable={"metric": "train_accuracy", "value": 0.5, "tolerance": 0.4},
    )
    row = judge(asked, one)
    assert row["verdict"] == "not comparable"
    assert "the mean is 0.650, asked at least 0.9" in row["reason"]


def test_unknown_target_accuracy_is_not_comparable(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", precision=[0.7, 0.8])]
    asked = claim(
        relation={"kind": "at_least", "bound": 0.6}, comparable={"value": 0.6}
    )
    row = judge(asked, found)
    assert row["verdict"] == "not comparable"
    assert "test accuracy is unknown" in row["reason"]


def test_comparable_published_must_be_that_accuracy(one: list[Instance]) -> None:
    asked = claim(
        relation={"kind": "at_least", "bound": 0.6}, comparable={"published": "p/x"}
    )
    with pytest.raises(UserError, match="is a precision; allowed: a test_accuracy"):
        judge(asked, one, x=published())


def test_stand_in_numbers_show_the_shape_only(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", dataset=RETAIL, precision=[0.678, 0.678])]
    asked = claim(relation={"kind": "within", "tolerance": 0.1}, published="p/x")
    row = judge(asked, found, x=published())
    assert row["verdict"] == "shape only"
    assert row["stand_in_for"] == ["Purchase-100"]


def test_stand_in_shapes_are_judged_and_say_so(tmp_path: Path) -> None:
    found = load(
        make_result(
            tmp_path / f"c{classes}",
            grid={"dataset": f"retail-{classes}"},
            dataset={**RETAIL, "classes": classes},
            precision=row,
        )
        for classes, row in ((100, [0.9, 0.92]), (2, [0.5, 0.51]))
    )
    row = judge(
        claim(relation={"kind": "grows_with", "variable": "classes"}, published="p/x"),
        found,
        x=published(mark="M"),
    )
    assert row["verdict"] == "reproduced"
    assert row["stand_in_for"] == ["Purchase-100"]
    assert row["reason"].endswith("on a stand-in for Purchase-100")


def test_a_study_says_what_its_data_stand_in_for(tmp_path: Path) -> None:
    """Its word goes before the registry's, and holds for that attack alone."""
    folders = [
        make_result(tmp_path / "a", name="a", dataset=RETAIL),
        make_result(tmp_path / "b", name="b"),
    ]
    asked = claim(attack="b", relation={"kind": "at_least", "bound": 0.6})
    for said, found in (
        ({}, ["Purchase-100", None]), ({"b": "Yelp"}, ["Purchase-100", "Yelp"]),
        ({"a": "Texas"}, ["Texas", None]),
    ):  # fmt: skip
        loaded = load(folders, said)
        assert [one.stand_in_for for one in loaded] == found
        row = judge(asked, loaded)
        assert row["verdict"] == "reproduced"
        assert row["reason"].endswith("on a stand-in for Yelp") == ("b" in said)


# -- growth and order ------------------------------------------------------------


def test_growth_is_paired_over_seeds(tmp_path: Path) -> None:
    """Differences .1, .12, .14: mean .12, t-interval .12 -+ 4.3027 * .02 / sqrt(3)."""
    found = sizes(tmp_path, {100: [0.3, 0.5, 0.7], 900: [0.4, 0.62, 0.84]})
    row = judge(claim(relation={"kind": "grows_with", "variable": "members"}), found)
    assert row["verdict"] == "reproduced"
    assert row["ours"]["mean"] == pytest.approx(0.12)
    assert row["ours"]["low"] == pytest.approx(0.12 - 0.049683, abs=1e-6)
    assert row["ours"]["high"] == pytest.approx(0.12 + 0.049683, abs=1e-6)
    assert row["ours"]["what"] == "precision: members 900 minus members 100"
    assert row["reason"].endswith("paired over 3 seeds")
    falls = judge(claim(relation={"kind": "falls_with", "variable": "members"}), found)
    assert falls["verdict"] == "missed"


def test_growth_within_the_noise_is_missed(tmp_path: Path) -> None:
    found = sizes(tmp_path, {100: [0.5, 0.5, 0.5], 900: [0.4, 0.62, 0.6]})
    for kind in ("grows_with", "falls_with"):
        row = judge(claim(relation={"kind": kind, "variable": "members"}), found)
        assert row["verdict"] == "missed"


def test_values_are_ordered_as_numbers_and_told_monotone(tmp_path: Path) -> None:
    found = sizes(tmp_path, {1000: [0.5, 0.51], 50: [0.9, 0.92], 200: [0.7, 0.7]})
    row = judge(claim(relation={"kind": "falls_with", "variable": "members"}), found)
    labels = [point["label"] for point in row["points"]]
    assert labels == ["members 50", "members 200", "members 1,000"]
    assert row["verdict"] == "reproduced"
    assert row["reason"].endswith("monotone over 3 values")


def test_a_bend_in_between_is_told(tmp_path: Path) -> None:
    found = sizes(tmp_path, {1: [0.5, 0.5], 2: [0.45, 0.45], 3: [0.9, 0.9]})
    row = judge(claim(relation={"kind": "grows_with", "variable": "members"}), found)
    assert row["verdict"] == "reproduced"
    assert row["reason"].endswith("not monotone: falls from members 1 to members 2")


def test_one_seed_cannot_show_growth_or_order(tmp_path: Path) -> None:
    found = sizes(tmp_path, {1: [0.5], 2: [0.9]})
    grows = claim(relation={"kind": "grows_with", "variable": "members"})
    above = claim(
        where={"members": 2}, relation={"kind": "above", "where": {"members": 1}}
    )
    for asked in (grows, above):
        row = judge(asked, found)
        assert row["verdict"] == "not judged: one seed"
        assert row["ours"]["mean"] == pytest.approx(0.4)


def test_undefined_in_all_but_one_seed_is_a_miss(tmp_path: Path) -> None:
    found = sizes(tmp_path, {1: [0.5, None], 2: [0.9, 0.9]})
    row = judge(claim(relation={"kind": "grows_with", "variable": "members"}), found)
    assert row["verdict"] == "missed"
    assert "undefined in all but one" in row["reason"]


def test_undefined_differences_are_counted(tmp_path: Path) -> None:
    found = sizes(tmp_path, {1: [0.5, None, 0.52], 2: [0.9, 0.9, 0.93]})
    row = judge(claim(relation={"kind": "grows_with", "variable": "members"}), found)
    assert row["verdict"] == "reproduced"
    assert "over 2 seeds (1 more undefined)" in row["reason"]


def test_order_of_two_instances(tmp_path: Path) -> None:
    found = [
        *sizes(tmp_path, {1: [0.5, 0.53], 2: [0.9, 0.91]}),
        instance(
            tmp_path / "threshold", name="threshold", precision=[0.7, 0.72],
            recall=[0.1, 0.11],
        ),
    ]  # fmt: skip
    for size, metric, kind, verdict in (
        (1, None, "below", "reproduced"),
        (1, None, "above", "missed"),
        (2, None, "above", "reproduced"),
        (2, None, "below", "missed"),
        (1, "recall", "above", "reproduced"),
    ):
        other = {"kind": kind, "attack": "threshold", "where": {}, "metric": metric}
        row = judge(claim(where={"members": size}, relation=other), found)
        assert row["verdict"] == verdict
        labels = [point["label"] for point in row["points"]]
        assert labels == [
            f"precision of shadow at members={size}, dataset=location",
            f"{metric or 'precision'} of threshold at dataset=location",
        ]
        assert row["relation"].startswith(f"{kind} {metric or 'that'} of threshold")


def test_a_margin_asks_for_more_than_a_sign(tmp_path: Path) -> None:
    # differences .29, .30, .31: interval .30 -+ 4.30 * .01 / sqrt(3) = .275 to .325
    found = [
        instance(tmp_path / "a", name="shadow", precision=[0.61, 0.60, 0.59]),
        instance(tmp_path / "b", name="other", precision=[0.32, 0.30, 0.28]),
    ]
    for kind, attack, margin, verdict in (
        ("above", "shadow", 0.27, "reproduced"),
        ("above", "shadow", 0.28, "missed"),
        ("above", "other", 0.0, "missed"),
        ("below", "other", 0.27, "reproduced"),
        ("below", "other", 0.28, "missed"),
        ("below", "shadow", 0.0, "missed"),
    ):
        other = {"shadow": "other", "other": "shadow"}[attack]
        asked = {"kind": kind, "attack": other, "where": {}, "margin": margin}
        row = judge(claim(attack=attack, relation=asked), found)
        assert row["verdict"] == verdict, (kind, attack, margin)
        more = f"more than {margin:g} " if margin else ""
        assert row["relation"] == f"{more}{kind} that of {other} at the one instance"
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        claim(relation={"kind": "below", "attack": "other", "margin": -0.1})


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.700, 0.710, 0.705], "reproduced"),  # difference .000 to .010: within .02
        ([0.700, 0.760, 0.640], "missed"),  # no difference on average, but not sure
        ([0.760, 0.770, 0.765], "missed"),  # surely another
        ([0.700], "not judged: one seed"),
    ],
)
def test_alike_asks_for_an_interval_near_zero(
    tmp_path: Path, values: list[float], verdict: str
) -> None:
    found = [
        instance(tmp_path / "a", name="shadow", precision=values),
        instance(
            tmp_path / "b", name="other", precision=[0.7, 0.7, 0.7][: len(values)]
        ),
    ]
    asked = {"kind": "alike", "attack": "other", "where": {}, "tolerance": 0.02}
    row = judge(claim(where={}, relation=asked), found)
    assert row["verdict"] == verdict
    assert row["relation"] == "within 0.02 of that of other at the one instance"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.710, 0.640, 0.760], "reproduced"),  # by mean alone: seeds do not agree
        ([0.700, 0.700, 0.700], "reproduced"),  # equal is not below
        ([0.710, 0.640, 0.740], "missed"),
        ([0.700], "not judged: one seed"),
    ],
)
def test_not_below_asks_for_the_mean_alone(
    tmp_path: Path, values: list[float], verdict: str
) -> None:
    found = [
        instance(tmp_path / "a", name="shadow", precision=values),
        instance(
            tmp_path / "b", name="other", precision=[0.7, 0.7, 0.7][: len(values)]
        ),
    ]
    asked = {"kind": "not_below", "attack": "other", "where": {}}
    row = judge(claim(where={}, relation=asked), found)
    assert row["verdict"] == verdict
    assert row["relation"] == "not below that of other at the one instance"
    assert row["ours"]["mean"] == pytest.approx(sum(values) / len(values) - 0.7)


def test_order_by_another_metric_of_the_same_instance(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", precision=[0.5, 0.5], recall=[0.9, 0.8])]
    row = judge(claim(relation={"kind": "below", "metric": "recall"}), found)
    assert row["ours"]["what"] == "precision minus recall"
    assert row["relation"] == "below recall"
    assert row["ours"]["mean"] == pytest.approx(-0.35)


def test_what_is_never_below_is_found_by_a_margin_alone(tmp_path: Path) -> None:
    """The last of noise around one level is always above the least of it."""
    last, least = [0.52, 0.50, 0.49], [0.45, 0.44, 0.43]
    found = [instance(tmp_path / "a", precision=last, recall=least)]
    for margin, verdict in ((0.0, "reproduced"), (0.1, "missed")):
        asked = {"kind": "above", "metric": "recall", "margin": margin}
        assert judge(claim(relation=asked), found)["verdict"] == verdict


def sentences(folder: Path, values: dict[str, list[float]]) -> list[Instance]:
    return load(
        make_result(folder / text, grid={"text": text}, precision=row)
        for text, row in values.items()
    )


SEVERAL = {"kind": "several", "variable": "text", "least": 2}


@pytest.mark.parametrize(
    ("least", "each", "verdict", "count"),
    [
        (2, {"kind": "at_least", "bound": 0.5}, "reproduced", 2),
        (3, {"kind": "at_least", "bound": 0.5}, "missed", 2),
        (2, {"kind": "at_least", "bound": 0.65}, "missed", 1),
        (3, {"kind": "at_most", "bound": 0.9}, "reproduced", 3),
        (1, {"kind": "between", "low": 0.55, "high": 0.65}, "reproduced", 1),
        (2, {"kind": "between", "low": 0.55, "high": 0.65}, "missed", 1),
        (2, {"kind": "at_least", "bound": 0.5, "by": "low"}, "missed", 1),
    ],
)
def test_several_of_a_grid_are_counted(
    tmp_path: Path, least: int, each: dict[str, Any], verdict: str, count: int
) -> None:
    """Means .9, .6 and .1; of words there is no order, and none is asked for."""
    found = sentences(
        tmp_path, {"nokia": [0.9, 0.9], "bose": [0.8, 0.4], "jeep": [0.1, 0.1]}
    )
    row = judge(claim(relation={**SEVERAL, "least": least, "each": each}), found)
    assert row["verdict"] == verdict
    assert (row["ours"]["mean"], row["ours"]["of"]) == (count, 3)
    assert {point["label"] for point in row["points"]} == {"nokia", "bose", "jeep"}
    assert f"{count} of 3 hold, asked of {least} at least" in row["reason"]
    assert row["relation"].endswith(f"for {least} text or more")
    table = {
        "study": "s", "claims": [row], "counts": judging.count_verdicts([row]),
        "controls": judging.judge_controls(found),
    }  # fmt: skip
    assert f"{count} of 3<br>means over 2 seeds" in tables.markdown_text(table)
    assert f"{count} of 3" in tables.html_text(table)


def test_several_by_an_interval_need_two_seeds(tmp_path: Path) -> None:
    found = sentences(tmp_path, {"nokia": [0.9], "bose": [0.8]})
    each = {"kind": "at_least", "bound": 0.5, "by": "low"}
    row = judge(claim(relation={**SEVERAL, "each": each}), found)
    assert row["verdict"] == "not judged: one seed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"least": 4}, r"relation: least: 4; allowed: 1..3, the values of text"),
        ({"variable": "words"}, "has no 'words'; allowed: .*text"),
        ({"variable": "dataset"}, "matches 3 instances at dataset location"),
    ],
)
def test_several_that_cannot_be_counted(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    found = sentences(tmp_path, {"a": [0.5], "b": [0.5], "c": [0.5]})
    asked = {**SEVERAL, "each": {"kind": "at_least", "bound": 0.5}, **change}
    with pytest.raises(UserError, match=message):
        judge(claim(relation=asked), found)


def test_order_of_an_instance_with_itself_is_refused(tmp_path: Path) -> None:
    found = sizes(tmp_path, {1: [0.5, 0.5], 2: [0.5, 0.5]})
    other = {"kind": "above", "where": {"dataset": "location", "members": 1}}
    with pytest.raises(
        UserError, match=r"relation: where: both sides are precision of"
    ):
        judge(claim(where={"members": 1}, relation=other), found)


# -- which instance --------------------------------------------------------------

LEAST = {"kind": "at_least", "bound": 0.0}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attack": "lira"}, "attack: no result of 'lira'; there are: shadow"),
        ({"where": {"members": 3}}, r"members=3 matches no .* are: \[members=1, data"),
        ({}, r"no condition matches 2 instances .* \[members=1, .* \[members=2, "),
        ({"where": {"size": 3}}, "no variable 'size'; allowed: classes, dataset, mem"),
        ({"where": {"dataset": "adult"}}, "dataset=adult matches no instance"),
        ({"where": {"members": True}}, "members=True matches no instance"),
        ({"where": {"members": 1}, "metric": "auc"}, "'auc' is unknown .*: precision"),
    ],
)
def test_misfits_name_what_exists(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    found = sizes(tmp_path, {1: [0.5, 0.6], 2: [0.5, 0.6]})
    with pytest.raises(UserError, match=rf"^claims\[0\]: .*{message}") as error:
        judge(claim(relation=LEAST, **fields), found)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "where",
    [
        {"members": 2},
        {"members": 2.0},
        {"members": 2, "classes": 30, "records": 5010, "dataset": "location"},
    ],
)
def test_conditions_single_out_one(tmp_path: Path, where: dict[str, Any]) -> None:
    found = sizes(tmp_path, {1: [0.5, 0.6], 2: [0.7, 0.8]})
    row = judge(claim(relation=LEAST, where=where), found)
    assert row["points"][0]["instance"] == "members-2"


def test_dataset_goes_by_the_studys_name_and_its_own(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", grid={"dataset": "mine"}, precision=[0.5, 0.6])]
    for name in ("mine", "location"):
        row = judge(claim(relation=LEAST, where={"dataset": name}), found)
        assert row["points"][0]["instance"] == "a"


@pytest.mark.parametrize(
    ("where", "variable", "message"),
    [
        ({"members": 1}, "members", "has one value only"),
        ({}, "classes", "one value only"),
        ({}, "layers", "has no 'layers'; allowed: classes, dataset, members"),
        ({}, "dataset", "must have numbers, has 'location'"),
    ],
)
def test_variables_that_cannot_grow(
    tmp_path: Path, where: dict[str, Any], variable: str, message: str
) -> None:
    found = sizes(tmp_path, {1: [0.5, 0.6], 2: [0.5, 0.6]})
    asked = claim(where=where, relation={"kind": "grows_with", "variable": variable})
    with pytest.raises(UserError, match=message):
        judge(asked, found)


def test_growth_needs_one_instance_for_each_value(tmp_path: Path) -> None:
    found = load(
        make_result(
            tmp_path / f"{size}-{depth}", grid={"members": size, "depth": depth},
            precision=[0.5 + size / 10, 0.5 + size / 10],
        )
        for size in (1, 2)
        for depth in (1, 2)
    )  # fmt: skip
    relation = {"kind": "grows_with", "variable": "members"}
    with pytest.raises(UserError, match="matches 2 instances at members 1, must leave"):
        judge(claim(relation=relation), found)
    row = judge(claim(relation=relation, where={"depth": 2}), found)
    assert row["verdict"] == "reproduced"


def test_results_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.json: no such file"):
        load([tmp_path / "nothing"])
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "metrics.json").write_text('{"name": "shadow"}')
    with pytest.raises(UserError, match="not the metrics of an attack: 'grid'"):
        load([tmp_path / "bad"])
    make_result(tmp_path / "x" / "same")
    make_result(tmp_path / "y" / "same")
    with pytest.raises(UserError, match="two folders are called 'same'"):
        load([tmp_path / "x" / "same", tmp_path / "y" / "same"])


# -- controls --------------------------------------------------------------------


def test_holm_goes_over_all_negative_controls_of_the_study(tmp_path: Path) -> None:
    """By hand: .02 x 3 = .06, then max(.06, .03 x 2) = .06, then .5."""
    found = load(
        [
            make_result(tmp_path / "a", precision=[0.5, 0.5], negative=[0.02, 0.5]),
            make_result(tmp_path / "b", precision=[0.5], negative=[0.03]),
        ]
    )
    controls = judging.judge_controls(found)
    adjusted = [row["adjusted_p_value"] for row in controls["negative"]]
    assert adjusted == pytest.approx([0.06, 0.5, 0.06])
    assert [row["passed"] for row in controls["negative"]] == [True, True, True]
    assert [row["holds"] for row in controls["claims"]] == [True, True]


def test_a_failed_negative_control_is_named(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", precision=[0.5, 0.5], negative=[0.9, 0.02])]
    negative = judging.judge_controls(found)["claims"][1]
    assert not negative["holds"]
    assert negative["reason"].startswith("1 of 2 pass")
    assert negative["reason"].endswith("failed: a seed 1")


def test_a_planted_leak_must_be_found_with_its_interval(tmp_path: Path) -> None:
    found = [instance(tmp_path / "a", precision=[0.5, 0.5], positive=[0.751, 0.75])]
    controls = judging.judge_controls(found)
    assert [row["passed"] for row in controls["positive"]] == [True, False]
    assert not controls["claims"][0]["holds"]
    assert controls["claims"][0]["reason"].endswith("failed: a seed 1")


def test_controls_that_were_not_run_do_not_pass(tmp_path: Path) -> None:
    found = instance(tmp_path / "a", precision=[0.5, 0.5])
    del found.replicates[1]["controls"]["negative"]
    positive, negative = judging.judge_controls([found])["claims"]
    assert positive["holds"]
    assert not negative["holds"]
    assert negative["reason"].endswith("not run: a seed 1")


def test_all_verdicts_are_counted(one: list[Instance]) -> None:
    rows = [
        judge(claim(relation={"kind": "at_least", "bound": bound}), one)
        for bound in (0.1, 0.2, 0.9)
    ]
    counts = judging.count_verdicts(rows)
    assert (counts["reproduced"], counts["missed"]) == (2, 1)
    assert [*counts] == [*judging.VERDICTS]


# -- settings --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"relation": {"kind": "within", "tolerance": 0.1}}, "'within' needs one"),
        ({"relation": {"kind": "within", "tolerance": 0}}, "greater than 0"),
        ({"relation": {"kind": "between", "low": 0.5, "high": 0.5}}, "above low"),
        ({"relation": {"kind": "above"}}, "compares with itself"),
        (
            {"relation": {"kind": "alike", "attack": "b", "tolerance": 0}},
            "greater than 0",
        ),
        ({"relation": {"kind": "equals"}}, "does not match any of the expected tags"),
        ({"relation": {**LEAST, "bound": "1e-3"}}, "valid number"),
        ({"relation": LEAST, "published": "no-slash"}, "match pattern"),
        ({"relation": LEAST, "metric": "f1"}, "Input should be"),
        ({"relation": LEAST, "note": "x"}, "Extra inputs"),
        ({"relation": LEAST, "where": {"members": [1, 2]}}, "where.members"),
        ({"relation": LEAST, "comparable": {}}, "exactly one of published and value"),
        (
            {"relation": LEAST, "comparable": {"value": 0.5, "published": "p/x"}},
            "exactly one of published and value",
        ),
        (
            {
                "relation": {"kind": "grows_with", "variable": "members"},
                "comparable": {"value": 0.5},
            },
            "no single target",
        ),
    ],
)
def test_claims_that_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        claim(**fields)
