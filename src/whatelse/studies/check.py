"""``whatelse check``: check study files; write the grammar's JSON schema."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from whatelse import records
from whatelse.backdoors.convergence import never_learned
from whatelse.errors import UserError
from whatelse.studies import grammar
from whatelse.studies.resolve import Resolved, load_study

_REF = "#/$defs/{model}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("studies", nargs="*", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--schema", type=Path, help="write the JSON schema here")


def run(args: argparse.Namespace) -> None:
    """Check every file; a file that is wrong ends it with one line."""
    if not args.studies and not args.schema:
        raise UserError("nothing to check: name study files, or --schema FILE")
    for path in args.studies:
        resolved = load_study(path)
        blocks = [*resolved.of("train"), *resolved.of("collaborate")]
        models = {
            (block.labels["key"], number)
            for block in blocks
            for number in range(*map(int, block.labels["models"].split(":")))
        }
        print(
            f"{path}: {len(resolved.of('dataset'))} data sets, {len(models)} models in "
            f"{len(blocks)} blocks, {len(resolved.of('attack'))} attacks, "
            f"{len(resolved.of('figure'))} figures, {len(resolved.study.claims)} claims"
        )
        warn(resolved)
    if args.schema:
        records.write_json(args.schema, schema())


def warn(resolved: Resolved) -> None:
    """Say on stderr which results of a study will say little, as far as is known."""
    lines: dict[str, str] = {}
    for joint in resolved.of("collaborate"):
        adversary = joint.spec["adversary"] or {}
        hidden = adversary.get("kind") == "backdoor" and adversary["rounds"]
        if joint.inputs.get("base") or not hidden:
            continue
        if line := never_learned(joint.spec["protocol"], min(hidden)):
            lines.setdefault(joint.labels["entry"], line)
    for entry, line in lines.items():
        print(f"warning: {resolved.path}: models.{entry}: {line}", file=sys.stderr)


def schema() -> dict[str, Any]:
    """Return the JSON schema of study files, for editors."""
    whole = grammar.Study.model_json_schema(ref_template=_REF)
    definitions = whole.setdefault("$defs", {})
    for section, entry in grammar.SECTIONS.items():
        # Under the section's name: a data set and a figure may be a `Table` both.
        prefix = f"{section}."
        reference = _REF.format(model=prefix + "{model}")
        one = TypeAdapter(entry).json_schema(ref_template=reference)
        for name, definition in one.pop("$defs", {}).items():
            definitions[prefix + name] = definition
        for choice in _choices(one):
            definition = definitions[choice["$ref"].rsplit("/", 1)[-1]]
            # A grid may supply any field but the one that tells the kinds apart.
            tells = {"kind", "source", "external", "from"}
            needed = set(definition.get("required", []))
            definition["required"] = sorted(needed & tells)
            definition["properties"]["foreach"] = {
                "type": "object",
                "description": "Field paths with lists of values: the entry stands for "
                "every point of that grid.",
                "additionalProperties": {"type": "array", "minItems": 1},
            }
        one.pop("discriminator", None)
        section_schema = whole["properties"][section]
        section_schema.pop("additionalProperties", None)
        section_schema["patternProperties"] = {_name_pattern(): one}
        section_schema["additionalProperties"] = False
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    # A plain copy: no object is shared between two places.
    copied: dict[str, Any] = json.loads(json.dumps(whole))
    return copied


def _choices(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the alternatives of a union, those of unions inside it too."""
    if "$ref" in schema:
        yield schema
    for inner in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from _choices(inner)


def _name_pattern() -> str:
    pattern: str = TypeAdapter(grammar.Name).json_schema()["pattern"]
    return pattern
