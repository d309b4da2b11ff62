"""Published numbers: the file at hand, and what the loader refuses."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from whatelse.claims.published import (
    PublishedNumber,
    read_published,
    read_published_file,
)
from whatelse.errors import UserError

FOLDER = Path(__file__).parents[2] / "data" / "published"
SMALL: dict[str, Any] = {
    "paper": {"title": "t", "authors": "a", "short": "s", "venue": "v"},
    "marks": {"S": "second hand"},
    "numbers": [
        {
            "id": "x",
            "dataset": "d",
            "metric": "precision",
            "value": 0.5,
            "where": "Table I",
            "mark": "S",
        }
    ],
}


def test_paper_file_is_whole() -> None:
    file = read_published_file(FOLDER / "shokri2017.yaml")
    numbers = {number.id: number for number in file.numbers}
    # 14 in the anchors, 13 per class, 4 x 2 in Table I, 9 x 3 in II, 23 x 4 in III.
    assert len(numbers) == 14 + 13 + 8 + 27 + 92
    assert set(file.marks) == set("VECSDM")
    # The primary text was not seen, so nothing may say that it was.
    assert {number.mark for number in file.numbers} == {"S", "M"}
    assert {n.mark for n in file.numbers if n.where in ("Table I", "Table III")} == {
        "M"
    }


@pytest.mark.parametrize(
    ("key", "value", "mark", "where"),
    [
        ("P1-a-precision", 0.74, "S", "Fig. 4"),
        ("P1-b-test_accuracy", 0.2, "S", "Fig. 4"),
        ("P1-c", (0.785, 0.71), "S", "Fig. 4"),
        ("P1-d", (0.505, 0.935), "S", "Table II"),
        ("P1-e", (0.678, 0.666, 0.613), "S", "place not seen"),
        ("P1-f-marginals", 0.795, "S", "place not seen"),
        ("table1-amazon-10-1e-6-test_accuracy", 0.468, "M", "Table I"),
        ("table2-location-test_accuracy", 0.673, "S", "Table II"),
        ("table2-purchase-50-precision", 0.86, "M", "Table II"),
        ("table3-texas-label-only-recall", 0.93, "M", "Table III"),
        ("table3-purchase-100-l2-1e-2-accuracy", 0.53, "M", "Table III"),
    ],
)
def test_cells_by_hand(key: str, value: Any, mark: str, where: str) -> None:
    found = read_published(FOLDER, [f"shokri2017/{key}"])[f"shokri2017/{key}"]
    number = found.number
    assert (number.value, number.mark, number.where) == (value, mark, where)
    assert found.paper.short == "Shokri et al. 2017"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"value": 0.678}, "0.678"),
        ({"value": 0.7, "form": "more than"}, "more than 0.7"),
        ({"value": [0.6, 0.8], "form": "range"}, "0.6 to 0.8"),
        (
            {
                "value": [0.785, 0.71],
                "form": "series",
                "variable": "members",
                "at": [2500, 15000],
            },
            "0.785, 0.71 at members 2,500, 15,000",
        ),
    ],
)
def test_numbers_in_words(fields: dict[str, Any], words: str) -> None:
    number = PublishedNumber.model_validate({**SMALL["numbers"][0], **fields})
    assert number.words == words


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": "5e-1"}, r"numbers\.0\.value.*'5e-1'"),
        ({"value": float("nan")}, r"numbers\.0\.value.*finite"),
        ({"value": [0.1, 0.2]}, "the form 'number' needs one number"),
        ({"value": 0.1, "form": "range"}, "'range' needs two ends"),
        ({"value": [0.1, 0.2, 0.3], "form": "range"}, "a range has two ends"),
        ({"value": [0.1, 0.2], "form": "series"}, "belongs to a series"),
        (
            {"value": [1.0, 2.0], "form": "series", "variable": "m", "at": [1, 2, 3]},
            "at: one for each value",
        ),
        ({"variable": "members"}, "belongs to a series"),
        ({"mark": "X"}, r"numbers\.0\.mark.*'X'"),
        ({"mark": "V"}, "x: mark V is not explained"),
        ({"page": 3}, r"numbers\.0\.page: unknown key"),
    ],
)
def test_malformed_numbers_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    raw = {**SMALL, "numbers": [{**SMALL["numbers"][0], **change}]}
    path = tmp_path / "paper.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match=message) as error:
        read_published(tmp_path, ["paper/x"])
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_an_id_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    raw = {**SMALL, "numbers": [SMALL["numbers"][0], SMALL["numbers"][0]]}
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError, match="id 'x' occurs twice"):
        read_published(tmp_path, ["paper/x"])


def test_unknown_id_names_those_close_to_it() -> None:
    with pytest.raises(UserError, match="'P1-e-reel'; close to it: P1-e-real"):
        read_published(FOLDER, ["shokri2017/P1-e-reel"])


def test_missing_and_broken_files(tmp_path: Path) -> None:
    absent = re.escape(str(tmp_path / "nobody.yaml"))
    with pytest.raises(UserError, match=f"{absent}: cannot be read: No such file"):
        read_published(tmp_path, ["nobody/x"])
    (tmp_path / "broken.yaml").write_text("numbers: [")
    with pytest.raises(UserError, match="not YAML"):
        read_published(tmp_path, ["broken/x"])


def test_files_that_no_claim_names_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("numbers: [")
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(SMALL))
    assert [*read_published(tmp_path, ["paper/x"])] == ["paper/x"]
    assert read_published(tmp_path, []) == {}
