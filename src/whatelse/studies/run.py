"""``whatelse run``: run studies from raw data to report.

Checks the study files, calls Snakemake with a profile, makes the report, and prints a
short table of results. Everything but the checks and the table is Snakemake's work;
``snakemake --cores 2`` in a checkout does the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from whatelse.cli import ERRORS
from whatelse.errors import UserError
from whatelse.sources import PACKAGE
from whatelse.studies.resolve import Resolved, load_study

RESULTS = Path("results")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--cores", type=int, help="default: the profile's")
    parser.add_argument(
        "--replicates", type=int, help="at most so many replicates of every entry"
    )
    parser.add_argument("--profile", default="default", help="a folder of profiles/")
    parser.add_argument(
        "--workflow", type=Path, default=PACKAGE.parents[1],
        help="the checkout with the Snakefile; default: the installed package's",
    )  # fmt: skip
    parser.add_argument("-n", "--dry-run", action="store_true", help="show, do nothing")


def run(args: argparse.Namespace) -> int:
    """Run the studies; 0 if all is done, 2 after bad input, else Snakemake's code."""
    if args.replicates is not None and args.replicates < 1:
        raise UserError(f"--replicates: {args.replicates}; allowed: 1 or more")
    studies = [
        load_study(path, RESULTS, replicates=args.replicates) for path in args.studies
    ]
    if not (args.workflow / "Snakefile").is_file():
        raise UserError(
            f"--workflow: {args.workflow} holds no Snakefile; allowed: a checkout of "
            "whatelse"
        )
    _refuse_missing_files(studies)
    before = _state(studies)
    code, lines = _snakemake(args)
    if code:
        for line in lines[:-1]:
            print(f"error: {line}", file=sys.stderr)
        if lines:
            raise UserError(lines[-1])
        return code
    if args.dry_run:
        return 0
    report = RESULTS / "report.html"
    if before == _state(studies) and report.exists():
        print("Nothing to do: everything is up to date.")
    else:
        _report(args, report)
    from whatelse.studies.show import print_results

    for resolved in studies:
        print_results(resolved)
    print(f"\nReport: {report}\nRuns in MLflow: make ui, then http://127.0.0.1:5000")
    return 0


def _refuse_missing_files(studies: list[Resolved]) -> None:
    for resolved in studies:
        for artefact in resolved.artefacts:
            for name in artefact.files:
                if not name.startswith("resources/") and not Path(name).exists():
                    raise UserError(f"{resolved.path}: {name}: no such file or folder")


def _state(studies: list[Resolved]) -> list[tuple[str, int]]:
    """Return when the last artefacts of the studies were written."""
    paths = [RESULTS / "tracking" / f"{r.study.study}.json" for r in studies]
    return [(str(path), path.stat().st_mtime_ns) for path in paths if path.exists()]


def _command(args: argparse.Namespace, *more: str) -> list[str]:
    config = [f"studies={json.dumps([str(path) for path in args.studies])}"]
    if args.replicates is not None:
        config.append(f"replicates={args.replicates}")
    return [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(args.workflow / "Snakefile"),
        "--workflow-profile", str(args.workflow / "profiles" / args.profile),
        "--config", *config,
        *more,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    """Return the environment of the jobs: they find `whatelse` beside this Python."""
    beside = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', '')}"}


def _snakemake(args: argparse.Namespace) -> tuple[int, list[str]]:
    """Run the workflow; return its exit code and the one-line errors of its jobs."""
    more = ["--quiet", "rules", "host"]
    if args.cores:
        more += ["--cores", str(args.cores)]
    if args.dry_run:
        more += ["--dry-run"]
    with tempfile.TemporaryDirectory() as place:
        errors = Path(place, "errors")
        done = subprocess.run(
            _command(args, *more), env={**_environment(), ERRORS: str(errors)}
        )
        lines = (
            errors.read_text(encoding="utf-8").splitlines() if errors.exists() else []
        )
    return done.returncode, sorted(set(lines))


def _report(args: argparse.Namespace, report: Path) -> None:
    done = subprocess.run(
        _command(args, "--quiet", "all", "--report", str(report)),
        env=_environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"warning: no report: {done.stderr.strip()}", file=sys.stderr)
