"""Types of command-line arguments that several verbs share."""

import argparse
from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whatelse.errors import UserError


def validation_line(where: str, error: ValidationError) -> str:
    """Return the first finding of pydantic as one line: place, value, what is allowed.

    Parameters
    ----------
    where : str
        The file, or the argument.
    error : ValidationError
        From pydantic.

    Returns
    -------
    str
        ``where: field: message (got value)``, with the number of further findings.
    """
    findings = error.errors(include_url=False)
    first = findings[0]
    field = ".".join(str(part) for part in first["loc"]) or "(whole)"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown key"
    got = (
        "" if first["type"] in ("missing", "extra_forbidden") else _got(first["input"])
    )
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}: {field}: {message}{got}{more}"


def _got(value: Any) -> str:
    text = repr(value)
    return f", got {text if len(text) <= 60 else text[:57] + '...'}"


def json_argument(schema: Any, option: str = "--spec") -> Callable[[str], Any]:
    """Return an argument type that reads an option's JSON into a pydantic schema."""

    def parse(text: str) -> Any:
        try:
            return TypeAdapter(schema).validate_json(text)
        except ValidationError as error:
            raise UserError(validation_line(option, error)) from None

    return parse


def range_argument(text: str) -> range:
    """Read ``start:stop``, e.g. ``0:8`` for 0 to 7."""
    start, _, stop = text.partition(":")
    if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: START:STOP, START < STOP")
    return range(int(start), int(stop))
