"""Which source files a piece of the package consists of.

Snakemake does not see edits to an imported package. Each rule therefore takes the
import closure of the module that does its work as an input: an edit reruns exactly
what it touches. Kinds that a registry imports by name (a loader, an attack, a
figure) are not part of the closure of the registry: a rule adds the one that it runs.
`DESCRIPTIONS` and `WORDS` are part of no closure.
"""

import ast
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent

DESCRIPTIONS = frozenset({"whatelse.datasets.settings", "whatelse.datasets.loaders"})
"""Modules that say only what may be asked for: settings and a table of names.

They compute nothing. What they resolve to is in the spec, and so in an artefact's key;
with them in the code, a new source would make every data set anew.
"""

WORDS = frozenset({"whatelse.arguments"})
"""What reads options and words what is wrong with them: in no result."""


def closure(*modules: str) -> tuple[Path, ...]:
    """Return the files of some modules and of all that they import from here.

    An import of one of `DESCRIPTIONS` or `WORDS` is passed over.

    Parameters
    ----------
    *modules : str
        Dotted names inside the package, e.g. ``"whatelse.training.command"``.

    Returns
    -------
    tuple of Path
        Sorted paths, package ``__init__`` files with code included.

    Raises
    ------
    ModuleNotFoundError
        If there is no such module.
    """
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        waiting.extend(set(_imports(module)) - DESCRIPTIONS - WORDS)
    return tuple(sorted(_file(module) for module in found))


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise ModuleNotFoundError(f"no module {module} in {PACKAGE}")


def _exists(module: str) -> bool:
    try:
        _file(module)
    except ModuleNotFoundError:
        return False
    return True


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    tree = ast.parse(_file(module).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += _from(node.module, (alias.name for alias in node.names))
    return tuple(name for name in names if name.split(".")[0] == PACKAGE.name)


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk statements alone: most of a module is expressions, which import nothing."""
    for place in ("body", "handlers", "cases", "orelse", "finalbody"):
        for part in getattr(tree, place, ()):
            yield part
            yield from _statements(part)


def _from(module: str, names: Iterable[str]) -> list[str]:
    """Return what ``from module import names`` reads: submodules or the module."""
    if module.split(".")[0] != PACKAGE.name:
        return []
    submodules = {name: f"{module}.{name}" for name in names}
    inside = [full for full in submodules.values() if _exists(full)]
    return inside if len(inside) == len(submodules) else [module, *inside]
