"""``whatelse attack``: run one attack of a study on released outputs."""

import argparse
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.membership.settings import MembershipAttack
from whatelse.sources import closure

if TYPE_CHECKING:
    from whatelse.membership.evaluate import Findings

KINDS = {
    "membership.shadow": "whatelse.membership.shadow",
    "membership.threshold": "whatelse.membership.threshold",
}


class AttackSpec(BaseModel):
    """One attack of a study, resolved."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    name: str
    grid: dict[str, Any]
    seed: int
    settings: MembershipAttack


def code(kind: str) -> tuple[Path, ...]:
    """Return the sources that an attack of a kind consists of."""
    return closure("whatelse.attacks", KINDS[kind])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(AttackSpec), required=True, help="resolved attack"
    )
    parser.add_argument(
        "--outputs", type=Path, nargs="+", action="append", required=True,
        help="outputs of the blocks of one replicate; once for each replicate",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Run the attack and write metrics, scores and curves."""
    import torch

    from whatelse.membership.evaluate import evaluate
    from whatelse.models.outputs import load_outputs

    telemetry = records.Telemetry()
    torch.set_num_threads(args.threads)
    spec: AttackSpec = args.spec
    kind = spec.settings.kind
    module = importlib.import_module(KINDS[kind])
    replicates = [load_outputs(folders) for folders in args.outputs]
    findings = evaluate(
        module.Scorer,
        spec.settings,
        replicates,
        needs_shadows=module.NEEDS_SHADOWS,
        seed=spec.seed,
    )
    about = dict(replicates[0].about)
    about.pop("class_names")
    written = _write(
        args.out,
        findings,
        {"kind": kind, "name": spec.name, "grid": spec.grid, "dataset": about},
    )
    telemetry.write(args.out)
    inputs = {
        f"outputs.{replicate}.{block}": folder
        for replicate, folders in enumerate(args.outputs)
        for block, folder in enumerate(folders)
    }
    records.write_record(
        args.out,
        kind="attack",
        spec=spec.model_dump(mode="json"),
        inputs=inputs,
        code=code(kind),
        outputs=written,
    )


def _write(folder: Path, findings: "Findings", head: dict[str, Any]) -> list[str]:
    with records.atomic(folder / "curves.csv") as file:
        findings.curves.to_csv(file, index=False, lineterminator="\n")
    records.write_with(
        folder / "scores.parquet",
        lambda path: findings.scores.to_parquet(path, index=False),
    )
    records.write_json(folder / "metrics.json", {**head, **findings.metrics})
    return ["curves.csv", "metrics.json", "scores.parquet"]
