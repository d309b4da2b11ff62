"""Seconds and megabytes of jobs, from benchmarks on record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whatelse.errors import UserError
from whatelse.records import read_json
from whatelse.sources import PACKAGE
from whatelse.studies.plan.work import Features

BENCHMARKS = PACKAGE.parents[1] / "benchmarks" / "results"
CPU, GPU = "cpu", "gpu"


@dataclass(frozen=True)
class Costs:
    """What one of each feature takes on a kind of node.

    Attributes
    ----------
    path : Path
        The benchmark.
    node : {"cpu", "gpu"}
        Which kind of node.
    machine : str
        What it was measured on.
    busy : bool
        Whether others worked on it meanwhile.
    seconds, memory : dict of str to float
        Seconds and megabytes by feature.
    """

    path: Path
    node: str
    machine: str
    busy: bool
    seconds: Features
    memory: Features

    def time(self, features: Mapping[str, float]) -> float:
        """Return the seconds of some work."""
        return _sum(features, self.seconds)

    def peak(self, features: Mapping[str, float]) -> float:
        """Return the megabytes that some work has in memory at its peak."""
        return _sum(features, self.memory)


def _sum(features: Mapping[str, float], each: Mapping[str, float]) -> float:
    return sum(each.get(name, 0.0) * amount for name, amount in features.items())


def read_costs(folder: Path) -> dict[str, Costs]:
    """Return the newest benchmark of jobs on record for each kind of node.

    Raises
    ------
    UserError
        If there is none for a CPU, or one is broken.
    """
    found: dict[str, tuple[str, Costs]] = {}
    for path in sorted(folder.glob("jobs-*.json")):
        raw = read_json(path)
        try:
            costs = Costs(
                path, raw["node"], raw["machine"], raw["busy"],
                _numbers(raw["seconds"]), _numbers(raw["memory_mb"]),
            )  # fmt: skip
            measured = str(raw["measured"])
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(path, error) from None
        if costs.node not in found or measured >= found[costs.node][0]:
            found[costs.node] = measured, costs
    if CPU not in found:
        raise UserError(
            f"{folder}: no jobs-*.json of a CPU; allowed: a benchmark on record, made "
            "by python benchmarks/jobs.py"
        )
    return {node: costs for node, (_, costs) in found.items()}


def _numbers(raw: Mapping[str, Any]) -> Features:
    return {str(name): float(value) for name, value in raw.items()}


def _broken(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: no benchmark of jobs: {error!r}; make it again")
