"""``whatelse attack``: run one attack of a study."""

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings
from whatelse.sources import closure


def kinds() -> Mapping[str, Any]:
    """Return all kinds, by name.

    Looked up, so that the table of all is no part of the code of any.
    """
    found: Mapping[str, Any] = importlib.import_module("whatelse.attack_kinds").KINDS
    return found


def code(kind: str) -> tuple[Path, ...]:
    """Return the sources that an attack of a kind consists of."""
    return closure("whatelse.attacks", *kinds()[kind].modules)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(AttackSpec), required=True, help="resolved attack"
    )
    parser.add_argument(
        "--input", nargs="+", action="append", required=True, metavar="ROLE FOLDER",
        help="folders to read and what they are, e.g. outputs.0 and the blocks of "
        "outputs of replicate 0",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Run the attack and write metrics, scores and curves."""
    import torch

    telemetry = records.Telemetry()
    torch.set_num_threads(args.threads)
    spec: AttackSpec = args.spec
    kind = spec.settings.get("kind", "")
    known = kinds()
    if kind not in known:
        raise UserError(f"--spec: settings.kind: {kind!r}; allowed: {', '.join(known)}")
    inputs = {role: [Path(f) for f in folders] for role, *folders in args.input}
    findings: Findings = importlib.import_module(known[kind].entry).find(spec, inputs)
    about = dict(findings.dataset)
    about.pop("class_names")
    written = _write(
        args.out,
        findings,
        {"kind": kind, "name": spec.name, "grid": spec.grid, "dataset": about},
    )
    telemetry.write(args.out, **findings.telemetry)
    records.write_record(
        args.out,
        kind="attack",
        spec=spec.model_dump(mode="json"),
        inputs={
            f"{role}.{block}": folder
            for role, folders in inputs.items()
            for block, folder in enumerate(folders)
        },
        code=code(kind),
        outputs=written,
    )


def _write(folder: Path, findings: Findings, head: dict[str, Any]) -> list[str]:
    with records.atomic(folder / "curves.csv") as file:
        findings.curves.to_csv(file, index=False, lineterminator="\n")
    records.write_with(
        folder / "scores.parquet",
        lambda path: findings.scores.to_parquet(path, index=False),
    )
    records.write_json(folder / "metrics.json", {**head, **findings.metrics})
    return ["curves.csv", "metrics.json", "scores.parquet"]
