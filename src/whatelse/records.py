"""Artefact folders: atomic writing, digests, and ``record.json``.

Every artefact is a folder. Its files are written under temporary names and
renamed; ``record.json`` comes last, so a folder that has one is whole. The record
holds the resolved settings, the digests of inputs, code and outputs, and the
versions: nothing that differs between two identical runs. What does differ (time,
host, device) goes to ``telemetry.json``, which no digest covers.
"""

import contextlib
import functools
import hashlib
import json
import os
import platform
import resource
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from whatelse.errors import UserError

RECORD = "record.json"
_VERSIONED = (
    "whatelse", "numpy", "scipy", "scikit-learn", "torch", "pillow", "scikit-image",
    "reedsolo", "cryptography",
)  # fmt: skip


def canonical_json(value: Any) -> str:
    """Return `value` as compact JSON with sorted keys: the text that is digested."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(value: Any) -> str:
    """Return the 16 hex digits that name a resolved spec on disk."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def file_digest(path: str | Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_digest(paths: Iterable[str | Path]) -> str:
    """Return one sha256 over the names and bytes of some files, in their order."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{Path(path).name}:{file_digest(path)}\n".encode())
    return whole.hexdigest()


@contextlib.contextmanager
def atomic(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path` and rename it onto `path` at the end.

    Parameters
    ----------
    path : str or Path
        The final name; missing parent folders are made.
    mode : {"w", "wb"}, optional
        Text (UTF-8, newlines as written) or bytes.

    Yields
    ------
    file object
        Open for writing.

    Raises
    ------
    UserError
        If the place cannot be written: no permission, or the disk is full.
    """
    path = Path(path)
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    with (
        _renamed(path, f".{path.name}.{os.getpid()}.tmp") as temporary,
        open(temporary, mode, **text) as file,  # type: ignore[call-overload]
    ):
        yield file
        file.flush()
        os.fsync(file.fileno())


@contextlib.contextmanager
def _renamed(path: Path, name: str) -> Iterator[Path]:
    """Give out a temporary path of this name; rename it to `path` if all went well."""
    temporary = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def unwritable(path: str | Path, error: OSError) -> UserError:
    """Return the one-line error for a place that could not be written."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return UserError(f"{path}: cannot write here: {reason}")


def write_with(path: str | Path, writer: Callable[[Path], object]) -> None:
    """Let a library write a file under a temporary name, then rename it.

    Parameters
    ----------
    path : str or Path
        The final name. The temporary one keeps its ending, for libraries that
        choose the format by it.
    writer : callable
        Called with the temporary path.

    Raises
    ------
    UserError
        If the place cannot be written: no permission, or the disk is full.
    """
    path = Path(path)
    with _renamed(path, f".{os.getpid()}.tmp.{path.name}") as temporary:
        writer(temporary)
        temporary.chmod(0o666 & ~_umask())


def _umask() -> int:
    """Return the process's umask: some writers make files for their owner only."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys and a final newline, atomically."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
    with atomic(path) as file:
        file.write(text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    UserError
        If it is missing or no JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions that results can depend on."""
    found = {"python": platform.python_version()}
    for name in _VERSIONED:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def write_record(
    folder: str | Path,
    *,
    kind: str,
    spec: Mapping[str, Any],
    inputs: Mapping[str, str | Path],
    code: Iterable[str | Path],
    outputs: Iterable[str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write ``record.json``, the last file of an artefact folder.

    Parameters
    ----------
    folder : str or Path
        The artefact.
    kind : str
        The verb that made it, e.g. ``"train"``.
    spec : mapping
        The resolved settings, seed included.
    inputs : mapping of str to path
        Upstream artefact folders (their record is digested, so the chain of
        digests reaches back to the raw data) or plain files, by role.
    code : iterable of path
        The sources that made it: the import closure of the kind.
    outputs : iterable of str
        File names in `folder` that the record vouches for.
    extra : mapping, optional
        More deterministic facts, e.g. remarks to be repeated in reports.
    """
    folder = Path(folder)
    write_json(
        folder / RECORD,
        {
            "kind": kind,
            "spec": dict(spec),
            "inputs": {role: artefact_digest(path) for role, path in inputs.items()},
            "code": files_digest(code),
            "outputs": {name: file_digest(folder / name) for name in sorted(outputs)},
            "versions": versions(),
            **(extra or {}),
        },
    )


def artefact_digest(path: str | Path) -> str:
    """Return the digest of an artefact: its record's if it is a folder."""
    path = Path(path)
    return file_digest(path / RECORD if path.is_dir() else path)


class Telemetry:
    """Time, memory and place of a job: ``telemetry.json``, outside every digest."""

    def __init__(self) -> None:
        self._start = time.time()
        self._clock = time.perf_counter()

    def write(self, folder: str | Path, **more: Any) -> None:
        """Write what was used since construction, with `more` facts, to `folder`."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        write_json(
            Path(folder) / "telemetry.json",
            {
                "started": self._start,
                "seconds": time.perf_counter() - self._clock,
                "cpu_seconds": used.ru_utime + used.ru_stime,
                "peak_memory_mb": used.ru_maxrss / 1024,
                "host": platform.node(),
                "threads": os.environ.get("OMP_NUM_THREADS", ""),
                "commit": _commit(),
                **more,
            },
        )


@functools.cache
def _commit() -> str:
    """Return the commit of the working tree, ``+`` appended if it is edited."""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
