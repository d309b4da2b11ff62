"""``whatelse datasets``: list, fetch, verify, prepare and show data sets."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from whatelse.arguments import json_argument
from whatelse.errors import UserError
from whatelse.terminal import print_table

if TYPE_CHECKING:
    from whatelse.datasets.store import Dataset


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs and their arguments."""
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    listing = verbs.add_parser("list", help="show which data sets there are")
    listing.set_defaults(act=_list)

    fetching = verbs.add_parser("fetch", help="get the files of data sets")
    fetching.add_argument("names", nargs="+", metavar="NAME")
    fetching.add_argument(
        "--trust",
        action="store_true",
        help="accept files whose digest is not known to us",
    )
    fetching.set_defaults(act=_fetch)

    verifying = verbs.add_parser("verify", help="check the digests of fetched files")
    verifying.add_argument("names", nargs="+", metavar="NAME")
    verifying.set_defaults(act=_verify)

    preparing = verbs.add_parser("prepare", help="make a data set from raw files")
    preparing.add_argument(
        "--spec", required=True, help='settings as JSON, e.g. {"source": "digits"}'
    )
    preparing.add_argument("--out", type=Path, required=True, help="folder to write")
    preparing.set_defaults(act=_prepare)

    showing = verbs.add_parser(
        "show", help="show what attributes of records have to do with a task"
    )
    showing.add_argument(
        "data", metavar="NAME|FOLDER",
        help="a data set, which is fetched and prepared for it, or the folder of a "
        "prepared one",
    )  # fmt: skip
    showing.add_argument(
        "--task", default="label", metavar="ATTRIBUTE",
        help="what models are to predict; the classes (label) if left out",
    )  # fmt: skip
    showing.set_defaults(act=_show)

    for verb in (listing, fetching, verifying, preparing, showing):
        verb.add_argument(
            "--raw", type=Path, default=Path("resources"),
            help="folder of fetched files; default: resources",
        )  # fmt: skip
        verb.add_argument(
            "--registry", type=Path, help="default: data/datasets.yaml of the checkout"
        )


def run(args: argparse.Namespace) -> int | None:
    """Run the verb."""
    if args.registry is None:
        from whatelse.datasets.registry import default_registry

        args.registry = default_registry()
    args.act(args)
    return None


def _list(args: argparse.Namespace) -> None:
    from whatelse.datasets.fetch import MIRROR
    from whatelse.datasets.registry import FETCHED, Entry, read_registry

    mirror = os.environ.get(MIRROR)

    def state(name: str, entry: Entry) -> str:
        fetched = (args.raw / name / FETCHED).is_file()
        if not entry.files or fetched:
            return "here"
        if mirror and all(
            any(Path(mirror, path).is_file() for path in (*file.paths, *file.mirrored))
            for file in entry.files
        ):
            return "in the mirror"
        if not all(file.urls for file in entry.files):
            return "to be had by hand"
        known = all(file.editions for file in entry.files)
        return "to fetch" if known else "to fetch with --trust"

    rows = [("name", "records", "classes", "state", "stands in for", "licence")]
    for name, entry in read_registry(args.registry).items():
        rows.append(
            (
                name,
                f"{entry.records:,}",
                entry.classes,
                state(name, entry),
                entry.stand_in_for or "",
                entry.licence,
            )
        )
    print_table(rows, indent="")


def _fetch(args: argparse.Namespace) -> None:
    from whatelse.datasets.fetch import MIRROR, fetch
    from whatelse.datasets.registry import entry_of, read_registry

    registry = read_registry(args.registry)
    entries = {name: entry_of(registry, name) for name in args.names}
    mirror = os.environ.get(MIRROR)
    for name, entry in entries.items():
        for file in fetch(name, entry, raw=args.raw, mirror=mirror, trust=args.trust):
            print(f"{file.path}: {file.remark or 'the published bytes'}")
        if not entry.files:
            print(f"{name}: bundled, nothing to fetch")


def _verify(args: argparse.Namespace) -> None:
    from whatelse.datasets.prepare import find
    from whatelse.datasets.registry import entry_of, read_registry

    registry = read_registry(args.registry)
    entries = {name: entry_of(registry, name) for name in args.names}
    wrong = []
    for name, entry in entries.items():
        try:
            for file in find(name, entry, raw=args.raw).values():
                print(f"{file.path}: {file.remark or 'the published bytes'}")
            if not entry.files:
                print(f"{name}: bundled, nothing to verify")
        except UserError as error:
            wrong.append(str(error))
    if wrong:
        for line in wrong[:-1]:
            print(f"error: {line}", file=sys.stderr)
        raise UserError(wrong[-1])


def _prepare(args: argparse.Namespace) -> None:
    from whatelse import records
    from whatelse.datasets.prepare import prepare
    from whatelse.datasets.settings import DatasetSettings

    telemetry = records.Telemetry()
    settings = json_argument(DatasetSettings)(args.spec)
    prepare(settings, raw=args.raw, out=args.out, registry=args.registry)
    telemetry.write(args.out)


def _show(args: argparse.Namespace) -> None:
    import json
    import tempfile

    from whatelse.datasets.fetch import MIRROR, fetch
    from whatelse.datasets.prepare import prepare
    from whatelse.datasets.registry import FETCHED, entry_of, read_registry
    from whatelse.datasets.settings import DatasetSettings
    from whatelse.datasets.store import open_dataset

    if Path(args.data).is_dir():
        _print_associations(open_dataset(Path(args.data)), args.task)
        return
    spec = json.dumps({"source": args.data})
    try:
        settings = json_argument(DatasetSettings)(spec)
    except UserError as error:
        raise UserError(f"{args.data}: no folder, and {error}") from None
    entry = entry_of(read_registry(args.registry), args.data)
    if entry.files and not (args.raw / args.data / FETCHED).exists():
        fetch(args.data, entry, raw=args.raw, mirror=os.environ.get(MIRROR))
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "data")
        prepare(settings, raw=args.raw, out=out, registry=args.registry)
        _print_associations(open_dataset(out), args.task)


def _print_associations(dataset: "Dataset", task: str) -> None:
    from whatelse.datasets.association import associated

    def words(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    found = associated(dataset, task)
    if not found:
        raise UserError(
            f"{dataset.info['name']}: its records have no attributes beside {task}; "
            "allowed: a data set that has, e.g. lfw or utkface"
        )
    print(f"{dataset.info['name']}, {len(dataset.labels):,} records; task: {task}")
    rows = [("attribute", "value", "share", "Cramer's V", "Pearson's r")]
    rows += [
        (
            row.attribute,
            row.value,
            words(row.share, ".3f"),
            words(row.cramers_v, ".3f"),
            words(row.pearson, "+.3f"),
        )
        for row in found
    ]
    print_table(rows)
