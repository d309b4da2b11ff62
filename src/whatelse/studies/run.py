"""``whatelse run``: run studies from raw data to report.

Checks the study files, calls Snakemake with a profile, makes the report, and prints a
short table of results. Everything but the checks and the table is Snakemake's work;
``snakemake --cores 2`` in a checkout does the same.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from whatelse.cli import ERRORS
from whatelse.errors import UserError
from whatelse.records import read_json, write_json
from whatelse.sources import PACKAGE
from whatelse.studies.check import warn
from whatelse.studies.resolve import Artefact, Resolved, load_study
from whatelse.studies.unlock import LOCKED, refuse_locked
from whatelse.tracking.store import is_away

RESULTS = Path("results")
PROFILE = "WHATELSE_PROFILE"
_REPORTED = "report.json"
_LOG_LINES = 30
# What Snakemake says: a step that ended, how many did, and a job that failed. Every
# rule of ours ends in ">LOG 2>&1".
_FINISHED = re.compile(r"Finished jobid: \d+ \(Rule: (\w+)\)")
_STEPS = re.compile(r"(\d+) of (\d+) steps")
_FAILED = re.compile(r">(\S+) 2>&1' returned non-zero exit status (\d+)")
# On a cluster, the same is said where the job ran: in the log of the scheduler's job.
_FAILED_ELSEWHERE = re.compile(r"^ *log: (\S+) \(check log", re.MULTILINE)
_KILLED = re.compile(
    r"^slurmstepd: error: .*(?:LIMIT|OOM|[Mm]emory|CANCELLED).*$", re.M
)
_SECTIONS = {
    **dict.fromkeys(("dataset", "preprocess"), "datasets"),
    **dict.fromkeys(("train", "collaborate", "query", "synthesise"), "models"),
    **dict.fromkeys(("import", "attack"), "attacks"),
    "figure": "figures",
}
_SLURM_LOGS = Path(".snakemake/slurm_logs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--cores", type=int, help="default: the profile's")
    parser.add_argument(
        "--replicates", type=int, help="at most so many replicates of every entry"
    )
    add_profile_argument(parser)
    add_workflow_argument(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="show, do nothing")


def add_profile_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--profile``."""
    parser.add_argument(
        "--profile", default=os.environ.get(PROFILE, "default"),
        help="a folder of profiles/, or the path of one of your own; default: "
        f"{PROFILE} of the environment, else `default`",
    )  # fmt: skip


def add_workflow_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--workflow``."""
    parser.add_argument(
        "--workflow", type=Path, default=PACKAGE.parents[1],
        help="the checkout with Snakefile and profiles; default: the installed "
        "package's",
    )  # fmt: skip


def refuse_no_checkout(workflow: Path) -> None:
    """Refuse a ``--workflow`` without a Snakefile.

    Raises
    ------
    UserError
        If there is none.
    """
    if not (workflow / "Snakefile").is_file():
        raise UserError(
            f"--workflow: {workflow} holds no Snakefile; allowed: a checkout of "
            "whatelse"
        )


def run(args: argparse.Namespace) -> int:
    """Run the studies; 0 if all is done, 2 after bad input, else Snakemake's code."""
    for name in ("cores", "replicates"):
        number = getattr(args, name)
        if number is not None and number < 1:
            raise UserError(f"--{name}: {number}; allowed: 1 or more")
    studies = [
        load_study(path, RESULTS, replicates=args.replicates) for path in args.studies
    ]
    refuse_no_checkout(args.workflow)
    profile_folder(args.workflow, args.profile)
    _refuse_missing_files(studies)
    for resolved in studies:
        warn(resolved)
    if args.dry_run:
        return subprocess.run(
            _command(args, "--quiet", "host", "--dry-run"), env=_environment()
        ).returncode
    _refuse_unwritable(studies)
    refuse_locked()
    from whatelse.tracking.watch import announced

    tracked = [RESULTS / "tracking" / f"{r.study.study}.json" for r in studies]
    for path in tracked:
        if is_away(path):  # the server was: mirror again
            path.unlink()
    with announced(RESULTS, args.studies, args.replicates):
        code = _snakemake(args, studies)
    if code:
        return code
    report, state = RESULTS / "report.html", _state(tracked)
    if report.exists() and _reported() == state:
        print("Nothing to do: everything is up to date.")
    else:
        _report(args, report, state)
    from whatelse.studies.show import print_results

    for resolved in studies:
        print_results(resolved)
    print()
    if report.exists():
        print(f"Report: {report}")
    for path in tracked:
        if is_away(path):
            print(f"warning: not in MLflow yet: {read_json(path)['away']}")
            return 0
    for path in tracked:
        index = read_json(path)
        server = index.get("tracking_uri", "")
        local = not server.startswith("http")
        how = "make ui, then " if local else ""
        base = "http://127.0.0.1:5000" if local else server.rstrip("/")
        print(f"Runs in MLflow: {how}{base}/{index['experiment']['page']}")
    return 0


