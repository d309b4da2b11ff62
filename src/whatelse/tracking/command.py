"""``whatelse track``: mirror the results of a study into MLflow.

Reads the records, telemetry, curves, metrics, figures and claims below the results
folder; jobs themselves never talk to MLflow. Calling it again logs what is new and
nothing else.
"""

import argparse
from pathlib import Path

from whatelse import records
from whatelse.studies.resolve import load_study
from whatelse.tracking.store import connect, find_place, locked, unchanged
from whatelse.tracking.tree import read_tree


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY.yaml", help="the study")
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


def run(args: argparse.Namespace) -> None:
    """Mirror the study and print one line."""
    resolved = load_study(args.study, args.results, replicates=args.replicates)
    place = find_place(args.uri, args.results)
    tree = read_tree(resolved, args.results)
    where = f"MLflow: {tree.study}: {len(tree.children)} runs below the study's"
    if unchanged(place, tree, args.out):
        print(f"{where}, nothing new")
        return
    with locked(place):
        client = connect(place)

        from whatelse.tracking.mirror import Mirror

        mirror = Mirror(client, place, tree)
        index = mirror.update()
    if args.out is not None:
        records.write_json(args.out, index)
    print(
        f"{where}, {mirror.num_new} new, {mirror.num_completed} completed, "
        f"{mirror.num_removed} superseded ({place.uri})"
    )
