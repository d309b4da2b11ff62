"""What lies in the results folder, read again only where it changed.

A watcher looks at thousands of artefacts every few seconds: a file is opened only if
its time, size or inode differ from what was seen last, and a curve that grows is read
on from where it was left.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from whatelse import records

HISTORY = "history.jsonl"
_STAMP = "identity.json"
_SAME = ("spec", "data", "code", "versions")  # of two trainings of the same models
_T = TypeVar("_T")
Losses = Mapping[int, Mapping[int, float]]
"""Loss of each model at each epoch."""


@dataclass(frozen=True)
class Facts:
    """What the tracker asks of every recorded folder.

    Attributes
    ----------
    digest : str
        Of the record.
    telemetry : dict
        Seconds, host, device, commit; start and end in milliseconds since 1970.
    identity : str
        Of models: the digest of what they are trained from. Empty for the rest.
    """

    digest: str
    telemetry: dict[str, Any]
    identity: str


@dataclass(frozen=True)
class Work:
    """A block of models that is being trained, or was when its job was killed.

    Attributes
    ----------
    identity : str
        The digest of what the models are trained from.
    start, end : int
        When the first sign of it was written and the last, in milliseconds since 1970.
    finished : set of int
        Models that are finished.
    losses : mapping
        Loss of each model at each epoch, as far as they are written.
    """

    identity: str
    start: int
    end: int
    finished: frozenset[int]
    losses: Losses


class Disk:
    """Remembers what was read."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[Hashable, Any]] = {}
        self._growing: dict[str, _Growing] = {}

    def keep(self, name: Hashable, token: Hashable, make: Callable[[], _T]) -> _T:
        """Return what was made under this name, made anew if the token is another."""
        known = self._kept.get(name)
        if known is None or known[0] != token:
            known = (token, make())
            self._kept[name] = known
        made: _T = known[1]
        return made

    def recorded(self, folder: str) -> Facts | None:
        """Return the facts of an artefact, or None if it has no record."""
        record = f"{folder}/{records.RECORD}"
        token = _token(record)
        if token is None:
            return None
        # The record is written last, so what lies beside it is as old or older.
        return self.keep(("facts", record), token, lambda: _facts(Path(folder)))

    def json(self, path: Path) -> Any:
        """Return the content of a JSON file."""
        return self.keep(
            ("json", str(path)), _token(path), lambda: records.read_json(path)
        )

    def work(self, folder: Path) -> Work | None:
        """Return what is done of a block, or None if nothing was begun."""
        stamp = str(folder / _STAMP)
        token = _token(stamp)
        if token is None:
            return None
        identity = self.keep(
            ("identity", stamp), token, lambda: _identity(records.read_json(stamp))
        )
        history = folder / HISTORY
        last = _token(history) or token
        names = [path.name for path in folder.glob("model_*.safetensors")]
        return Work(
            identity,
            token[0] // 1_000_000,
            max(token[0], last[0]) // 1_000_000,
            frozenset(int(name[len("model_") : name.index(".")]) for name in names),
            self.losses(history, identity),
        )

    def losses(self, path: Path, identity: str) -> Losses:
        """Return the losses in a history that may still grow.

        Parameters
        ----------
        path : Path
            The history; no losses if it is missing.
        identity : str
            A history of another identity is another one, whatever its size and inode.
        """
        token = _token(path)
        if token is None:
            return {}
        growing = self._growing.get(str(path))
        if growing is None or not growing.continues(token, identity):
            growing = self._growing[str(path)] = _Growing(token, identity)
        growing.read_on(path, token)
        return growing.losses


def read_losses(path: Path) -> Losses:
    """Return the losses in a finished history; none if it is missing."""
    return Disk().losses(path, "")


_Token = tuple[int, int, int]


class _Growing:
    """A history and how far it was read.

    A block that was killed and resumed has some points twice, equal ones, and may have
    a broken line where it was cut off.
    """

    def __init__(self, token: _Token, identity: str) -> None:
        self.losses: dict[int, dict[int, float]] = defaultdict(dict)
        self._inode, self._identity = token[2], identity
        self._position = 0
        self._seen: _Token | None = None

    def continues(self, token: _Token, identity: str) -> bool:
        """Return whether this is the file that was read, perhaps longer now."""
        same = (token[2], identity) == (self._inode, self._identity)
        return same and token[1] >= self._position

    def read_on(self, path: Path, token: _Token) -> None:
        """Read the whole lines that are new."""
        if token == self._seen:
            return
        with open(path, "rb") as file:
            file.seek(self._position)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                point = json.loads(line)
                self.losses[point["epoch"]][point["model"]] = float(point["loss"])
            except (ValueError, TypeError, KeyError):
                continue
        self._position += len(whole)
        self._seen = token


def _token(path: str | Path) -> _Token | None:
    """Return what changes when a file does; None if there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _facts(folder: Path) -> Facts:
    record = records.read_json(folder / records.RECORD)
    identity = ""
    if record["kind"] in ("train", "collaborate"):
        spec = {name: value for name, value in record["spec"].items()
                if name != "models"}  # fmt: skip
        data = record["inputs"].get("data")
        identity = _identity({**record, "spec": spec, "data": data})
    return Facts(records.artefact_digest(folder), _telemetry(folder), identity)


def _identity(stamp: Mapping[str, Any]) -> str:
    """Return the digest of what models are trained from.

    A block in work states it beside its progress, a finished one in its record.
    """
    return records.key_of([stamp.get(name) for name in _SAME])


def _telemetry(folder: Path) -> dict[str, Any]:
    """Return a job's telemetry with start and end in milliseconds.

    Telemetry is no part of a result and may be gone: the record's time is used then.
    """
    file = folder / "telemetry.json"
    if not file.is_file():
        written = int((folder / records.RECORD).stat().st_mtime * 1000)
        return {"seconds": 0.0, "start": written, "end": written}
    found: dict[str, Any] = records.read_json(file)
    start = int(found["started"] * 1000)
    return {**found, "start": start, "end": start + int(found["seconds"] * 1000)}
