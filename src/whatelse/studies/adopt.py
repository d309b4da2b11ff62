"""``whatelse adopt``: accept results that were pulled from elsewhere.

After ``dvc pull``, ``dvc checkout`` or a copy, times say nothing, and Snakemake does
not know by which settings files were made: it would make too much again, or too little.
This walks the studies upstream first. An artefact is accepted if its record's
settings, code and inputs are those at hand, its files have the digests that the record
vouches for, and all that it was made from is accepted: Snakemake then takes it for made
here and now. The record of any other is set aside, so that it is made again, with what
depends on it. (``snakemake --touch`` alone would bless anything.)
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.errors import UserError
from whatelse.studies.resolve import Artefact, code_paths, load_study
from whatelse.studies.run import add_workflow_argument, refuse_no_checkout
from whatelse.studies.unlock import refuse_locked

_NOT_HERE = "not here"
# Ends like what killed jobs leave: no part of an artefact, and gone after the next run.
_ASIDE = f".{records.RECORD}.refused.tmp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY.yaml")
    parser.add_argument(
        "--replicates", type=int, help="as the results were made with `run`"
    )
    add_workflow_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Adopt what matches; print what does not and why."""
    refuse_no_checkout(args.workflow)
    refuse_locked()
    artefacts = {
        artefact.folder: artefact
        for path in args.studies
        for artefact in load_study(path, replicates=args.replicates).artefacts
    }
    back = [Path(folder) for folder in artefacts if _put_back(Path(folder))]
    try:
        reasons = judge(artefacts.values())
    except BaseException:  # not judged: as refused as before
        for folder in back:
            _set_aside(folder)
        raise
    missing = sum(reason == _NOT_HERE for reason in reasons.values())
    for name, reason in reasons.items():
        if reason != _NOT_HERE:
            print(f"{name}: {reason}")
            _set_aside(Path(name))
    adopted = [folder for folder in artefacts if folder not in reasons]
    code = _vouch(args, adopted) if adopted else 0
    if not code:
        print(
            f"{len(adopted)} artefacts adopted, {len(reasons) - missing} to be made "
            f"again, {missing} not here"
        )
    return code


def judge(artefacts: Iterable[Artefact]) -> dict[str, str]:
    """Return why artefacts cannot be taken for what studies ask for.

    Parameters
    ----------
    artefacts : iterable of Artefact
        Upstream first, and all that each one is made from.

    Returns
    -------
    dict of str to str
        The reason for each folder that is refused.
    """
    reasons: dict[str, str] = {}
    for artefact in artefacts:
        here = Path(artefact.folder, records.RECORD).exists()
        refused = [folder for folder in artefact.upstream if folder in reasons]
        if here and refused:
            reasons[artefact.folder] = f"made from {refused[0]}, which is to be made"
        elif reason := why_not(artefact):
            reasons[artefact.folder] = reason
    return reasons


def why_not(artefact: Artefact) -> str:
    """Return why an artefact cannot be taken for what the study asks for, or ""."""
    folder = Path(artefact.folder)
    if not (folder / records.RECORD).exists():
        return _NOT_HERE
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
    if not same_spec(artefact, spec):
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
        if not (folder / name).is_file():
            return f"{name} is missing"
        if records.file_digest(folder / name) != digest:
            return f"{name} is not what its record says"
    return ""


def same_spec(artefact: Artefact, recorded: dict[str, Any]) -> bool:
    """Return whether a record's settings are those that the study asks for."""
    expected = dict(artefact.spec)
    if artefact.kind == "train":
        first, last = artefact.labels["models"].split(":")
        expected["models"] = [int(first), int(last)]
    return records.canonical_json(expected) == records.canonical_json(recorded)


def _set_aside(folder: Path) -> None:
    """Hide a record: whatever Snakemake knows of the folder, it makes it again."""
    record = folder / records.RECORD
    try:
        if record.exists():
            record.replace(folder / _ASIDE)
    except OSError as error:
        raise records.unwritable(record, error) from error


def _put_back(folder: Path) -> bool:
    """Undo it: the code or settings that were wrong before may be right by now."""
    record, aside = folder / records.RECORD, folder / _ASIDE
    if record.exists() or not aside.exists():
        return False
    aside.replace(record)
    return True


def _vouch(args: argparse.Namespace, folders: list[str]) -> int:
    """Let Snakemake take artefacts for made now, with the settings at hand.

    Touching the files alone would do until a setting changes: without a note of the
    old one Snakemake does not see that.
    """
    studies = json.dumps([str(path) for path in args.studies])
    limit = [] if args.replicates is None else [f"replicates={args.replicates}"]
    done = subprocess.run(
        [
            sys.executable, "-m", "snakemake",
            "--snakefile", str(args.workflow / "Snakefile"),
            "--profile", "none", "--workflow-profile", "none",
            "--config", f"studies={studies}", *limit,
            "--cores", "1", "--rerun-incomplete", "--quiet", "all",
            "--touch", "--force",
            *(str(Path(folder, records.RECORD)) for folder in folders),
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        print(done.stdout + done.stderr, end="", file=sys.stderr)
    return done.returncode
