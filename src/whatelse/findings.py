"""What an attack is told and what it hands over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import pandas as pd

Inputs = Mapping[str, Sequence[Path]]
"""Folders by role, e.g. ``outputs.0``: the blocks of outputs of replicate 0."""


class AttackSpec(BaseModel):
    """One attack of a study, resolved; its kind checks `settings` by itself.

    `carrier` is how models or data were tampered with: what the adversary knows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    study: str
    name: str
    grid: dict[str, Any]
    seed: int
    settings: dict[str, Any]
    carrier: dict[str, Any] | None = None


@dataclass(frozen=True)
class Findings:
    """The files of an attack's folder, before they are written.

    Attributes
    ----------
    dataset : dict
        What outputs say of their data set.
    metrics : dict
        ``metrics.json``: ``replicates`` and ``summary``.
    scores, curves : DataFrame
        ``scores.parquet`` (one row a record, prediction or reconstruction) and
        ``curves.csv``.
    """

    dataset: dict[str, Any]
    metrics: dict[str, Any]
    scores: "pd.DataFrame"
    curves: "pd.DataFrame"
    telemetry: dict[str, Any] = field(default_factory=dict)


def replicates_of(inputs: Inputs, role: str) -> list[Sequence[Path]]:
    """Return the folders of a role, a list for each replicate, in order."""
    found: list[Sequence[Path]] = []
    while f"{role}.{len(found)}" in inputs:
        found.append(inputs[f"{role}.{len(found)}"])
    return found
