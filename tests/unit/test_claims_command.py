"""``whatelse claims``: the files that it writes, their bytes, and the exit code."""

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from claim_samples import make_result

from whatelse.cli import main
from whatelse.records import file_digest, read_json
from whatelse.sources import PACKAGE

PUBLISHED = PACKAGE.parents[1] / "data" / "published"
FILES = ["claims.csv", "claims.html", "claims.json", "claims.md"]
NASTY = 'Members <script>alert("1")</script> & co | are *told*'


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [name for name, _ in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data.replace("\N{NO-BREAK SPACE}", " ")


def relation(kind: str, **fields: Any) -> dict[str, Any]:
    return {"relation": {"kind": kind, **fields}}


CLAIMS: list[dict[str, Any]] = [
    {
        "claim": NASTY,
        "where": {"members": 1200},
        "published": "shokri2017/P1-e-real",
        "comparable": {"published": "shokri2017/table2-location-test_accuracy"},
        **relation("within", tolerance=0.05),
    },
    {
        "claim": "The attack is perfect.",
        "where": {"members": 1600},
        **relation("at_least", bound=1.0),
    },
    {
        "claim": "A number from memory.",
        "where": {"members": 1600},
        "published": "shokri2017/table2-adult-precision",
        **relation("within", tolerance=0.05),
    },
    {
        "claim": "It falls with size.",
        "published": "shokri2017/P1-c",
        **relation("falls_with", variable="members"),
    },
    {
        "claim": "It beats size 1,600.",
        "where": {"members": 1200},
        **relation("above", where={"members": 1600}),
    },
]


@pytest.fixture
def attacks(tmp_path: Path) -> list[Path]:
    return [
        make_result(
            tmp_path / "attacks" / f"shadow.members-{size}",
            grid={"members": size},
            precision=[precision, precision + 0.01, precision + 0.03],
            train_accuracy=[1.0, 1.0, 1.0],
            test_accuracy=[0.66, 0.67, 0.68],
        )
        for size, precision in ((1200, 0.68), (1600, 0.62))
    ]


def run(
    out: Path, attacks: list[Path], claims: list[dict[str, Any]], *more: str
) -> int:
    filled = [{"attack": "shadow", "metric": "precision", **one} for one in claims]
    spec = json.dumps({"study": "membership-location", "claims": filled})
    return main(
        [
            "claims", "--spec", spec, "--attacks", *map(str, attacks),
            "--published", str(PUBLISHED), "--out", str(out), *more,
        ]
    )  # fmt: skip


def test_every_claim_is_in_every_file(tmp_path: Path, attacks: list[Path]) -> None:
    assert run(tmp_path / "out", attacks, CLAIMS) == 0
    table = read_json(tmp_path / "out" / "claims.json")
    verdicts = [row["verdict"] for row in table["claims"]]
    assert verdicts == [
        "reproduced", "missed", "shown only", "reproduced", "reproduced",
    ]  # fmt: skip
    assert table["counts"] == {
        "reproduced": 3, "missed": 1, "not comparable": 0, "shape only": 0,
        "shown only": 1, "not judged: one seed": 0,
    }  # fmt: skip
    assert all(row["holds"] for row in table["controls"]["claims"])
    with open(tmp_path / "out" / "claims.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["verdict"] for line in lines] == verdicts
    assert lines[0]["claim"] == NASTY
    assert float(lines[0]["mean"]) == table["claims"][0]["ours"]["mean"]
    assert (lines[0]["paper"], lines[0]["printed"], lines[0]["mark"]) == (
        "Shokri et al. 2017", "Table II", "S",
    )  # fmt: skip
    markdown = (tmp_path / "out" / "claims.md").read_text()
    page = Page((tmp_path / "out" / "claims.html").read_text())
    for text in (markdown, page.text):
        for claim in CLAIMS[1:]:
            assert claim["claim"] in text
        assert "✗ missed" in text
        # Three rows, and the page counts verdicts in the same words.
        assert text.count("✓ reproduced") == (4 if text is page.text else 3)
        assert "1.000 / 0.670" in text
        assert "0.693 ± 0.015" in text  # .68, .69, .71
        assert "from memory, unverified" in text


def test_page_is_whole_escaped_and_self_contained(
    tmp_path: Path, attacks: list[Path]
) -> None:
    run(tmp_path / "out", attacks, CLAIMS)
    text = (tmp_path / "out" / "claims.html").read_text()
    page = Page(text)
    assert page.open == []
    assert NASTY in page.text
    assert "script" not in page.tags
    assert page.links == []
    assert "http" not in text
    assert "url(" not in text


def test_markdown_table_has_one_row_a_claim(
    tmp_path: Path, attacks: list[Path]
) -> None:
    run(tmp_path / "out", attacks, CLAIMS)
    lines = (tmp_path / "out" / "claims.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + len(CLAIMS)
    assert {row.replace("\\|", "").count("|") for row in rows} == {6}
    assert "\\<script" in rows[2]


def test_same_results_give_the_same_bytes(tmp_path: Path, attacks: list[Path]) -> None:
    run(tmp_path / "a", attacks, CLAIMS)
    run(tmp_path / "b", attacks[::-1], CLAIMS)
    for name in [*FILES, "record.json"]:
        assert file_digest(tmp_path / "a" / name) == file_digest(tmp_path / "b" / name)


def test_record_names_what_was_read(tmp_path: Path, attacks: list[Path]) -> None:
    run(tmp_path / "out", attacks, CLAIMS)
    record = read_json(tmp_path / "out" / "record.json")
    assert record["kind"] == "claims"
    assert [*record["outputs"]] == FILES
    assert record["inputs"] == {
        "attack:shadow.members-1200": file_digest(attacks[0] / "record.json"),
        "attack:shadow.members-1600": file_digest(attacks[1] / "record.json"),
        "published:shokri2017": file_digest(PUBLISHED / "shokri2017.yaml"),
    }
    assert record["spec"]["claims"][1]["relation"] == {
        "kind": "at_least", "bound": 1.0, "by": "mean"
    }  # fmt: skip
    # The record's spec is what the command line takes: it can be run again.
    spec = json.dumps(record["spec"])
    again = ["--attacks", *map(str, attacks), "--published", str(PUBLISHED)]
    assert main(["claims", "--spec", spec, *again, "--out", str(tmp_path / "b")]) == 0
    assert read_json(tmp_path / "b" / "record.json") == record


def test_a_study_without_claims_has_its_controls(
    tmp_path: Path, attacks: list[Path]
) -> None:
    assert run(tmp_path / "out", attacks, []) == 0
    page = Page((tmp_path / "out" / "claims.html").read_text())
    assert "claims no published number" in page.text
    assert "6 of 6 pass" in page.text
    assert "All 6 negative controls" in page.text


def test_strict_fails_on_a_miss_or_a_control(
    tmp_path: Path, attacks: list[Path]
) -> None:
    out = tmp_path / "out"
    missed, held = CLAIMS[1], CLAIMS[3]
    assert run(out, attacks, [held], "--strict") == 0
    assert run(out, attacks, [held, missed], "--strict") == 1
    failing = make_result(
        tmp_path / "bad", name="other", precision=[0.5], negative=[0.001]
    )
    assert run(out, [*attacks, failing], [held], "--strict") == 1
    assert run(out, [*attacks, failing], [held]) == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"where": {"members": 7}}, "): where: members=7 matches no instance"),
        ({"published": "shokri2017/P9"}, "no published number has the id 'P9'"),
        ({"published": "melis/a"}, "melis.yaml: cannot be read: No such file"),
        ({"relation": {"kind": "at_least", "bound": "1e-3"}}, "--spec: claims.0."),
    ],
)
def test_bad_claims_are_one_line_and_leave_nothing(
    tmp_path: Path,
    attacks: list[Path],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    told: str,
) -> None:
    assert run(tmp_path / "out", attacks, [{**CLAIMS[1], **change}]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert told in line
    assert line.count("\n") == 1
    assert not (tmp_path / "out").exists()
