"""Looking a kind up in a table that is imported by name.

So the table of all kinds is no part of what any one of them is made by, and a new kind
makes nothing stale.
"""

import importlib
from typing import Any

from whatelse.errors import UserError


def kind_in(table: str, kind: Any, field: str) -> Any:
    """Return what a table holds for a kind.

    Parameters
    ----------
    table : str
        ``module:NAME`` of a mapping.
    kind : object
        What is asked for.
    field : str
        What an error names as the place of a bad value.

    Raises
    ------
    UserError
        If there is no such kind.
    """
    module, _, name = table.partition(":")
    known: dict[str, Any] = getattr(importlib.import_module(module), name)
    if kind not in known:
        raise UserError(f"{field}: {kind!r}; allowed: {', '.join(known)}")
    return known[kind]
