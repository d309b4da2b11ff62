"""Types of command-line arguments that several verbs share."""

import argparse
import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from whatelse.errors import UserError

_LONG = 300  # characters of a list of choices that nobody reads


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
    field, known = _place(schema, first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = (
            f"unknown key; allowed: {', '.join(known)}" if known else "unknown key"
        )
    elif first["type"] == "literal_error" and len(message) > _LONG:
        wanted = re.findall(r"'([^']*)'", message)
        message = f"none of {len(wanted)} words{close_to(str(first['input']), wanted)}"
    # of a whole section that does not fit together the message names what
    told = first["type"] in ("missing", "extra_forbidden") or (
        first["type"] == "value_error" and isinstance(first["input"], dict)
    )
    got = "" if told else _got(first["input"])
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{where}: {field + ': ' if field else ''}{message}{got}{more}"


def close_to(word: str, known: Iterable[str]) -> str:
    """Return what a line about an unknown word ends in: which known ones are near."""
    near = difflib.get_close_matches(word, list(known), n=5, cutoff=0.4)
    return f"; close to it: {', '.join(near)}" if near else ""


def _place(schema: Any, loc: Sequence[str | int]) -> tuple[str, list[str]]:
    """Return a place as the file names it, and the keys there may be around it.

    Pydantic puts the kind of a union's member before its fields; no file does.
    """
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

    field, around, nodes = [], [], [*choices(whole)]
    for part in loc:
        if not any(part in _kinds(node) for node in nodes):
            field.append(str(part))
        around = nodes
        nodes = [
            choice for node in nodes for inner in _inside(node, part)
            for choice in choices(inner)
        ]  # fmt: skip
    known = {name for node in around for name in node.get("properties", ())}
    return ".".join(field), sorted(known)


def _kinds(node: dict[str, Any]) -> dict[str, str]:
    kinds: dict[str, str] = node.get("discriminator", {}).get("mapping", {})
    return kinds


def _inside(node: dict[str, Any], part: str | int) -> Iterator[dict[str, Any]]:
    """Yield the schemas of a part: a kind of a union, a key, or a place of a list."""
    kinds = _kinds(node)
    if part in kinds:
        yield {"$ref": kinds[part]}
    elif part in node.get("properties", {}):
        yield node["properties"][part]
    else:
        rest = "items" if isinstance(part, int) else "additionalProperties"
        for inner in (node.get(rest), *node.get("patternProperties", {}).values()):
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
