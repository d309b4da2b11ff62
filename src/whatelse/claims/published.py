"""Numbers that papers published, each with how well it is attested."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from whatelse.arguments import close_to, validation_line
from whatelse.errors import UserError

Mark = Literal["V", "E", "C", "S", "D", "M"]
FROM_MEMORY: Mark = "M"

Number = Annotated[float, Field(allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], Field(min_length=2, strict=False)]

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
_NUMBERS = {"range": "two ends", "series": "a value for each of 'at'"}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Paper(_Part):
    """Where the numbers were published."""

    title: str
    authors: str
    short: str
    venue: str
    arxiv: str | None = None


class PublishedNumber(_Part):
    """One number, or the numbers of one curve.

    Attributes
    ----------
    form : str
        How to read `value`: as it stands, as a rough or least value, as the two ends
        of a range, or as one value for each of `at`, the values of `variable`.
    where : str
        Table or figure of the paper.
    mark : Mark
        How well attested; the file says what each mark means.
    """

    id: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    dataset: str
    metric: str
    value: Number | Numbers
    form: Literal["number", "about", "more than", "range", "series"] = "number"
    variable: str | None = None
    at: Numbers | None = None
    where: str
    mark: Mark
    note: str = ""

    @model_validator(mode="after")
    def _form_fits(self) -> Self:
        if isinstance(self.value, tuple) != (self.form in _NUMBERS):
            wanted = _NUMBERS.get(self.form, "one number")
            raise ValueError(f"{self.id}: value: the form {self.form!r} needs {wanted}")
        if self.form == "range" and len(self.values) != 2:
            raise ValueError(f"{self.id}: value: a range has two ends")
        if (self.variable is None) != (self.form != "series"):
            raise ValueError(
                f"{self.id}: variable: belongs to a series, and only there"
            )
        if len(self.at or ()) != (len(self.values) if self.form == "series" else 0):
            raise ValueError(f"{self.id}: at: one for each value of a series")
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """The value or values."""
        return self.value if isinstance(self.value, tuple) else (self.value,)

    @property
    def words(self) -> str:
        """The number as text: ``0.678``, ``about 0.74``, ``0.6 to 0.8``."""
        values = [f"{value:g}" for value in self.values]
        if self.form == "range":
            return " to ".join(values)
        if self.form == "series":
            at = ", ".join(f"{value:,g}" for value in self.at or ())
            return f"{', '.join(values)} at {self.variable} {at}"
        return values[0] if self.form == "number" else f"{self.form} {values[0]}"


class PublishedFile(_Part):
    """All numbers of one paper."""

    paper: Paper
    marks: dict[Mark, str]
    numbers: tuple[PublishedNumber, ...] = Field(strict=False)

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        known = set()
        for number in self.numbers:
            if number.id in known:
                raise ValueError(f"id {number.id!r} occurs twice")
            if number.mark not in self.marks:
                raise ValueError(f"{number.id}: mark {number.mark} is not explained")
            known.add(number.id)
        return self


@dataclass(frozen=True)
class Published:
    """A published number with its paper and the meaning of its mark."""

    key: str
    paper: Paper
    number: PublishedNumber
    meaning: str


def published_files(folder: str | Path, keys: Iterable[str]) -> dict[str, Path]:
    """Return the files that hold some numbers, by name.

    Parameters
    ----------
    folder : str or Path
        Usually ``data/published``.
    keys : iterable of str
        ``FILE/ID`` each.
    """
    names = sorted({key.partition("/")[0] for key in keys})
    return {name: Path(folder) / f"{name}.yaml" for name in names}


def read_published_file(path: str | Path) -> PublishedFile:
    """Read the numbers of one paper.

    Raises
    ------
    UserError
        If the file is missing or does not follow the form.
    """
    path = Path(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _LOADER)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    try:
        return PublishedFile.model_validate(raw)
    except ValidationError as error:
        raise UserError(validation_line(str(path), error, PublishedFile)) from None


def read_published(folder: str | Path, keys: Iterable[str]) -> dict[str, Published]:
    """Read published numbers.

    Parameters
    ----------
    folder : str or Path
        Usually ``data/published``.
    keys : iterable of str
        ``FILE/ID`` each, e.g. ``shokri2017/P1-e-real``. Only these files are read.

    Returns
    -------
    dict of str to Published
        By key.

    Raises
    ------
    UserError
        If a file is missing or malformed, or has no such number.
    """
    keys = sorted(set(keys))
    found = {}
    for name, path in published_files(folder, keys).items():
        file = read_published_file(path)
        numbers = {number.id: number for number in file.numbers}
        for key in keys:
            start, _, wanted = key.partition("/")
            if start != name:
                continue
            if wanted not in numbers:
                raise UserError(
                    f"{path}: no published number has the id {wanted!r}"
                    f"{close_to(wanted, numbers)}"
                )
            number = numbers[wanted]
            found[key] = Published(key, file.paper, number, file.marks[number.mark])
    return found
