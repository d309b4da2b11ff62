"""Where runs are kept: the MLflow database, made once and by one process at a time."""

import contextlib
import fcntl
import logging
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from whatelse import records
from whatelse.errors import UserError

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from whatelse.tracking.tree import Tree

KEY, RECORD, COMPLETE = "whatelse.key", "whatelse.record", "whatelse.complete"
STATE = "whatelse.state"  # on the parent: digest of all that was mirrored
_SQLITE = "sqlite:///"
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SCHEMES = ("sqlite", *_PORTS)
_SECONDS_TO_CONNECT = 5
# A request that failed is not repeated by MLflow: it would repeat the making of a run
# whose answer was lost. Whoever tracks looks again what is there instead.
_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines a run
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds
    "PGCONNECT_TIMEOUT": "10",
}


class Away(UserError):
    """The tracking server does not answer; it may later."""


class Busy(UserError):
    """Another tracker is at work."""


@dataclass(frozen=True)
class Place:
    """A tracking store.

    Attributes
    ----------
    uri : str
        For MLflow; SQLite with an absolute path. A database's may hold a password.
    shown : str
        The same without user and password: for files, messages and tags.
    database : Path or None
        The SQLite file.
    artifacts : Path or None
        Where attached files go; None if a server decides.
    lock : Path
        Locked while anything is written.
    login : tuple of str or None
        User and password for a server, if its address named them.
    """

    uri: str = field(repr=False)
    shown: str
    database: Path | None
    artifacts: Path | None
    lock: Path
    login: tuple[str, str] | None = field(default=None, repr=False)


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
        Attached files go to ``mlartifacts`` beside the SQLite file; a server takes
        them itself.

    Raises
    ------
    UserError
        If MLflow has no store of that kind.
    """
    home = Path(results).absolute().parent
    uri = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{home}/mlflow.db"
    try:
        parts = urlsplit(uri)
        shown = _without_login(uri)
    except ValueError as error:
        raise UserError(f"--uri: no address: {error}") from None
    scheme = parts.scheme.partition("+")[0]
    if scheme not in _SCHEMES:
        raise UserError(
            f"--uri: {shown!r}: no tracking store; allowed: sqlite:///FILE, "
            "http://HOST:PORT, or another database that MLflow knows"
        )
    if scheme == "sqlite":
        database = Path(uri.partition(_SQLITE)[2]).absolute()
        lock = database.with_name(f"{database.name}.lock")
        uri = f"{_SQLITE}{database}"
        return Place(uri, uri, database, database.parent / "mlartifacts", lock)
    lock = home / "mlflow.db.lock"
    if not scheme.startswith("http"):
        return Place(uri, shown, None, home / "mlartifacts", lock)
    login = None
    if parts.username is not None and parts.password is not None:
        login = (unquote(parts.username), unquote(parts.password))
    # without them, no message of MLflow's can hold them either
    return Place(shown, shown, None, None, lock, login)


def _without_login(uri: str) -> str:
    """Return an address without user, password and parameters."""
    parts = urlsplit(uri)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if parts.scheme else uri


def is_away(path: str | Path) -> bool:
    """Return whether a file of ``--out`` says that the server was away."""
    try:
        return "away" in records.read_json(path)
    except (UserError, TypeError):
        return False


@contextlib.contextmanager
def locked(place: Place, *, seconds: float | None = None) -> Iterator[None]:
    """Hold the store, waiting for another tracker to let go of it.

    A fresh SQLite file breaks when two processes make it, and two trackers at once
    would log a run twice.

    Parameters
    ----------
    place : Place
        What to lock, for the trackers of this results folder.
    seconds : float, optional
        How long to wait; for ever if left out.

    Raises
    ------
    Busy
        If it took longer.
    UserError
        If the file of the lock cannot be written.
    """
    try:
        place.lock.parent.mkdir(parents=True, exist_ok=True)
        file = open(place.lock, "a")  # noqa: SIM115
    except OSError as error:
        raise records.unwritable(place.lock, error) from error
    with file:
        try:
            if seconds is None:
                fcntl.flock(file, fcntl.LOCK_EX)
            else:
                _lock_within(file.fileno(), seconds, place)
        except OSError as error:  # a file system without locks
            raise UserError(
                f"{place.lock}: cannot be locked: {error.strerror}; allowed: a place "
                "on a local disk (MLFLOW_TRACKING_URI=sqlite:////PATH/mlflow.db)"
            ) from error
        yield


def _lock_within(file: int, seconds: float, place: Place) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Busy(f"{place.lock}: another tracker is at work") from None
            time.sleep(0.1)


def connect(place: Place) -> "MlflowClient":
    """Open the store, making it if it is a SQLite file that does not exist.

    The file is made under a temporary name: whoever is killed meanwhile leaves none.

    Raises
    ------
    Away
        If a server does not answer.
    UserError
        If the store refuses us, or belongs to another version of MLflow.
    """
    _ring(place)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if place.login:
        os.environ["MLFLOW_TRACKING_USERNAME"] = place.login[0]
        os.environ["MLFLOW_TRACKING_PASSWORD"] = place.login[1]
    logging.getLogger("alembic").setLevel(logging.WARNING)

    from mlflow.tracking import MlflowClient

    with told(place):
        if place.database and not place.database.exists():
            _make(place.database)
        client = MlflowClient(tracking_uri=place.uri)
        client.search_experiments(max_results=1)
    return client


def _make(database: Path) -> None:
    from mlflow.tracking import MlflowClient

    # one name, as the lock is held: what a killed tracker left is cleared here
    new = database.with_name(f".{database.name}.tmp")
    try:
        for left in (new, new.with_name(f"{new.name}-journal")):
            left.unlink(missing_ok=True)
        fresh = MlflowClient(tracking_uri=f"{_SQLITE}{new}")
        # "Default" would only stand in the way of the studies.
        fresh.delete_experiment("0")
        os.replace(new, database)
    except OSError as error:
        raise records.unwritable(database, error) from error


def _ring(place: Place) -> None:
    """Knock at a server's port: MLflow is slow to load, and slower to give up.

    Raises
    ------
    Away
        If nobody opens within seconds.
    """
    parts = urlsplit(place.uri)
    scheme, host = parts.scheme.partition("+")[0], parts.hostname
    if not host or (scheme in getproxies() and not proxy_bypass(host)):
        return
    try:
        port = parts.port or _PORTS[scheme]
        with socket.create_connection((host, port), _SECONDS_TO_CONNECT):
            pass
    except ValueError as error:
        raise UserError(f"--uri: {place.shown!r}: {error}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise Away(f"{place.shown}: no usable tracking store: {reason}") from None


@contextlib.contextmanager
def told(place: Place) -> Iterator[None]:
    """Turn what a store can answer into one line.

    Raises
    ------
    Away
        If a server did not answer, or cannot at the moment.
    UserError
        If it refused.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        line = f"{place.shown}: no usable tracking store: {_hushed(reason, place)}"
        kind = Away if place.database is None and _may_pass(error) else UserError
        raise kind(line) from None


