"""``whatelse adopt``: accept results that were pulled from elsewhere.

After ``dvc pull`` or a copy, files are younger or older than what they were made from
at random, and Snakemake would make everything again. This walks the studies upstream
first and touches an artefact only if its record's settings, code and inputs are those
at hand and its files have the digests that the record vouches for. Whatever does not
match is left for Snakemake to make again (``snakemake --touch`` would bless it).
"""

import argparse
import os
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.errors import UserError
from whatelse.studies.resolve import Artefact, code_paths, load_study


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument(
        "--replicates", type=int, help="as the results were made with `run`"
    )


def run(args: argparse.Namespace) -> None:
    """Adopt what matches; print what does not and why."""
    adopted = refused = 0
    for path in args.studies:
        resolved = load_study(path, args.results, replicates=args.replicates)
        reasons = {a.folder: why_not(a) for a in resolved.artefacts}
        for folder, reason in reasons.items():
            if reason:
                refused += 1
                print(f"{folder}: {reason}")
            else:
                adopted += 1
                _touch(Path(folder))
        tracking = args.results / "tracking" / f"{resolved.study.study}.json"
        if tracking.exists() and not any(reasons.values()):
            os.utime(tracking)
    print(f"{adopted} artefacts adopted, {refused} to be made again")


def why_not(artefact: Artefact) -> str:
    """Return why an artefact cannot be taken for what the study asks for, or ""."""
    folder = Path(artefact.folder)
    if not (folder / records.RECORD).exists():
        return "not here"
    try:
        record = records.read_json(folder / records.RECORD)
        code, spec = record["code"], record["spec"]
        recorded, outputs = set(record["inputs"].values()), record["outputs"]
    except UserError as error:
        return str(error)
    except (KeyError, TypeError, AttributeError):
        return "its record is none"
    if code != records.files_digest(code_paths(artefact.modules)):
        return "made by other code"
    if not _same_spec(artefact, spec):
        return "made with other settings"
    for folder_above in artefact.upstream:
        above = Path(folder_above, records.RECORD)
        if not above.exists() or records.file_digest(above) not in recorded:
            return f"made from another {folder_above}"
    for name in artefact.files:
        # Raw files of registered data sets are vouched for by the registry's digests.
        file = Path(name)
        own = file.is_file() and not name.startswith("resources/")
        if own and records.file_digest(file) not in recorded:
            return f"made from another {name}"
    for name, digest in outputs.items():
        if not (folder / name).exists() or records.file_digest(folder / name) != digest:
            return f"{name} is not what its record says"
    return ""


def _same_spec(artefact: Artefact, recorded: dict[str, Any]) -> bool:
    expected = dict(artefact.spec)
    if artefact.kind == "train":
        first, last = artefact.labels["models"].split(":")
        expected["models"] = [int(first), int(last)]
    return records.canonical_json(expected) == records.canonical_json(recorded)


def _touch(folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        os.utime(path)
    os.utime(folder / records.RECORD)
