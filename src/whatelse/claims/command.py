"""``whatelse claims``: hold the results of a study against published numbers.

Reads ``metrics.json`` of every attack of the study and the numbers that papers
published; writes ``claims.json``, ``claims.csv``, ``claims.html``, ``claims.md`` and
``record.json``. A miss is a result: the exit code is 0 unless ``--strict`` is given.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from whatelse.arguments import json_argument
from whatelse.claims.settings import Claim
from whatelse.records import (
    RECORD,
    Telemetry,
    atomic,
    unwritable,
    write_json,
    write_record,
)
from whatelse.sources import closure


class ClaimsSpec(BaseModel):
    """What ``--spec`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str = Field(min_length=1)
    claims: tuple[Claim, ...]
    stand_ins: dict[str, str] = Field(
        {}, description="What an attack's data stand in for, by its folder's name."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "--spec",
        type=json_argument(ClaimsSpec),
        required=True,
        metavar="JSON",
        help="the study's name and its claims",
    )
    parser.add_argument(
        "--attacks",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="results of all attacks of the study, one folder for each grid point",
    )
    parser.add_argument(
        "--published",
        type=Path,
        required=True,
        metavar="DIR",
        help="published numbers, one YAML file a paper",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write"
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="exit with 1 if a claim is missed or a control fails",
    )


def run(args: argparse.Namespace) -> int:
    """Judge every claim and write the table.

    Returns
    -------
    int
        0; with ``--strict`` 1 if a claim is missed or a control fails.
    """
    telemetry = Telemetry()
    from whatelse.claims import tables
    from whatelse.claims.judge import count_verdicts, judge, judge_controls
    from whatelse.claims.published import published_files, read_published
    from whatelse.claims.results import load

    spec: ClaimsSpec = args.spec
    keys = sorted({key for claim in spec.claims for key in published_keys(claim)})
    published = read_published(args.published, keys)
    instances = load(args.attacks, spec.stand_ins)
    rows = [
        judge(
            claim,
            instances,
            published=published,
            place=f"claims[{number}] ({claim.claim})",
        )
        for number, claim in enumerate(spec.claims)
    ]
    table: dict[str, Any] = {
        "study": spec.study,
        "claims": rows,
        "counts": count_verdicts(rows),
        "controls": judge_controls(instances),
    }
    try:
        (args.out / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(args.out, error) from error
    write_json(args.out / "claims.json", table)
    for name, render in (
        ("claims.csv", tables.csv_text),
        ("claims.html", tables.html_text),
        ("claims.md", tables.markdown_text),
    ):
        with atomic(args.out / name) as file:
            file.write(render(table))
    telemetry.write(args.out)
    folders = {path.name: path for path in args.attacks}
    files = published_files(args.published, keys)
    write_record(
        args.out,
        kind="claims",
        spec=spec.model_dump(mode="json"),
        inputs={
            **{f"attack:{name}": folders[name] for name in sorted(folders)},
            **{f"published:{name}": path for name, path in files.items()},
        },
        code=closure("whatelse.claims.command"),
        outputs=["claims.csv", "claims.html", "claims.json", "claims.md"],
    )
    return int(args.strict and failed(table))


def published_keys(claim: Claim) -> Iterator[str]:
    """Yield the published numbers that a claim names, as FILE/ID."""
    if claim.published:
        yield claim.published
    if claim.comparable and claim.comparable.published:
        yield claim.comparable.published


def failed(table: dict[str, Any]) -> bool:
    """Return whether a claim is missed or a control fails."""
    controls = table["controls"]["claims"]
    return bool(table["counts"]["missed"]) or not all(row["holds"] for row in controls)
