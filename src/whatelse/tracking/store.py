"""Where runs are kept: the MLflow database, made once and by one process at a time."""

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from whatelse import records
from whatelse.errors import UserError
from whatelse.tracking.tree import Tree

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

KEY, RECORD, COMPLETE = "whatelse.key", "whatelse.record", "whatelse.complete"
STATE = "whatelse.state"  # on the parent: digest of all that was mirrored
_SQLITE = "sqlite:///"
_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class Place:
    """A tracking store.

    Attributes
    ----------
    uri : str
        For MLflow; SQLite with an absolute path.
    database : Path or None
        The SQLite file.
    artifacts : Path or None
        Where attached files go; None if a server decides.
    lock : Path
        Locked while anything is written.
    """

    uri: str
    database: Path | None
    artifacts: Path | None
    lock: Path


def find_place(uri: str | None, results: str | Path) -> Place:
    """Return where to track.

    Parameters
    ----------
    uri : str or None
        As given by the user. None: ``MLFLOW_TRACKING_URI`` if that is set, else
        ``mlflow.db`` beside the results folder.
    results : str or Path
        The results folder.

    Returns
    -------
    Place
        Attached files go to ``mlartifacts`` beside the SQLite file.

    Raises
    ------
    UserError
        If MLflow has no store of that kind.
    """
    home = Path(results).absolute().parent
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{home}/mlflow.db"
    scheme = urlsplit(uri).scheme.partition("+")[0]
    if scheme not in _SCHEMES:
        raise UserError(
            f"--uri: {uri!r}: no tracking store; allowed: sqlite:///FILE, "
            "http://HOST:PORT, or another database that MLflow knows"
        )
    if scheme == "sqlite":
        database = Path(uri.partition(_SQLITE)[2]).absolute()
        lock = database.with_name(f"{database.name}.lock")
        return Place(
            f"{_SQLITE}{database}", database, database.parent / "mlartifacts", lock
        )
    artifacts = None if scheme.startswith("http") else home / "mlartifacts"
    return Place(uri, None, artifacts, home / "mlflow.db.lock")


@contextlib.contextmanager
def locked(place: Place) -> Iterator[None]:
    """Hold the store, waiting for another tracker to let go of it.

    A fresh SQLite file breaks when two processes make it, and two trackers at once
    would log a run twice.
    """
    try:
        place.lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(place.lock, "a")  # noqa: SIM115
    except OSError as error:
        raise records.unwritable(place.lock, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def connect(place: Place) -> "MlflowClient":
    """Open the store, making it if it is a SQLite file that does not exist.

    The file is made under a temporary name: whoever is killed meanwhile leaves none.

    Raises
    ------
    UserError
        If it cannot be reached, or belongs to another version of MLflow.
    """
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    logging.getLogger("alembic").setLevel(logging.WARNING)

    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    try:
        if place.database and not place.database.exists():
            new = place.database.with_name(f".{place.database.name}.{os.getpid()}.tmp")
            new.unlink(missing_ok=True)
            fresh = MlflowClient(tracking_uri=f"{_SQLITE}{new}")
            # "Default" would only stand in the way of the studies.
            fresh.delete_experiment("0")
            os.replace(new, place.database)
        client = MlflowClient(tracking_uri=place.uri)
        client.search_experiments(max_results=1)
    except (MlflowException, SQLAlchemyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{place.uri}: no usable tracking store: {reason}") from None
    except OSError as error:
        raise records.unwritable(place.database or place.uri, error) from error
    return client


def location_of(place: Place, study: str) -> str | None:
    """Return the address of the folder of a study's attached files, if it is ours."""
    return (place.artifacts / study).as_uri() if place.artifacts else None


def same_location(found: str, expected: str | None) -> bool:
    """Return whether two addresses name one folder; ``None`` is content with any."""
    paths = [unquote(urlsplit(uri).path) for uri in (found, expected or found)]
    return paths[0] == paths[1]


def unchanged(place: Place, tree: Tree, out: Path | None) -> bool:
    """Return whether a local database holds all of the tree already.

    Asked without MLflow, whose import alone takes seconds. Anything unexpected means
    no: the mirror then looks for itself.
    """
    if place.database is None or not place.database.is_file():
        return False
    if out is not None and _state_of(out) != tree.state:
        return False
    query = """
        SELECT tags.run_uuid, tags.key, tags.value, experiments.artifact_location
        FROM tags
        JOIN runs ON runs.run_uuid = tags.run_uuid
        JOIN experiments ON experiments.experiment_id = runs.experiment_id
        WHERE experiments.name = ? AND experiments.lifecycle_stage = 'active'
        AND runs.lifecycle_stage = 'active' AND tags.key IN (?, ?, ?, ?)
    """
    tags: dict[str, dict[str, str]] = {}
    try:
        connection = sqlite3.connect(f"{place.database.as_uri()}?mode=ro", uri=True)
        with contextlib.closing(connection):
            wanted = (tree.study, KEY, RECORD, COMPLETE, STATE)
            for run, key, value, location in connection.execute(query, wanted):
                if not same_location(location, location_of(place, tree.study)):
                    return False
                tags.setdefault(run, {})[key] = value
    except sqlite3.Error:
        return False
    states = [own[STATE] for own in tags.values() if STATE in own]
    children = sorted(
        (own[KEY], own.get(RECORD, ""))
        for own in tags.values()
        if KEY in own and own[KEY] != tree.study and COMPLETE in own
    )
    return states == [tree.state] and children == sorted(
        (child.key, child.record) for child in tree.children
    )


def _state_of(out: Path) -> Any:
    try:
        return records.read_json(out)["state"]
    except (UserError, KeyError, TypeError):
        return None
