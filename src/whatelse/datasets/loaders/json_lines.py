"""Files with one JSON object a line, plain or compressed."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from whatelse.datasets.loaders.archives import BROKEN, opened
from whatelse.errors import UserError


def objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line's object, and what errors call the line.

    Raises
    ------
    UserError
        If the file cannot be read, or a line is no object.
    """
    try:
        with opened(path) as file:
            for number, line in enumerate(file, 1):
                where = f"{path}: line {number}"
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise UserError(
                        f"{where}: truncated or damaged: not JSON: {error}"
                    ) from None
                if not isinstance(found, dict):
                    raise UserError(f"{where}: {str(found)[:60]!r}; allowed: an object")
                yield where, found
    except (*BROKEN, OSError) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from None


def text_of(where: str, found: Mapping[str, Any], field: str) -> str:
    """Return a field of an object.

    Raises
    ------
    UserError
        If it is no text.
    """
    value = found.get(field)
    if not isinstance(value, str):
        raise UserError(f"{where}: {field}: {value!r}; allowed: text")
    return value
