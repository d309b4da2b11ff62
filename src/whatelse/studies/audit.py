"""``whatelse audit``: write a study of a model that you trained elsewhere."""

import argparse
import os
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from whatelse import records
from whatelse.errors import UserError
from whatelse.models.external import read_external
from whatelse.models.outputs import TARGET
from whatelse.studies.grammar import Name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("outputs", type=Path, help=".npz or .parquet file")
    parser.add_argument("--out", type=Path, required=True, help="study file to write")
    parser.add_argument(
        "--title", default="", help="name in figures; default: the file's"
    )
    parser.add_argument("--seed", type=int, default=1)


def _is_name(text: str) -> bool:
    try:
        TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return False
    return True


def run(args: argparse.Namespace) -> None:
    """Check the outputs and write the study."""
    if args.out.suffix != ".yaml" or not _is_name(args.out.stem):
        raise UserError(
            f"--out: {args.out}; allowed: a name of lower-case letters, digits and "
            "hyphens that ends in .yaml"
        )
    title = args.title or args.outputs.stem
    outputs = read_external(args.outputs, title)
    attacks: dict[str, dict[str, str]] = {
        "threshold": {"kind": "membership.threshold", "models": "mine"}
    }
    if (outputs.model > TARGET).any():
        attacks["shadow"] = {
            "kind": "membership.shadow", "models": "mine", "sparse_classes": "pool"
        }  # fmt: skip
    study = {
        "study": args.out.stem,
        "question": "membership",
        "title": f"Membership inference on {title}",
        "seed": args.seed,
        "models": {
            "mine": {
                "external": os.path.relpath(args.outputs, args.out.parent or "."),
                "title": title,
            }
        },
        "attacks": attacks,
        "figures": {
            "roc": {"kind": "roc", "attacks": [*attacks], "title": "ROC"},
            "classes": {
                "kind": "class_cdf", "attacks": [*attacks],
                "title": "Precision and recall of the attacks, class by class",
            },
            "table": {
                "kind": "table", "attacks": [*attacks],
                "title": "Accuracy of the model and of the attacks",
            },
        },
    }  # fmt: skip
    with records.atomic(args.out) as file:
        yaml.safe_dump(study, file, sort_keys=False, allow_unicode=True)
    print(f"{args.out}: {len(outputs.model)} rows; next: whatelse run {args.out}")
