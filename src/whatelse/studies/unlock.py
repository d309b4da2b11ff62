"""``whatelse unlock``: remove the lock that a killed run left behind.

Snakemake locks its working directory while it runs and cannot do so itself after
SIGKILL. The lock is removed only if no process of a run is left in the directory.
"""

import argparse
import os
from pathlib import Path

from whatelse.errors import UserError

_LOCKS = Path(".snakemake/locks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--directory", type=Path, default=Path(), help="where the run was started"
    )


def run(args: argparse.Namespace) -> None:
    """Remove the lock, or say whose it is."""
    locks = sorted((args.directory / _LOCKS).glob("*.lock"))
    if not locks:
        print("no lock here")
        return
    alive = owners(args.directory)
    if alive:
        raise UserError(
            f"{args.directory / _LOCKS}: locked by a run that is alive (process "
            f"{', '.join(map(str, alive))}); allowed: to unlock when it has ended"
        )
    for lock in locks:
        lock.unlink()
    print(f"removed {len(locks)} locks of a run that is gone")


def owners(directory: Path) -> list[int]:
    """Return the processes of Snakemake or its jobs that run in a directory.

    Only this machine's: a run that was started from another host of a cluster is not
    seen, so unlock on the host that ran it.
    """
    here = directory.resolve()
    mine = {os.getpid(), os.getppid()}
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) in mine:
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            place = (entry / "cwd").resolve(strict=True)
        except OSError:  # it ended meanwhile, or is another user's
            continue
        names = {Path(os.fsdecode(word)).name for word in words}
        if place == here and names & {"snakemake", "whatelse"}:
            found.append(int(entry.name))
    return sorted(found)
