"""How a profile runs a study: cores, limits, groups, and which rule gets what."""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from whatelse.errors import UserError
from whatelse.studies.run import profile_folder

RULES = {
    "fetch": "fetch_dataset",
    "dataset": "prepare_dataset",
    "preprocess": "preprocess_dataset",
    "synthesise": "synthesise_records",
    "train": "train_block",
    "collaborate": "collaborate",
    "query": "query_block",
    "import": "import_outputs",
    "attack": "run_attack",
    "figure": "draw_figure",
    "claims": "check_claims",
    "track": "track_study",
}
"""Which rule of the workflow makes a kind of artefact."""

_RULE = re.compile(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)
_THREADS = re.compile(r"^\s+threads:\s*(\d+)", re.MULTILINE)
_GROUP = re.compile(r"^\s+group:\s+(\"?)(\w+)", re.MULTILINE)
_LOCAL = re.compile(r"^\s+localrule:\s*True", re.MULTILINE)
_OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_BLOCKS = "models"  # what `group-components` calls the jobs of blocks
_GPU_WORDS = ("gpu", "gpus", "gres", "nvidia_gpu")


@dataclass(frozen=True)
class Rule:
    """What a rule asks for.

    Attributes
    ----------
    name : str
        Its name in the workflow.
    threads : int
        Cores.
    local : bool
        Whether it runs where Snakemake was started.
    group : str
        Jobs of one group share a scheduler's job; empty for none.
    by_block : bool
        Whether neighbouring blocks of models share one, by their number in the study.
    resources : dict
        By name: ``mem_mb``, ``runtime`` (minutes), ``gpu``, ...; at the first attempt.
    """

    name: str
    threads: int
    local: bool
    group: str
    by_block: bool
    resources: dict[str, Any]

    def number(self, name: str) -> float | None:
        """Return a resource if it is a plain number, or arithmetic that gives one."""
        return _number(self.resources.get(name))

    @property
    def gpu(self) -> bool:
        """Whether it asks for a GPU."""
        asked = [self.resources.get(word) for word in _GPU_WORDS]
        return any(value not in (None, 0, "", "0") for value in asked)


@dataclass(frozen=True)
class Profile:
    """A profile, with the rules as they are under it.

    Attributes
    ----------
    name : str
        Its folder.
    executor : str
        ``local``, ``slurm``, ...
    slots : int
        Cores of one machine, or jobs that may stand in the queue at once.
    limits : dict of str to float
        Most of a resource that jobs may hold together.
    width : float
        Cores that the jobs of one submission share.
    components : dict of str to int
        Connected parts of a group that make one submission.
    wait : float
        Seconds until the state of submissions is first asked for.
    rules : dict of str to Rule
        By kind of artefact.
    """

    name: str
    executor: str
    slots: int
    limits: dict[str, float]
    width: float
    components: dict[str, int]
    wait: float
    rules: dict[str, Rule]

    @property
    def submits(self) -> bool:
        """Whether jobs go to a scheduler."""
        return self.executor != "local"


def read_profile(workflow: Path, name: str, *, cores: int | None = None) -> Profile:
    """Read a profile of a checkout, and what its rules ask for.

    Parameters
    ----------
    workflow : Path
        The checkout.
    name : str
        A folder of its ``profiles/``, or the path of one.
    cores : int, optional
        In the place of the profile's.

    Raises
    ------
    UserError
        If there is no such profile, or it is no YAML mapping.
    """
    path = profile_folder(workflow, name) / "profile.yaml"
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: allowed: a mapping of options")
    executor = str(raw.get("executor", "local"))
    width = raw.get("cores") if cores is None else cores
    option, asked = "cores", width
    if executor != "local":
        option, asked = "jobs", raw.get("jobs")
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
        raise UserError(
            f"{path}: {option}: {asked!r} says not how much runs at once; allowed: a "
            "number from 1" + (", or --cores N" if option == "cores" else "")
        )
    limits = {
        str(word): number
        for word, value in _pairs(path, raw, "resources").items()
        if (number := _number(value)) is not None
    }
    components = _pairs(path, raw, "group-components")
    return Profile(
        name,
        executor,
        asked,
        limits,
        _number(width) or math.inf,
        {group: int(_number(count) or 1) for group, count in components.items()},
        _number(raw.get("slurm-init-seconds-before-status-checks")) or 40.0,
        _rules(workflow, path, raw),
    )


def _pairs(path: Path, raw: Mapping[str, Any], option: str) -> dict[str, Any]:
    """Return an option that is a mapping, or a list or text of ``name=value``."""
    value = raw.get(option) or {}
    if isinstance(value, dict):
        return value
    words = value.split() if isinstance(value, str) else value
    try:
        return dict(str(word).split("=", 1) for word in words)
    except (TypeError, ValueError):
        raise UserError(
            f"{path}: {option}: {value!r}; allowed: a mapping, or name=value"
        ) from None


def _rules(workflow: Path, path: Path, raw: Mapping[str, Any]) -> dict[str, Rule]:
    """Return the rules: what stands in the workflow, then what the profile sets."""
    places = sorted((workflow / "workflow" / "rules").glob("*.smk"))
    text = "\n".join(place.read_text(encoding="utf-8") for place in places)
    bodies = dict(_RULE.findall(text))
    defaults = _pairs(path, raw, "default-resources")
    resources = _pairs(path, raw, "set-resources")
    threads = _pairs(path, raw, "set-threads")
    groups = _pairs(path, raw, "groups")
    found = {}
    for kind, name in RULES.items():
        body = bodies.get(name, "")
        said = _GROUP.search(body)
        # A function in the place of a name: neighbouring blocks share a job.
        by_block = bool(said and not said[1] and name not in groups)
        group = _BLOCKS if by_block else groups.get(name, said[2] if said else "")
        own = dict(re.findall(r"^\s+(mem_mb|runtime|gpu)=(.+?),?$", body, re.MULTILINE))
        set_here = resources.get(name) or {}
        if not isinstance(set_here, dict):
            raise UserError(f"{path}: set-resources.{name}: allowed: a mapping")
        count = _THREADS.search(body)
        found[kind] = Rule(
            name,
            int(_number(threads.get(name)) or (count[1] if count else 1)),
            bool(_LOCAL.search(body)),
            str(group),
            by_block,
            {**defaults, **own, **set_here},
        )
    return found


def _number(value: Any) -> float | None:
    """Return a number, or what arithmetic gives at the first attempt, else None."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        tree: ast.AST = ast.parse(str(value).strip(), mode="eval").body
    except SyntaxError:
        return None
    return _arithmetic(tree.body if isinstance(tree, ast.Lambda) else tree)


def _arithmetic(tree: ast.AST) -> float | None:
    """Evaluate numbers, ``attempt`` and the four operations; nothing is executed."""
    if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float)):
        return float(tree.value)
    if isinstance(tree, ast.Name) and tree.id == "attempt":
        return 1.0
    if not isinstance(tree, ast.BinOp) or type(tree.op) not in _OPERATIONS:
        return None
    left, right = _arithmetic(tree.left), _arithmetic(tree.right)
    if left is None or right is None or (right == 0 and isinstance(tree.op, ast.Div)):
        return None
    return float(_OPERATIONS[type(tree.op)](left, right))
