"""``whatelse attack``: run one attack of a study."""

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.allocator import keep_freed_memory
from whatelse.arguments import json_argument
from whatelse.findings import AttackSpec, Findings
from whatelse.sources import closure
from whatelse.tables import kind_in


def _kind(name: object) -> Any:
    return kind_in("whatelse.attack_kinds:KINDS", name, "--spec: settings.kind")


def code(kind: str) -> tuple[Path, ...]:
    """Return the sources that an attack of a kind consists of."""
    return closure("whatelse.attacks", *_kind(kind).modules)


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
    telemetry = records.Telemetry()
    spec: AttackSpec = args.spec
    kind = spec.settings.get("kind", "")
    chosen = _kind(kind)
    inputs = {role: [Path(f) for f in folders] for role, *folders in args.input}
    entry, *_ = [importlib.import_module(name) for name in chosen.modules]
    # it takes seconds to load: attacks that do without are spared it
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(args.threads)
        keep_freed_memory()
    findings: Findings = entry.find(spec, inputs)
    about = dict(findings.dataset)
    about.pop("class_names")
    about.pop("privacy", None)  # of models, not of data: each replicate says it
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
