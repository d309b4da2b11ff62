"""Figures of risks: what is shown and said, and that it fits."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from figure_samples import assert_fits, make_attack, make_risk
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import TypeAdapter, ValidationError

from whatelse.errors import UserError
from whatelse.figures import results, risk, risk_sheet, settings

MODULES = {"risk": risk, "risk_sheet": risk_sheet}
SETTINGS: TypeAdapter[Any] = TypeAdapter(settings.FigureSettings)


def draw(kind: str, folder: Path, **more: Any) -> tuple[Figure, pd.DataFrame]:
    asked = SETTINGS.validate_python(
        {"kind": kind, "attacks": ["risk"], "title": "A title", **more}
    )
    loaded = results.load([folder], asked.attacks, asked.draws)
    return MODULES[kind].draw(asked, loaded)  # type: ignore[attr-defined]


def said(figure: Figure) -> str:
    found = [item.get_text() for item in figure.findobj(Text)]  # type: ignore[attr-defined]
    return " ".join(" ".join(found).split())


@pytest.mark.parametrize("what", ["picture", "words"])
@pytest.mark.parametrize("classes", [2, 5, 30])
@pytest.mark.parametrize("kind", sorted(MODULES))
def test_everything_fits_on_the_page(
    kind: str, classes: int, what: str, tmp_path: Path
) -> None:
    figure, data = draw(
        kind, make_risk(tmp_path, what=what, num_classes=classes), caption="A caption."
    )
    assert len(data)
    assert_fits(figure)


def test_what_is_said_of_risks(tmp_path: Path) -> None:
    figure, data = draw("risk", make_risk(tmp_path))
    words = said(figure)
    for part in (
        "60 records, 36 models", "25.0% of the records", "by chance alone for 2.5%",
        "mean risk of 0.90 by the other; all: 0.60", "0.40 [0.30, 0.50]",
    ):  # fmt: skip
        assert part in words
    assert data["group"].tolist() == [f"class {n}" for n in range(5)]
    assert data["risk_value"].iloc[1] == 0.51


def test_groups_take_the_place_of_classes(tmp_path: Path) -> None:
    figure, data = draw("risk", make_risk(tmp_path), by="age")
    assert len(data) == 2
    assert "by age (records)" in said(figure)
    with pytest.raises(UserError, match="no groups by 'sex'; allowed: class, age"):
        draw("risk", make_risk(tmp_path), by="sex")


def test_a_class_of_one_record_is_not_drawn_and_said(tmp_path: Path) -> None:
    figure, data = draw("risk", make_risk(tmp_path, alone=True))
    assert data["risk_value"].isna().tolist() == [False] * 4 + [True]
    assert "A group of one record has no interval" in said(figure)


def test_of_many_classes_both_ends_are_drawn(tmp_path: Path) -> None:
    figure, data = draw("risk", make_risk(tmp_path, num_classes=30))
    assert len(data) == 30
    ticks = figure.subfigs[1].axes[2].get_yticklabels()
    names = [tick.get_text() for tick in ticks]
    assert names[0] == "class 29 (60)"
    assert names[-1] == "class 0 (60)"
    assert len(names) == 24
    assert "Of 30 groups, those with the highest and lowest means" in said(figure)


def test_both_ends_of_the_ranking_are_shown(tmp_path: Path) -> None:
    figure, data = draw("risk_sheet", make_risk(tmp_path), columns=4)
    assert data["place"].tolist() == [1, 2, 3, 4, 57, 58, 59, 60]
    assert data["end"].tolist() == ["most exposed"] * 4 + ["least exposed"] * 4
    assert "picture" not in data
    pictures = [image for axes in figure.subfigs[1].axes for image in axes.images]
    assert len(pictures) == 8
    assert (pictures[0].get_array() == 1).all()
    assert (pictures[-1].get_array() == 60).all()
    assert "1.00 [0.85, 1.15]" in said(figure)


def test_rows_of_a_table_are_shown_as_words(tmp_path: Path) -> None:
    figure, _ = draw("risk_sheet", make_risk(tmp_path, what="words"), columns=4)
    words = said(figure)
    for shown in ("thing 1 = 1, other = 2", "thing 60 = 1", "most exposed", "class 1"):
        assert shown in words
    assert "thing 5 = 1" not in words


def test_more_than_was_kept_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"rows 3 are 24 .*'risk' has kept 8; allowed"):
        draw("risk_sheet", make_risk(tmp_path), columns=8, rows=3)


def test_risks_are_no_test_and_tests_no_risks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"kind membership.risk, which this figure"):
        results.load([make_risk(tmp_path / "r")], ["risk"], settings.ROC.draws)
    other = make_attack(tmp_path / "shadow", name="risk", num_seeds=1)
    with pytest.raises(UserError, match="of kind membership.shadow"):
        draw("risk", other)
    with pytest.raises(ValidationError, match="at most 1 item"):
        SETTINGS.validate_python({"kind": "risk", "attacks": ["a", "b"], "title": "T"})