def profile_folder(workflow: Path, name: str) -> Path:
    """Return the folder of a profile: one of the checkout's, or a path.

    Raises
    ------
    UserError
        If there is no such profile.
    """
    ours = workflow / "profiles"
    for folder in (ours / name, Path(name)):
        if (folder / "profile.yaml").is_file():
            return folder
    known = sorted(path.parent.name for path in ours.glob("*/profile.yaml"))
    raise UserError(
        f"--profile: {name!r} holds no profile.yaml; allowed: {', '.join(known)}, or "
        "the path of a folder that does"
    )


def _refuse_missing_files(studies: list[Resolved]) -> None:
    for resolved in studies:
        for artefact in resolved.artefacts:
            for name in artefact.files:
                if not name.startswith("resources/") and not Path(name).exists():
                    raise UserError(f"{resolved.path}: {name}: no such file or folder")


def _refuse_unwritable(studies: list[Resolved]) -> None:
    """Snakemake makes the folders of a job, and ends with a traceback if it cannot."""
    folders = {Path(artefact.folder) for r in studies for artefact in r.artefacts}
    folders |= {RESULTS / "tracking", Path("logs"), Path(".snakemake")}
    if any(name.startswith("resources/") for r in studies for a in r.artefacts
           for name in a.files):  # fmt: skip
        folders.add(Path("resources"))
    for folder in sorted(folders):
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            raise UserError(f"{there}: cannot write here; allowed: a writable folder")


def _state(paths: list[Path]) -> dict[str, int]:
    """Return when studies were tracked: after the last of their artefacts."""
    return {str(path): path.stat().st_mtime_ns for path in paths}


def _reported() -> Any:
    """Return the state that the report was made from: it may be of other studies."""
    path = RESULTS / _REPORTED
    return read_json(path) if path.exists() else None


def _command(args: argparse.Namespace, *more: str) -> list[str]:
    config = [f"studies={json.dumps([str(path) for path in args.studies])}"]
    if args.replicates is not None:
        config.append(f"replicates={args.replicates}")
    cores = [] if args.cores is None else ["--cores", str(args.cores)]
    return [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(args.workflow / "Snakefile"),
        "--workflow-profile", str(profile_folder(args.workflow, args.profile)),
        *cores, "--config", *config,
        *more,
    ]  # fmt: skip


def _environment() -> dict[str, str]:
    """Return the environment of the jobs: they find `whatelse` beside this Python."""
    beside = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{beside}{os.pathsep}{os.environ.get('PATH', '')}"}


