"""The registry of data sets: where files come from and which bytes they are."""

import gzip
import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from whatelse.arguments import validation_line
from whatelse.errors import UserError

FETCHED = "fetched.json"
_BLOCK = 1 << 20

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Md5 = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
# Relative, and without a part that climbs out of the folder.
RelativePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][^/\\]*(/[A-Za-z0-9][^/\\]*)+$")
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Edition(_Part):
    """Bytes of a file that are accepted."""

    sha256: Sha256 | None = None
    md5: Md5 | None = None
    bytes: int | None = Field(ge=0, strict=True)
    remark: str | None

    @model_validator(mode="after")
    def _has_digest(self) -> Self:
        if self.sha256 is None and self.md5 is None:
            raise ValueError("an edition needs a sha256 or an md5")
        return self


class RegistryFile(_Part):
    """One file of a data set."""

    paths: tuple[RelativePath, ...] = Field(min_length=1)
    urls: tuple[str, ...]
    editions: tuple[Edition, ...]
    content: Literal["as is", "uncompressed"] = "as is"
    # Not dumped: like a URL it says nothing of the bytes, for which a dump stands.
    mirrored: tuple[RelativePath, ...] = Field((), exclude=True)

    @property
    def name(self) -> str:
        """The file's name as published: what loaders ask for."""
        return Path(self.paths[0]).name


class Entry(_Part):
    """One data set."""

    title: str
    licence: str
    citation: str
    page: str
    records: int = Field(ge=1, strict=True)
    classes: str
    stand_in_for: str | None = None
    files: tuple[RegistryFile, ...]


Registry = dict[str, Entry]


@dataclass(frozen=True)
class Found:
    """A file at hand whose bytes are known, or trusted.

    Attributes
    ----------
    path : Path
        Where it lies.
    sha256 : str
        Digest of its content (gunzipped where the registry says so).
    remark : str or None
        How it differs from the published bytes.
    """

    path: Path
    sha256: str
    remark: str | None


def read_registry(path: str | Path) -> Registry:
    """Read the registry.

    Parameters
    ----------
    path : str or Path
        Usually ``data/datasets.yaml``.

    Returns
    -------
    dict of str to Entry
        By name, in the file's order.

    Raises
    ------
    UserError
        If the file is missing or does not follow the form.
    """
    path = Path(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path}: the registry cannot be read: {error.strerror}"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        registry = TypeAdapter(Registry).validate_python(raw)
    except ValidationError as error:
        raise UserError(validation_line(str(path), error, Registry)) from None
    for name, entry in registry.items():
        for file in entry.files:
            for place in file.paths:
                if not place.startswith(f"{name}/"):
                    raise UserError(
                        f"{path}: {name}: paths: {place!r}; allowed: '{name}/...'"
                    )
    return registry


def entry_of(registry: Mapping[str, Entry], name: str) -> Entry:
    """Return a data set's entry.

    Raises
    ------
    UserError
        If the registry has no such name.
    """
    if name not in registry:
        raise UserError(f"{name}: no such data set; allowed: {', '.join(registry)}")
    return registry[name]


def default_registry() -> Path:
    """Return the registry of the checkout that this package is installed from."""
    return Path(__file__).parents[3] / "data" / "datasets.yaml"


def identify(path: Path, file: RegistryFile, *, trust: bool = False) -> Found:
    """Tell which known edition a file is.

    Parameters
    ----------
    path : Path
        The file.
    file : RegistryFile
        What it should be.
    trust : bool, optional
        Accept a file whose digest nobody knows; it never excuses a wrong one.

    Returns
    -------
    Found
        With the edition's remark.

    Raises
    ------
    UserError
        If the bytes are no known edition, or no edition is known and `trust` is
        false.
    """
    sha256, md5, size = _digests(path, uncompressed=file.content == "uncompressed")
    for edition in file.editions:
        if edition.bytes in (None, size) and sha256 == (edition.sha256 or sha256):
            if md5 != (edition.md5 or md5):
                continue
            return Found(path, sha256, edition.remark)
    if file.editions:
        known = " or ".join(
            f"{edition.sha256 or 'md5 ' + str(edition.md5)}"
            + ("" if edition.bytes is None else f" ({edition.bytes} bytes)")
            for edition in file.editions
        )
        raise UserError(
            f"{path}: wrong digest: sha256 {sha256}, md5 {md5} ({size} bytes); "
            f"allowed: {known}"
        )
    if not trust:
        raise UserError(
            f"{path}: its digest is not known to us (sha256 {sha256}); "
            "if you trust the file, give `whatelse datasets fetch` --trust"
        )
    return Found(path, sha256, f"digest not known to us: {sha256}")


def _digests(path: Path, *, uncompressed: bool) -> tuple[str, str, int]:
    sha256 = hashlib.sha256()
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    try:
        with open(path, "rb") as start:
            zipped = uncompressed and start.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else open(path, "rb") as file:
            while block := file.read(_BLOCK):
                sha256.update(block)
                md5.update(block)
                size += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    return sha256.hexdigest(), md5.hexdigest(), size
