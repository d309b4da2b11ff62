"""What a smaller number of shadow models costs in precision, measured on digits.

The nets of ``config/studies/membership-digits.yaml``, with more shadows and replicates
than the study has; P1's attack is fitted on the first 1, 2, 3, ... of them.
``whatelse plan`` reads the result, and ``docs/planning.md`` says how.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

# before anything imports NumPy or torch: equal bytes need an equal thread count
os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml

from whatelse import records
from whatelse.cli import main as whatelse
from whatelse.errors import UserError
from whatelse.studies.resolve import Artefact, Resolved, load_study

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "config/studies/membership-digits.yaml"
SHADOWS = (1, 2, 3, 5, 10, 20, 40)


def study_file(folder: Path, *, shadows: int, replicates: int, epochs: int) -> Path:
    """Write the digits study with other numbers of shadows, replicates and epochs."""
    study = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    for model in study["models"].values():
        model.update(shadows=shadows, replicates=replicates, block=shadows + 1)
        model["training"]["epochs"] = epochs or model["training"]["epochs"]
    del study["figures"], study["claims"]
    path = folder / STUDY.name
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


def make(artefact: Artefact, folder: Path) -> None:
    """Prepare the data set, train a block, or ask it, by the same verb as a rule."""
    spec = ["--spec", artefact.spec_json, "--out", artefact.folder]
    data = ["--data", *artefact.inputs.get("data", [])]
    words = {
        "dataset": ["datasets", "prepare", *spec, "--raw", str(folder)],
        "train": [
            "train", *spec, *data, "--models", str(artefact.labels.get("models")),
            "--progress", str(folder / "progress"), "--device", "cpu",
        ],
        "query": [
            "query", *spec, *data, "--device", "cpu",
            "--block", *artefact.inputs.get("block", []),
        ],
    }  # fmt: skip
    if whatelse(words[artefact.kind]):
        raise UserError(f"{artefact.kind} failed: its line stands above")


def areas(resolved: Resolved, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the attack's AUC at each number of shadows, a dict a size and replicate."""
    import torch
    from pydantic import TypeAdapter

    from whatelse.measures.roc import auc
    from whatelse.membership.settings import Shadow
    from whatelse.membership.shadow import Scorer
    from whatelse.models.outputs import TARGET, load_outputs

    torch.set_num_threads(1)
    for attack in resolved.of("attack"):
        settings = TypeAdapter(Shadow).validate_python(attack.spec["settings"])
        for replicate, folders in enumerate(attack.inputs.values()):
            outputs = load_outputs([Path(folder) for folder in folders])
            target = outputs.of(outputs.model == TARGET)
            found = {}
            for number in numbers:
                chosen = (outputs.model > TARGET) & (outputs.model <= number)
                scorer = Scorer(
                    settings, outputs.of(chosen), seed=attack.spec["seed"],
                    name=(replicate,),
                )  # fmt: skip
                area = auc(scorer.score(target), target.member)
                found[number] = area["value"]
            yield {
                "members": attack.spec["grid"]["members"],
                "replicate": replicate,
                "tested": len(target.member),
                "auc": found,
            }


def summary(
    rows: Sequence[dict[str, Any]], numbers: Sequence[int]
) -> list[dict[str, Any]]:
    """Return, a size, the mean and spread of the AUC and of its change.

    The change is taken replicate by replicate, from the largest number of shadows:
    the targets are the same, so their luck cancels.
    """
    import numpy as np

    sizes = []
    for members in sorted({row["members"] for row in rows}):
        own = [row for row in rows if row["members"] == members]
        table = np.array([[row["auc"][number] for number in numbers] for row in own])
        change = table - table[:, -1:]
        sizes.append(
            {
                "members": members,
                "tested": own[0]["tested"],
                "replicates": len(own),
                "auc_mean": [round(x, 5) for x in table.mean(0).tolist()],
                "auc_std": [round(x, 5) for x in table.std(0, ddof=1).tolist()],
                "change_mean": [round(x, 5) for x in change.mean(0).tolist()],
                "change_std": [round(x, 5) for x in change.std(0, ddof=1).tolist()],
            }
        )
    return sizes


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results", metavar="FOLDER",
        help="where shadows-digits.json is written (default: benchmarks/results)",
    )  # fmt: skip
    parser.add_argument("--replicates", type=int, default=12, help="default: 12")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works: few, badly trained"
    )
    args = parser.parse_args(argv)
    if args.replicates < 2:
        raise UserError(f"--replicates: {args.replicates}; allowed: 2 or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and tell.

    Returns
    -------
    int
        0; 2 after bad input.
    """
    try:
        args = arguments(argv)
        numbers = (1, 2) if args.quick else SHADOWS
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            path = study_file(
                folder, shadows=numbers[-1], epochs=3 if args.quick else 0,
                replicates=2 if args.quick else args.replicates,
            )  # fmt: skip
            resolved = load_study(path, folder / "results")
            for artefact in resolved.artefacts:
                if artefact.kind in ("dataset", "train", "query"):
                    make(artefact, folder)
            rows = list(areas(resolved, numbers))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    data = resolved.of("attack")[0].spec["settings"]
    results = {
        "study": STUDY.stem,
        "attack": data["kind"],
        "classes": 10,
        "quick": args.quick,
        "shadows": list(numbers),
        "sizes": summary(rows, numbers),
        "versions": records.versions(),
    }
    path = args.out / "shadows-digits.json"
    records.write_json(path, results)
    for size in results["sizes"]:
        print(f"{size['members']} members, {size['replicates']} replicates")
        for column, number in enumerate(numbers):
            print(
                f"  {number:3d} shadows: AUC {size['auc_mean'][column]:.4f} "
                f"±{size['auc_std'][column]:.4f}, change "
                f"{size['change_mean'][column]:+.4f} ±{size['change_std'][column]:.4f}"
            )
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