def _snakemake(args: argparse.Namespace, studies: list[Resolved]) -> int:
    """Run the workflow, a line a step; return its exit code.

    Of Snakemake's own lines only the progress is shown, and all of them if it failed
    otherwise than by a job: a job's failure is told by its one line of bad input, or
    by the end of its log.

    Raises
    ------
    UserError
        If jobs failed, and all of them by bad input; the others' lines are printed.
    """
    # On a cluster, jobs run elsewhere: only the working directory is shared.
    shared = Path(".snakemake").absolute()
    shared.mkdir(exist_ok=True)
    start = time.time()
    with tempfile.TemporaryDirectory(dir=shared, prefix="errors-") as place:
        errors = Path(place, "errors")
        process = subprocess.Popen(
            _command(args, "--quiet", "rules", "host", *_seldom(studies)),
            env={**_environment(), ERRORS: str(errors)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        try:
            said = "".join(_progress(process.stderr))
        except KeyboardInterrupt:
            process.communicate()  # Snakemake was interrupted as well: it ends its jobs
            return 130
        code = process.wait()
        lines = _bad_input(errors, studies) if errors.exists() else []
    if not code:
        return 0
    failed = _FAILED.findall(said) + _failed_elsewhere(start)
    if "LockException" in said:
        raise UserError(LOCKED)
    bugs = sorted({log for log, status in failed if status != "2"})
    if not failed:
        print(said, end="", file=sys.stderr)
    for log in bugs:
        print(f"\n{log}:\n{_end(Path(log))}", file=sys.stderr)
    if lines and not bugs:
        for line in lines[:-1]:
            print(f"error: {line}", file=sys.stderr)
        raise UserError(lines[-1])
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return code


def _seldom(studies: list[Resolved]) -> list[str]:
    """Return an option by which Snakemake looks for free slots less often.

    Whenever a job ends, its scheduler begins to look again once in every timespan, and
    does not cease: with a second for it, a thousand jobs keep it busy with nothing
    else. Nor does it end before the timespan is over, hence a short one for few jobs.
    """
    seconds = min(60, 1 + sum(len(resolved.artefacts) for resolved in studies) // 40)
    return ["--max-jobs-per-timespan", f"{100 * seconds}/{seconds}s"]


def _bad_input(errors: Path, studies: list[Resolved]) -> list[str]:
    """Return what jobs say is wrong, each after the first entry of a study that has it.

    A grid, or several replicates, say the same more than once.
    """
    places = {
        artefact.folder: f"{resolved.path}: {_entry_of(artefact)}"
        for resolved in reversed(studies)
        for artefact in reversed(resolved.artefacts)
    }
    found: dict[str, str] = {}
    for row in errors.read_text(encoding="utf-8").splitlines():
        folder, line = json.loads(row)
        found.setdefault(line, places.get(folder, ""))
    return sorted(place + line for line, place in found.items())


def _entry_of(artefact: Artefact) -> str:
    section = _SECTIONS.get(artefact.kind)
    if section is None:  # claims are named by what they say
        return ""
    labels = artefact.labels
    return f"{section}.{labels.get('instance', labels['name'])}: "


def _failed_elsewhere(start: float) -> list[tuple[str, str]]:
    """Return log and exit status of steps that failed in jobs of a scheduler.

    Logs of jobs that did well are gone. A step that the scheduler killed has no error
    of its own: the job's log says which limit it ran into.
    """
    found = []
    for path in sorted(_SLURM_LOGS.rglob("*.log")):
        if path.stat().st_mtime < start:
            continue
        said = path.read_text(encoding="utf-8", errors="replace")
        for log in _FAILED_ELSEWHERE.findall(said):
            found.append((log, "2" if "\nerror: " in f"\n{_end(Path(log))}" else "1"))
        for line in _KILLED.findall(said):
            print(f"{path}: {line}", file=sys.stderr)
    return found


def _progress(stream: IO[str]) -> Iterator[str]:
    """Show each step that ends; pass every line on."""
    rule = ""
    for line in stream:
        if found := _FINISHED.match(line):
            rule = found[1]
        elif found := _STEPS.match(line):
            print(f"  {found[1]} of {found[2]}: {rule}", file=sys.stderr, flush=True)
        yield line


def _end(log: Path) -> str:
    """Return the last lines of a log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        return str(error)
    return "\n".join(lines[-_LOG_LINES:])


def _report(args: argparse.Namespace, report: Path, state: dict[str, int]) -> None:
    done = subprocess.run(
        _command(args, "--quiet", "all", "--report", str(report)),
        env=_environment(),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        print(f"warning: no report: {done.stderr.strip()}", file=sys.stderr)
        report.unlink(missing_ok=True)  # an older one would be taken for this run's
    else:
        write_json(RESULTS / _REPORTED, state)
