"""``whatelse figure``: draw one figure of a study from its attacks' results.

Reads ``metrics.json``, ``curves.csv`` and ``scores.parquet`` of each attack folder;
writes ``figure.pdf``, ``figure.png``, ``data.csv`` (the numbers behind the picture)
and ``record.json``.
"""

import argparse
import importlib
from importlib import metadata
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from whatelse.arguments import json_argument
from whatelse.figures.settings import FigureSettings
from whatelse.records import RECORD, Telemetry, unwritable, write_record
from whatelse.sources import closure


class FigureSpec(BaseModel):
    """What ``--spec`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    name: str
    settings: FigureSettings
    stand_ins: dict[str, str] = Field(
        {}, description="What an attack's data stand in for, by its folder's name."
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument(
        "--spec",
        type=json_argument(FigureSpec),
        required=True,
        metavar="JSON",
        help="study, name and settings of the figure",
    )
    parser.add_argument(
        "--attacks",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="attack results to draw, one folder for every attack and grid point",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to write"
    )


def run(args: argparse.Namespace) -> None:
    """Draw the figure and write it with its data and record."""
    telemetry = Telemetry()
    spec: FigureSpec = args.spec
    module = f"whatelse.figures.{spec.settings.kind}"
    figures = importlib.import_module(module)

    from whatelse.figures import style
    from whatelse.figures.results import load

    results = load(
        args.attacks, spec.settings.attacks, spec.settings.draws, spec.stand_ins
    )
    figure, data = figures.draw(spec.settings, results)
    try:
        (args.out / RECORD).unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(args.out, error) from error
    written = style.save(figure, data, args.out)
    telemetry.write(args.out)
    write_record(
        args.out,
        kind="figure",
        spec=spec.model_dump(mode="json"),
        inputs={f"attack:{result.folder.name}": result.folder for result in results},
        code=closure("whatelse.figures.command", module),
        outputs=written,
        extra={"matplotlib": metadata.version("matplotlib")},
    )
