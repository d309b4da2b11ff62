"""The table of claims as CSV, HTML and Markdown."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from whatelse.records import canonical_json

Table = Mapping[str, Any]
Row = Mapping[str, Any]

_SIGNS = {
    "reproduced": ("✓", "good"),
    "missed": ("✗", "bad"),
    "not comparable": ("≠", "open"),
    "shape only": ("○", "open"),
    "shown only": ("○", "open"),
    "not judged: one seed": ("○", "open"),
}
_COLUMNS = ("Claim", "Verdict", "Published", "Ours", "Target train / test")

# No colour carries meaning alone: every verdict is a word with a sign.
_STYLE = """
:root { color-scheme: light; }
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 76rem; color: #1a1a1a;
  background: #fff; font: 15px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.35rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0; max-width: 50rem; }
.wide { overflow-x: auto; margin-top: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .5rem .7rem;
  border-bottom: 1px solid #d5d5d5; font-weight: normal; }
thead th { border-bottom: 2px solid #444; font-weight: 600; white-space: nowrap; }
tbody th { min-width: 12rem; }
small, .more { display: block; color: #555; font-size: .84rem; }
.number, .numbers { font-variant-numeric: tabular-nums; }
.numbers { min-width: 9.5rem; }
.verdict { border-left: 4px solid #999; min-width: 11rem; }
.verdict b, .counts b { white-space: nowrap; }
.good { border-left-color: #00694b; } .good b { color: #00593f; }
.bad { border-left-color: #b3261e; } .bad b { color: #9c1c15; }
.open b { color: #444; }
.counts { display: flex; flex-wrap: wrap; gap: .4rem 1rem; margin: .6rem 0; padding: 0;
  list-style: none; }
.counts li { border-left: 4px solid #999; padding-left: .5rem; }
.counts .good { border-color: #00694b; } .counts .bad { border-color: #b3261e; }
.none { opacity: .6; }
details { margin-top: .6rem; } summary { cursor: pointer; }
dt { float: left; clear: left; width: 2rem; font-weight: 600; }
dd { margin: 0 0 .2rem 2rem; }
"""


def csv_text(table: Table) -> str:
    """Return one line a claim, all numbers in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    header = [
        "claim", "attack", "where", "metric", "relation", "published", "value", "paper",
        "printed", "mark", "ours", "mean", "std", "count", "low", "high",
        "train_accuracy", "test_accuracy", "stand_in_for", "verdict", "reason",
    ]  # fmt: skip
    writer.writerow(header)
    for row in table["claims"]:
        paper, ours, point = row["published"] or {}, row["ours"], row["points"][-1]
        writer.writerow(
            [
                row["claim"],
                row["attack"],
                canonical_json(row["where"]),
                row["metric"],
                row["relation"],
                paper.get("id"),
                paper.get("words"),
                paper.get("paper"),
                paper.get("where"),
                paper.get("mark"),
                *(
                    ours[name]
                    for name in ("what", "mean", "std", "count", "low", "high")
                ),
                *_single_target(row["points"], point),
                " ".join(row["stand_in_for"]),
                row["verdict"],
                row["reason"],
            ]
        )
    return text.getvalue()


def markdown_text(table: Table) -> str:
    """Return the table as Markdown, e.g. for a pull request or a log."""
    lines = [f"# Claims of {_plain(table['study'])}", "", _counts_line(table), ""]
    if table["claims"]:
        lines += [_md_row(_COLUMNS), _md_row(["---"] * len(_COLUMNS))]
    for row in table["claims"]:
        lines.append(
            _md_row(
                "<br>".join(_plain(line) for line in cell if line)
                for cell in (
                    [row["claim"], _asked(row)],
                    [f"{_sign(row['verdict'])} {_verdict(row)}", row["reason"]],
                    _published(row),
                    _ours(row),
                    _targets(row),
                )
            )
        )
    lines += ["", "## Controls", ""]
    for control in table["controls"]["claims"]:
        word = "holds" if control["holds"] else "fails"
        lines.append(
            f"- {_plain(control['claim'])}: **{word}**, {_plain(control['reason'])}."
        )
    marks = _marks(table["claims"])
    if marks:
        lines += ["", "## Marks of published numbers", ""]
        lines += [f"- {mark}: {_plain(meaning)}" for mark, meaning in marks.items()]
    return "\n".join(lines) + "\n"


def headlines(title: str, table: Table) -> dict[str, Any]:
    """Return what the report's first page says of a study, as reStructuredText."""
    return {
        "title": _rst(title),
        "counts": _rst(_counts_line(table)),
        "claims": [
            f"{_sign(row['verdict'])} {_rst(row['claim'])}: {_rst(row['metric'])} "
            f"**{_rst(_ours(row)[0])}** ({_rst(_verdict(row))})"
            for row in table["claims"]
        ],
    }


def html_text(table: Table) -> str:
    """Return the table as one self-contained page."""
    title = f"Claims of {table['study']}"
    body = [f"<h1>{escape(title)}</h1>", *_html_counts(table)]
    if table["claims"]:
        body += [
            '<div class="wide" tabindex="0" role="region" aria-label="Claims"><table>',
            _html_head(_COLUMNS),
            "<tbody>",
            *(_html_row(row) for row in table["claims"]),
            "</tbody></table></div>",
        ]
    body += _html_controls(table["controls"])
    marks = _marks(table["claims"])
    if marks:
        body += ["<h2>How well published numbers are attested</h2>", "<dl>"]
        body += [f"<dt>{m}</dt><dd>{escape(text)}</dd>" for m, text in marks.items()]
        body.append("</dl>")
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    )


def _html_counts(table: Table) -> list[str]:
    if not table["claims"]:
        return ["<p>This study claims no published number.</p>"]
    items = []
    for verdict, count in table["counts"].items():
        sign, kind = _SIGNS[verdict]
        none = "" if count else " none"
        items.append(
            f'<li class="{kind}{none}"><b>{count}</b> {sign} {escape(verdict)}</li>'
        )
    return [
        "<p>Published numbers held beside ours: means over fixed seeds ± standard "
        "deviation, with the 95% interval of the mean. Misses stay in the table.</p>",
        '<ul class="counts">',
        *items,
        "</ul>",
    ]


def _html_head(columns: Iterable[str]) -> str:
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    return f"<thead><tr>{cells}</tr></thead>"


def _html_row(row: Row) -> str:
    sign, kind = _SIGNS[row["verdict"]]
    asked = f"<small>{escape(_asked(row))}</small>"
    cells = [
        f'<th scope="row">{escape(row["claim"])}{asked}</th>',
        f'<td class="verdict {kind}"><b>{sign} {escape(_verdict(row))}</b>'
        f"<small>{escape(row['reason'])}</small></td>",
        _html_cell(_published(row), abbreviated=row["published"]),
        _html_cell(_ours(row), kind="numbers"),
        _html_cell(_targets(row), kind="numbers"),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _html_cell(
    lines: Sequence[str], *, kind: str = "words", abbreviated: Row | None = None
) -> str:
    """Return a cell: the first line in full size, the others small below it."""
    first, *others = (_unbroken(escape(line)) for line in lines)
    texts = others
    if abbreviated:
        mark, meaning = abbreviated["mark"], escape(abbreviated["meaning"])
        texts = [
            text.replace(f"[{mark}]", f'<abbr title="{meaning}">[{mark}]</abbr>')
            for text in texts
        ]
    small = "".join(f'<span class="more">{text}</span>' for text in texts)
    number = f'<span class="number">{first}</span>' if first else ""
    return f'<td class="{kind}">{number}{small}</td>'


def _unbroken(text: str) -> str:
    """Hold two numbers and the sign between them on one line."""
    for sign in ("±", "/"):
        text = text.replace(f" {sign} ", f"&nbsp;{sign}&nbsp;")
    return text


def _html_controls(controls: Table) -> list[str]:
    found = ["<h2>Controls</h2>", '<ul class="counts">']
    for control in controls["claims"]:
        kind, word = ("good", "✓ holds") if control["holds"] else ("bad", "✗ fails")
        found.append(
            f'<li class="{kind}">{escape(control["claim"])}: <b>{word}</b>'
            f"<small>{escape(control['reason'])}</small></li>"
        )
    found.append("</ul>")
    for sign in ("positive", "negative"):
        rows = controls[sign]
        if not rows:
            continue
        adjusted = sign == "negative"
        columns = ["Attack", "Seed", "AUC (95% interval)", "p"]
        columns += ["p after Holm's correction"] if adjusted else []
        found += [
            f"<details><summary>All {len(rows)} {sign} controls</summary>",
            f'<div class="wide"><table>{_html_head([*columns, "Result"])}<tbody>',
        ]
        for row in rows:
            values = [row["instance"], f"{row['replicate']}", _rate(row["auc"])]
            values.append(_p(row["p_value"]))
            values += [_p(row["adjusted_p_value"])] if adjusted else []
            values.append("✓ passes" if row["passed"] else "✗ fails")
            first, *others = (escape(value) for value in values)
            cells = "".join(f'<td class="number">{value}</td>' for value in others)
            found.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
        found.append("</tbody></table></div></details>")
    return found


def _counts_line(table: Table) -> str:
    if not table["claims"]:
        return "This study claims no published number."
    found = table["counts"].items()
    counts = [f"{count} {verdict}" for verdict, count in found if count]
    number = len(table["claims"])
    return f"{number} claim{'s' * (number > 1)}: {', '.join(counts)}."


def _asked(row: Row) -> str:
    where = ", ".join(f"{key}={value}" for key, value in row["where"].items())
    place = f" at {where}" if where else ""
    return f"{row['metric']} of {row['attack']}{place}: {row['relation']}"


def _published(row: Row) -> list[str]:
    paper = row["published"]
    if paper is None:
        return ["none given"]
    lines = [paper["words"], f"{paper['paper']}, {paper['where']} [{paper['mark']}]"]
    lines.append(f"{paper['dataset']}, {paper['metric']}")
    return [*lines, paper["note"]] if paper["note"] else lines


def _ours(row: Row) -> list[str]:
    ours, points = row["ours"], row["points"]
    if "of" in ours:
        values = [f"{point['label']}: {_mean(point)}" for point in points]
        seeds = _interval({**ours, "low": None})
        return [f"{ours['mean']} of {ours['of']}", f"means over {seeds}", *values]
    if len(points) == 1:
        return [_mean(ours), _interval(ours)]
    lines = [f"difference {_mean(ours, sign='+')}", _interval(ours, sign="+")]
    return lines + [f"{point['label']}: {_mean(point)}" for point in points]


def _targets(row: Row) -> list[str]:
    points = row["points"]
    if len(points) == 1:
        return [_accuracies(points[0])]
    lines = [f"{point['label']}: {_accuracies(point)}" for point in points]
    return ["", *lines]  # the first line of a cell is its one number


def _accuracies(point: Row) -> str:
    train, test = point["train_accuracy"], point["test_accuracy"]
    return " / ".join("unknown" if v is None else f"{v:.3f}" for v in (train, test))


def _single_target(points: Sequence[Row], point: Row) -> list[float | None]:
    names = ("train_accuracy", "test_accuracy")
    return [point[name] if len(points) == 1 else None for name in names]


def _mean(found: Row, *, sign: str = "") -> str:
    if found["mean"] is None:
        return "undefined"
    deviation = "" if found["std"] is None else f" ± {found['std']:.3f}"
    return f"{found['mean']:{sign}.3f}{deviation}"


def _interval(found: Row, *, sign: str = "") -> str:
    seeds = "one seed" if found["count"] == 1 else f"{found['count']} seeds"
    if found["low"] is None:
        return seeds
    return f"95% {found['low']:{sign}.3f} to {found['high']:{sign}.3f}, {seeds}"


def _rate(found: Row) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _rst(text: str) -> str:
    return re.sub(r"([^\w\s])", r"\\\1", text)


def _sign(verdict: str) -> str:
    return _SIGNS[verdict][0]


def _verdict(row: Row) -> str:
    verdict: str = row["verdict"]
    return f"{verdict} (stand-in)" if row["stand_in_for"] else verdict


def _marks(rows: Iterable[Row]) -> dict[str, str]:
    papers = [row["published"] for row in rows if row["published"]]
    return dict(sorted({paper["mark"]: paper["meaning"] for paper in papers}.items()))


def _md_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Return text that Markdown shows as it stands, on one line of a table."""
    line = " ".join(text.split())
    for sign in ("\\", "|", "*", "_", "`", "<", "[", "]"):
        line = line.replace(sign, f"\\{sign}")
    return line
