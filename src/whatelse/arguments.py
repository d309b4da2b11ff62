"""Types of command-line arguments that several verbs share."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whatelse.errors import UserError


def validation_line(where: str, error: ValidationError, schema: Any) -> str:
    """Return the first finding of pydantic as one line: place, value, what is allowed.

    Parameters
    ----------
    where : str
        The file, or the argument.
    error : ValidationError
        From pydantic.
    schema : type
        What was to be read.

    Returns
    -------
    str
        ``where: field: message (got value)``, with the number of further findings.
    """
    # what is misspelt comes before what is missing for it
    findings = sorted(
        error.errors(include_url=False),
        key=lambda own: own["type"] != "extra_forbidden",
    )
    first = findings[0]
    field = ".".join(str(part) for part in first["loc"]) or "(whole)"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        known = _keys(schema, first["loc"][:-1])
        message = (
            f"unknown key; allowed: {', '.join(known)}" if known else "unknown key"
        )
    got = (
        "" if first["type"] in ("missing", "extra_forbidden") else _got(first["input"])
    )
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}: {field}: {message}{got}{more}"


def _keys(schema: Any, place: Sequence[str | int]) -> list[str]:
    """Return which keys there may be at a place, as pydantic names it."""
    whole = TypeAdapter(schema).json_schema()

    def choices(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while "$ref" in node:
            node = whole["$defs"][node["$ref"].rpartition("/")[2]]
        several = node.get("anyOf", node.get("oneOf"))
        if several is None or "discriminator" in node:
            yield node
        else:
            for choice in several:
                yield from choices(choice)

    nodes = [*choices(whole)]
    for part in place:
        nodes = [
            choice for node in nodes for inner in _inside(node, part)
            for choice in choices(inner)
        ]  # fmt: skip
    return sorted({name for node in nodes for name in node.get("properties", ())})


def _inside(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    """Yield the schemas of a part: a kind of a union, a key, or a place of a list."""
    kinds = node.get("discriminator", {}).get("mapping", {})
    if part in kinds:
        yield {"$ref": kinds[part]}
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    else:
        inner = node.get("items" if isinstance(part, int) else "additionalProperties")
        if isinstance(inner, dict):
            yield inner


def _got(value: Any) -> str:
    text = repr(value)
    return f", got {text if len(text) <= 60 else text[:57] + '...'}"


def json_argument(schema: Any, option: str = "--spec") -> Callable[[str], Any]:
    """Return an argument type that reads an option's JSON into a pydantic schema."""

    def parse(text: str) -> Any:
        try:
            return TypeAdapter(schema).validate_json(text)
        except ValidationError as error:
            raise UserError(validation_line(option, error, schema)) from None

    return parse


def range_argument(text: str) -> range:
    """Read ``start:stop``, e.g. ``0:8`` for 0 to 7."""
    start, _, stop = text.partition(":")
    if not (start.isdigit() and stop.isdigit() and int(start) < int(stop)):
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: START:STOP, START < STOP")
    return range(int(start), int(stop))
