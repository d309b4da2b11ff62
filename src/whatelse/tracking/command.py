"""``whatelse track``: mirror the results of a study into MLflow.

Reads the records, telemetry, curves, metrics, figures and claims below the results
folder; jobs themselves never talk to MLflow. Calling it again logs what is new and
nothing else. With ``--watch`` it goes on doing so while jobs run, curves of models in
training included.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.errors import UserError
from whatelse.studies.resolve import load_study
from whatelse.tracking.reader import read_tree
from whatelse.tracking.store import (
    Away,
    Place,
    connect,
    find_place,
    locked,
    told,
    unchanged,
)
from whatelse.tracking.tree import Tree

_ATTEMPTS, _SECONDS_BETWEEN = 2, 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="STUDY.yaml",
        help="the study; with --watch: the results folder, study files, or both",
    )  # fmt: skip
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of all artefacts"
    )
    parser.add_argument(
        "--uri",
        help="tracking store, e.g. http://HOST:5000; MLFLOW_TRACKING_URI if left out, "
        "else mlflow.db beside the results, with mlartifacts for attached files. That "
        "database names absolute paths: after moving the folder, remove it and track "
        "again",
    )
    parser.add_argument(
        "--replicates", type=int, help="at most so many replicates of every entry"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON to write: ids of all runs"
    )
    parser.add_argument(
        "--patient", action="store_true",
        help="if the server is away, warn, say so in --out, and exit with 0",
    )  # fmt: skip
    parser.add_argument(
        "--watch", action="store_true",
        help="mirror while jobs run, until SIGTERM or Ctrl-C; without study files: the "
        "studies of the last `whatelse run`",
    )  # fmt: skip
    parser.add_argument(
        "--every", type=float, default=10.0, metavar="SECONDS",
        help="time between two looks of --watch",
    )  # fmt: skip
    parser.add_argument(
        "--until-done", action="store_true",
        help="end --watch when everything is recorded and mirrored",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Mirror the study and print one line, or watch."""
    if args.watch:
        _watch(args)
        return
    if len(args.paths) != 1:
        raise UserError(
            f"STUDY.yaml: {len(args.paths)} given; allowed: one (several with --watch)"
        )
    resolved = load_study(args.paths[0], args.results, replicates=args.replicates)
    place = find_place(args.uri, args.results)
    tree = read_tree(resolved, args.results)
    where = f"MLflow: {tree.study}: {len(tree.children)} runs below the study's"
    if unchanged(place, tree, args.out):
        print(f"{where}, nothing new")
        return
    try:
        index, counts = _mirror(place, tree)
    except Away as away:
        if not args.patient:
            raise
        # nothing is lost: the next call finds all of it in the results
        print(f"warning: {away}; track again when it is back", file=sys.stderr)
        index, counts = {"away": str(away), "experiment": None}, None
    if args.out is not None:
        records.write_json(args.out, index)
    if counts:
        print(f"{where}, {counts} ({place.shown})")


def _mirror(place: Place, tree: Tree) -> tuple[dict[str, Any], str]:
    """Bring the store in line; a connection that is lost is tried once more."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with locked(place):
                client = connect(place)

                from whatelse.tracking.mirror import Mirror

                mirror = Mirror(client, place, tree)
                with told(place):
                    index = mirror.update()
        except Away:
            if attempt == _ATTEMPTS:
                raise
            time.sleep(_SECONDS_BETWEEN)
        else:
            break
    return index, (
        f"{mirror.num_new} new, {mirror.num_completed} completed, "
        f"{mirror.num_removed} superseded"
    )


def _watch(args: argparse.Namespace) -> None:
    studies = [path for path in args.paths if path.suffix in (".yaml", ".yml")]
    folders = [path for path in args.paths if path not in studies] or [args.results]
    if len(folders) > 1:
        raise UserError(f"{folders[1]}: a second results folder; allowed: one")
    if not args.every > 0:
        raise UserError(f"--every: {args.every}; allowed: more than 0 seconds")
    if args.out is not None:
        raise UserError(f"--out: {args.out}; allowed: nothing with --watch")
    from whatelse.tracking.watch import Watch, watch

    place = find_place(args.uri, folders[0])
    mirror = Watch(folders[0], place, studies=studies, replicates=args.replicates)
    watch(mirror, every=args.every, until_done=args.until_done)
