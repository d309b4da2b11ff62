"""Getting the raw files of a data set, and knowing their bytes.

A file comes from where it was put by hand, from a mirror, or from the originals, in
that order. Downloads are resumed; a file is in place only after its digest matched.
"""

import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.datasets.registry import FETCHED, Entry, Found, RegistryFile, identify
from whatelse.errors import UserError

MIRROR = "WHATELSE_MIRROR"
"""Environment variable: a folder or URL with files laid out like ``--raw``."""

_ATTEMPTS = 3
_CHUNK = 1 << 16


class ResumingDownloader:
    """A pooch downloader that goes on where an interrupted download stopped.

    Parameters
    ----------
    partial : Path
        Keeps what has arrived; stays after a failure.
    timeout : float, optional
        Seconds without an answer before giving up.
    """

    def __init__(self, partial: Path, *, timeout: float = 30.0) -> None:
        self._partial = partial
        self._timeout = timeout

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Download `url` to `output_file`, as pooch asks for."""
        import requests

        for attempt in range(_ATTEMPTS):
            try:
                self._download(url)
                break
            except requests.HTTPError:
                raise
            except requests.RequestException:
                if attempt == _ATTEMPTS - 1:
                    raise
        os.replace(self._partial, output_file)

    def _download(self, url: str) -> None:
        import requests
        from tqdm import tqdm

        start = self._partial.stat().st_size if self._partial.exists() else 0
        # Without "identity" a server may send, and requests unpack, other bytes.
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        with requests.get(
            url, headers=headers, stream=True, timeout=self._timeout
        ) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                # What is there is no beginning of this file: start again.
                self._partial.unlink()
                return self._download(url)
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                start = 0
            length = response.headers.get("content-length")
            with (
                open(self._partial, "ab" if start else "wb") as file,
                tqdm(
                    desc=url.rpartition("/")[2],
                    total=start + int(length) if length else None,
                    initial=start,
                    unit="B",
                    unit_scale=True,
                    disable=None,
                ) as progress,
            ):
                for chunk in response.iter_content(_CHUNK):
                    file.write(chunk)
                    progress.update(len(chunk))
        return None


def fetch(
    name: str,
    entry: Entry,
    *,
    raw: str | Path,
    mirror: str | None = None,
    trust: bool = False,
) -> list[Found]:
    """Bring the files of a data set to `raw` and list them in ``fetched.json``.

    Parameters
    ----------
    name : str
        Of the data set.
    entry : Entry
        Its part of the registry.
    raw : str or Path
        Files land at ``raw/<path>``, the list at ``raw/<name>/fetched.json``.
    mirror : str, optional
        A folder or URL that is tried before the originals.
    trust : bool, optional
        Accept files whose digest nobody knows, and say so in the remarks.

    Returns
    -------
    list of Found
        One a file, in the registry's order.

    Raises
    ------
    UserError
        If a file cannot be had, with how to get it, or has a wrong digest.
    """
    raw = Path(raw)
    found = [
        _fetch_file(name, file, raw=raw, mirror=mirror, trust=trust)
        for file in entry.files
    ]
    records.write_json(
        raw / name / FETCHED,
        {
            "name": name,
            "files": [
                {
                    "path": file.path.relative_to(raw).as_posix(),
                    "sha256": file.sha256,
                    "remark": file.remark,
                }
                for file in found
            ],
            "trusted": {
                known.name: at_hand.sha256
                for known, at_hand in zip(entry.files, found, strict=True)
                if not known.editions
            },
        },
    )
    return found


def _fetch_file(
    name: str, file: RegistryFile, *, raw: Path, mirror: str | None, trust: bool
) -> Found:
    for path in file.paths:
        if (raw / path).is_file():
            return identify(raw / path, file, trust=trust)
    failures = []
    # What a mirror keeps elsewhere lands where downloads go.
    mirrored = {path: path for path in file.paths}
    mirrored |= dict.fromkeys(file.mirrored, file.paths[0])
    if mirror and "://" not in mirror:
        for path, place in mirrored.items():
            if (Path(mirror) / path).is_file():
                return _copy(Path(mirror) / path, raw / place, file, trust=trust)
        failures.append(f"not in {MIRROR}={mirror}")
    urls = [(url, file.paths[0]) for url in file.urls]
    if mirror and "://" in mirror:
        root = mirror.rstrip("/")
        urls = [(f"{root}/{path}", place) for path, place in mirrored.items()] + urls
    for url, path in urls:
        try:
            return _download(url, raw / path, file, trust=trust)
        except _Unreachable as error:
            failures.append(f"{url}: {error}")
    originals = " or ".join(file.urls) or "its owners"
    raise UserError(
        f"{name}: {file.paths[0]} is missing ({'; '.join(failures) or 'no source'}): "
        f"get it from {originals} and put it at {raw / file.paths[0]}, or let "
        f"{MIRROR} name a folder or URL that has it"
    )


class _Unreachable(Exception):
    """A source that did not give the file."""


def _copy(source: Path, target: Path, file: RegistryFile, *, trust: bool) -> Found:
    at_hand = identify(source, file, trust=trust)
    records.write_with(target, lambda temporary: shutil.copyfile(source, temporary))
    return Found(target, at_hand.sha256, at_hand.remark)


def _download(url: str, target: Path, file: RegistryFile, *, trust: bool) -> Found:
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    # Another source may have another edition: never put two together.
    tag = hashlib.sha256(url.encode()).hexdigest()[:8]
    partial = target.with_name(f".{target.name}.{tag}.part")
    arrived = target.with_name(f".{target.name}.{tag}.whole")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pooch.retrieve(
            url,
            known_hash=None,
            fname=arrived.name,
            path=target.parent,
            downloader=ResumingDownloader(partial),
        )
        at_hand = identify(arrived, file, trust=trust)
        os.replace(arrived, target)
    except requests.RequestException as error:
        raise _Unreachable(_reason(error)) from error
    except UserError as error:
        raise UserError(str(error).replace(str(arrived), url)) from None
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise records.unwritable(target, error) from error
    finally:
        with contextlib.suppress(OSError):
            arrived.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            target.parent.rmdir()  # if it is empty
    return Found(target, at_hand.sha256, at_hand.remark)


def _reason(error: Exception) -> str:
    """Return the status line, or the innermost cause, of a failed request."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return " ".join(str(error).split()) or type(error).__name__