def _may_pass(error: Exception) -> bool:
    """Return whether an error is of a server that is away, not of our request."""
    from mlflow.exceptions import MlflowException
    from requests import HTTPError
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    if isinstance(error, MlflowException):
        # "... failed with exception" and 500, 502, 503, 504 are internal errors
        return error.get_http_status_code() >= 500 or error.error_code in (
            "TEMPORARILY_UNAVAILABLE",
            "REQUEST_LIMIT_EXCEEDED",
        )
    if isinstance(error, HTTPError):
        return error.response is None or error.response.status_code >= 500
    return isinstance(error, OperationalError) or not isinstance(error, SQLAlchemyError)


def _hushed(reason: str, place: Place) -> str:
    """Return a message's cause, without the password of a database's address."""
    if cause := re.search(r"\(Caused by (.+)\)$", reason):
        reason = cause[1]
    parts = urlsplit(place.uri)
    for secret in filter(None, (parts.password, unquote(parts.password or ""))):
        reason = reason.replace(secret, "***")
    return reason


def location_of(place: Place, study: str) -> str | None:
    """Return the address of the folder of a study's attached files, if it is ours."""
    return (place.artifacts / study).as_uri() if place.artifacts else None


def same_location(found: str, expected: str | None) -> bool:
    """Return whether two addresses name one folder; ``None`` is content with any."""
    paths = [unquote(urlsplit(uri).path) for uri in (found, expected or found)]
    return paths[0] == paths[1]


def unchanged(place: Place, tree: "Tree", out: Path | None) -> bool:
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
