"""Reading published archives without unpacking them to disk."""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, TypeVar

from whatelse.errors import UserError

T = TypeVar("T")

_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\x00": lzma.open,
    b"BZh": bz2.open,
}
BROKEN = (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile)
"""What a compressed file that is cut short or damaged raises, beside OSError."""

_END = 1024  # zeros at the end of every archive
_BLOCK = 1 << 20


def read_members(
    path: Path,
    wanted: Collection[str] | Callable[[str], bool],
    read: Callable[[str, IO[bytes]], T],
) -> dict[str, T]:
    """Read some members of a tar archive (gz, xz, bz2 or plain) in one pass.

    Parameters
    ----------
    path : Path
        The archive.
    wanted : collection of str, or callable
        Names of members, a leading ``./`` aside; or what says of a plain file's name
        whether it is wanted.
    read : callable
        Called with name and open file of each wanted member.

    Returns
    -------
    dict of str to object
        What `read` returned, by name, in the archive's order.

    Raises
    ------
    UserError
        If the archive is truncated or damaged, lacks a member of a collection, or
        holds any member that would land outside its folder, device, or link that leads
        out of it.
    """
    found: dict[str, T] = {}

    def asked(member: tarfile.TarInfo, name: str) -> bool:
        if callable(wanted):
            return member.isfile() and wanted(name)
        return name in wanted

    try:
        with opened(path) as content:
            stream: Any = _Tail(content)
            with tarfile.open(fileobj=stream, mode="r|") as archive:
                for member in archive:
                    # Nothing is unpacked; an archive that tries to escape is not
                    # trusted.
                    tarfile.data_filter(member, "/archive")
                    if member.name.startswith("/"):
                        raise tarfile.AbsolutePathError(member)
                    name = member.name.removeprefix("./")
                    if name not in found and asked(member, name):
                        file = archive.extractfile(member)
                        if file is None:
                            raise UserError(f"{path}: {name}: not a plain file")
                        found[name] = read(name, file)
            # tarfile takes an end before a header, or in one, for the end of all.
            if callable(wanted) and not stream.is_whole():
                raise tarfile.ReadError("it ends before its end mark")
    except tarfile.FilterError as error:
        raise UserError(f"{path}: refused: {error}") from None
    except (tarfile.TarError, *BROKEN) as error:
        raise UserError(f"{path}: truncated or damaged archive: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if not callable(wanted) and (missing := sorted(set(wanted) - set(found))):
        raise UserError(f"{path}: no member {missing[0]!r} in this archive")
    return found


class _Tail:
    """A file that remembers the end of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tail = b""

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self._tail = (self._tail + block)[-_END:]
        return block

    def is_whole(self) -> bool:
        """Read what is left; tell whether it ends as an archive ends."""
        while self.read(_BLOCK):
            pass
        return self._tail == bytes(_END)


def opened(path: Path) -> Any:
    """Open a file that may be compressed (gz, xz, bz2), to read its content."""
    # tarfile's own streams do not notice that a compressed file is cut short.
    with open(path, "rb") as file:
        start = file.read(max(map(len, _OPENERS)))
    for magic, unpack in _OPENERS.items():
        if start.startswith(magic):
            return unpack(path)
    return open(path, "rb")
