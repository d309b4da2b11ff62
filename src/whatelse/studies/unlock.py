"""``whatelse unlock``: remove the lock and the cluster jobs that a killed run left.

Snakemake locks its working directory while it runs and cannot remove the lock itself
after SIGKILL; nor can it then end the jobs that it gave to SLURM, which would write
beside those of the next run. Both are done only if no process of a run is left here.
"""

import argparse
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from whatelse import records
from whatelse.errors import UserError

_LOCKS = Path(".snakemake/locks")
LOCKED = (
    f"{_LOCKS}: another run works here, or one was killed; `whatelse unlock` removes "
    "the lock of a run that is gone"
)
JOB_NAME = "whatelse_"  # profiles/slurm: slurm-jobname-prefix
_SLURM = Path(".snakemake/slurm_logs")  # there once a run has used SLURM
_SECONDS_TO_END = 120
_SILENT = (
    "cannot say which jobs a dead run left; allowed: to unlock when squeue answers"
)


def refuse_locked() -> None:
    """Refuse to work beside another run of this folder.

    Raises
    ------
    UserError
        If Snakemake's lock is there.
    """
    if any(_LOCKS.glob("*.lock")):
        raise UserError(LOCKED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="where the run was started"
    )
    parser.add_argument(
        "--any-host", action="store_true",
        help="although the run was started on another host, where it may live",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Remove the lock, or say whose it is."""
    locks = sorted((args.directory / _LOCKS).glob("*.lock"))
    if not locks:
        print("no lock here")
        return
    told = args.directory / "results" / "running.json"
    host = records.read_json(told).get("host") if told.exists() else None
    if host not in (None, platform.node()) and not args.any_host:
        raise UserError(
            f"{args.directory / _LOCKS}: the last run was started on {host}; allowed: "
            "to unlock there, or --any-host once it is surely gone"
        )
    alive = owners(args.directory)
    if alive:
        raise UserError(
            f"{args.directory / _LOCKS}: locked by a run that is alive (process "
            f"{', '.join(map(str, alive))}); allowed: to unlock when it has ended"
        )
    jobs = jobs_left(args.directory)
    if jobs:
        _cancel(jobs, args.directory)
        print(f"cancelled {len(jobs)} jobs that it left in SLURM")
    for lock in locks:
        lock.unlink()
    print(f"removed {len(locks)} locks of a run that is gone")


def jobs_left(directory: Path) -> list[str]:
    """Return the ids of this user's SLURM jobs that a run in a directory submitted.

    They are known by their working directory and by the name that our profile gives
    them; none where there is no SLURM.
    """
    if not (directory / _SLURM).is_dir() or shutil.which("squeue") is None:
        return []
    command = ["squeue", f"--user={os.getuid()}", "--noheader", "--format=%i %j %Z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        raise UserError(f"SLURM: {_SILENT}") from None
    if done.returncode:
        raise UserError(f"SLURM: {done.stderr.strip()}: {_SILENT}")
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    return [
        job for job, name, place in rows
        if name.startswith(JOB_NAME) and Path(place) == directory.resolve()
    ]  # fmt: skip


def _cancel(jobs: list[str], directory: Path) -> None:
    """End jobs, and wait until none of them can write any more."""
    subprocess.run(["scancel", *jobs], check=False, timeout=60)
    end = time.monotonic() + _SECONDS_TO_END
    while jobs_left(directory):
        if time.monotonic() > end:
            raise UserError(
                f"SLURM: jobs {', '.join(jobs)} of a run that is gone do not end; "
                "allowed: to unlock when they have (see squeue)"
            )
        time.sleep(1)


def owners(directory: Path) -> list[int]:
    """Return the processes of Snakemake or its jobs that run in a directory.

    Only this machine's: a run that was started from another host of a cluster is not
    seen, so unlock on the host that ran it. Jobs of a scheduler are not meant.
    """
    here = directory.resolve()
    mine = {os.getpid(), os.getppid()}
    job = os.environ.get("SLURM_JOB_ID", "")
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            place = (entry / "cwd").resolve(strict=True)
            variables = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or is another user's
            continue
        names = {Path(os.fsdecode(word)).name for word in words}
        if b"track" in words:  # a watcher reads; it is no run
            continue
        jobs = {
            w.partition(b"=")[2] for w in variables if w.startswith(b"SLURM_JOB_ID=")
        }
        scheduled = bool(jobs - {job.encode()})
        if place == here and names & {"snakemake", "whatelse"} and not scheduled:
            found.append(int(entry.name))
    return sorted(found)
