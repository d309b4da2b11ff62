"""Reading published archives without unpacking them to disk."""

import gzip
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, TypeVar

from whatelse.errors import UserError

T = TypeVar("T")


def read_members(
    path: Path, wanted: Collection[str], read: Callable[[str, IO[bytes]], T]
) -> dict[str, T]:
    """Read some members of a tar archive (gz, xz or plain) in one pass.

    Parameters
    ----------
    path : Path
        The archive.
    wanted : collection of str
        Names of members, a leading ``./`` aside.
    read : callable
        Called with name and open file of each wanted member.

    Returns
    -------
    dict of str to object
        What `read` returned, by name.

    Raises
    ------
    UserError
        If the archive is truncated or damaged, lacks a member, or holds any member
        that would land outside its folder, device, or link that leads out of it.
    """
    found: dict[str, T] = {}
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                # Nothing is unpacked; an archive that tries to escape is not trusted.
                tarfile.data_filter(member, "/archive")
                if member.name.startswith("/"):
                    raise tarfile.AbsolutePathError(member)
                name = member.name.removeprefix("./")
                if name in wanted and name not in found:
                    file = archive.extractfile(member)
                    if file is None:
                        raise UserError(f"{path}: {name}: not a plain file")
                    found[name] = read(name, file)
    except tarfile.FilterError as error:
        raise UserError(f"{path}: refused: {error}") from None
    except (
        tarfile.TarError,
        EOFError,
        lzma.LZMAError,
        zlib.error,
        gzip.BadGzipFile,
    ) as error:
        raise UserError(f"{path}: truncated or damaged archive: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    if missing := sorted(set(wanted) - set(found)):
        raise UserError(f"{path}: no member {missing[0]!r} in this archive")
    return found
