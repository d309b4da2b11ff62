"""What claims read: the metrics of every attack instance of a study."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from whatelse.claims.settings import (
    Above,
    Alike,
    Below,
    Claim,
    FallsWith,
    GrowsWith,
    NotBelow,
    Several,
    Where,
)
from whatelse.errors import UserError
from whatelse.records import read_json

_OF_DATASET = ("classes", "records")
_SHOWN = 12


@dataclass(frozen=True)
class Instance:
    """One attack at one point of its grid, over all its seeds.

    Attributes
    ----------
    folder : str
        Name of its folder.
    name : str
        The attack's name in the study.
    grid, dataset : dict
        The grid point; what the data set says of itself.
    replicates : list of dict
        One a seed, as in ``metrics.json``.
    summary : dict
        Spreads over seeds by metric.
    """

    folder: str
    name: str
    grid: dict[str, Any]
    dataset: dict[str, Any]
    replicates: list[dict[str, Any]]
    summary: dict[str, Any]

    @property
    def stand_in_for(self) -> str | None:
        """The data set that this one's stands in for."""
        found: str | None = self.dataset.get("stand_in_for")
        return found

    @property
    def words(self) -> str:
        """The grid point as text: ``members=1200, dataset=location``."""
        parts = [f"{key}={value}" for key, value in self.grid.items()]
        if "dataset" not in self.grid and "name" in self.dataset:
            parts.append(f"dataset={self.dataset['name']}")
        return ", ".join(parts)

    def variables(self) -> dict[str, tuple[Any, ...]]:
        """Return what a condition may name, with the values that fulfil it."""
        found = {
            key: (self.dataset[key],) for key in _OF_DATASET if key in self.dataset
        }
        found.update({key: (value,) for key, value in self.grid.items()})
        if "name" in self.dataset:
            found["dataset"] = (self.dataset["name"], *found.get("dataset", ()))
        return found

    def spread(self, metric: str) -> dict[str, Any] | None:
        """Return a metric over seeds; None where it is unknown."""
        found: dict[str, Any] | None = self.summary.get(metric)
        return found if found and found.get("values") else None

    def by_seed(self, metric: str) -> dict[int, float | None]:
        """Return a metric by replicate number."""
        spread = self.spread(metric)
        if spread is None:
            return {}
        numbers = [replicate["replicate"] for replicate in self.replicates]
        return dict(zip(numbers, spread["values"], strict=True))


def load(
    folders: Iterable[str | Path],
    stand_ins: Mapping[str, str] = MappingProxyType({}),
) -> list[Instance]:
    """Read the results of a study's attacks.

    Parameters
    ----------
    folders : iterable of path
        One for every attack and grid point; each holds ``metrics.json``.
    stand_ins : mapping of str to str, optional
        What data stand in for by the study's word, by the folder's name; it goes before
        that of the registry of data sets.

    Returns
    -------
    list of Instance
        Sorted by folder name.

    Raises
    ------
    UserError
        If a folder holds no metrics, or two folders have one name.
    """
    found: dict[str, Instance] = {}
    for folder in map(Path, folders):
        path = folder / "metrics.json"
        metrics = read_json(path)
        original = stand_ins.get(folder.name)
        said = {"stand_in_for": original} if original else {}
        try:
            instance = Instance(
                folder=folder.name,
                name=metrics["name"],
                grid=metrics["grid"],
                dataset={**metrics["dataset"], **said},
                replicates=metrics["replicates"],
                summary=metrics["summary"],
            )
        except (KeyError, TypeError) as error:
            raise UserError(f"{path}: not the metrics of an attack: {error}") from None
        if folder.name in found:
            raise UserError(f"--attacks: two folders are called {folder.name!r}")
        found[folder.name] = instance
    return [found[name] for name in sorted(found)]


def select(
    instances: Iterable[Instance], attack: str, where: Where, *, place: str
) -> list[Instance]:
    """Return the instances of an attack that fulfil all conditions, at least one.

    Raises
    ------
    UserError
        If there is none; the message begins with `place` and names what exists.
    """
    instances = list(instances)
    ours = [instance for instance in instances if instance.name == attack]
    if not ours:
        names = sorted({instance.name for instance in instances})
        raise UserError(
            f"{place}: attack: no result of {attack!r}; there are: {', '.join(names)}"
        )
    known = sorted({name for instance in ours for name in instance.variables()})
    for name in where:
        if name not in known:
            raise UserError(
                f"{place}: where: attack {attack!r} has no variable {name!r}; allowed: "
                f"{', '.join(known)}"
            )
    found = [instance for instance in ours if _fulfils(instance, where)]
    if not found:
        raise UserError(
            f"{place}: where: {_words(where)} matches no instance of {attack!r}; there "
            f"are: {listed(ours)}"
        )
    return found


def select_one(
    instances: Iterable[Instance], attack: str, where: Where, *, place: str
) -> Instance:
    """Return the one instance of an attack that fulfils all conditions.

    Raises
    ------
    UserError
        If there is none, or more than one.
    """
    found = select(instances, attack, where, place=place)
    if len(found) > 1:
        raise UserError(
            f"{place}: where: {_words(where)} matches {len(found)} instances of "
            f"{attack!r}, must single out one: {listed(found)}"
        )
    return found[0]


def looked_at(
    claim: Claim, instances: Iterable[Instance], *, place: str
) -> list[Instance]:
    """Return the instances that a claim is about, whatever their numbers are.

    Parameters
    ----------
    claim : Claim
        What is claimed.
    instances : iterable of Instance
        Every attack of the study.
    place : str
        How messages call the claim, e.g. ``claims[2]``.

    Returns
    -------
    list of Instance
        One for a bound, both sides of an order, all along a trend from the variable's
        smallest value to its largest, and for several all as they are listed.

    Raises
    ------
    UserError
        If the claim's conditions do not single them out.
    """
    instances, relation = list(instances), claim.relation
    if isinstance(relation, GrowsWith | FallsWith):
        return _along(claim, relation.variable, instances, place)
    if isinstance(relation, Several):
        return _each(claim, relation, instances, place)
    one = select_one(instances, claim.attack, claim.where, place=place)
    if not isinstance(relation, Above | Below | NotBelow | Alike):
        return [one]
    attack = relation.attack or claim.attack
    where = claim.where if relation.where is None else relation.where
    other = select_one(instances, attack, where, place=f"{place}.relation")
    if one == other and claim.metric == (relation.metric or claim.metric):
        raise UserError(
            f"{place}.relation: where: both sides are {claim.metric} of [{one.words}]; "
            "they must differ"
        )
    return [one, other]


def _along(
    claim: Claim, variable: str, instances: Iterable[Instance], place: str
) -> list[Instance]:
    found = select(instances, claim.attack, claim.where, place=place)
    by_value: dict[float, list[Instance]] = {}
    for instance in found:
        value = number_of(instance, variable, place=place)
        by_value.setdefault(value, []).append(instance)
    if len(by_value) < 2:
        raise UserError(
            f"{place}: variable: {variable!r} has one value only ({[*by_value][0]:g}) "
            f"where the claim looks; it must have at least two: {listed(found)}"
        )
    _refuse_several(
        ((f"{value:g}", own) for value, own in by_value.items()), variable, place
    )
    return [by_value[value][0] for value in sorted(by_value)]


def _each(
    claim: Claim, relation: Several, instances: Iterable[Instance], place: str
) -> list[Instance]:
    """Return one instance for every value of a variable, of numbers or words."""
    found = select(instances, claim.attack, claim.where, place=place)
    variable = relation.variable
    by_value: dict[str, list[Instance]] = {}
    for instance in found:
        value = str(value_of(instance, variable, place=place))
        by_value.setdefault(value, []).append(instance)
    _refuse_several(by_value.items(), variable, place)
    if relation.least > len(found):
        raise UserError(
            f"{place}.relation: least: {relation.least}; allowed: 1..{len(found)}, "
            f"the values of {variable}"
        )
    return found


def _refuse_several(
    by_value: Iterable[tuple[str, list[Instance]]], variable: str, place: str
) -> None:
    for value, several in by_value:
        if len(several) > 1:
            raise UserError(
                f"{place}: where: matches {len(several)} instances at {variable} "
                f"{value}, must leave one for every value: {listed(several)}"
            )


def listed(instances: Iterable[Instance]) -> str:
    """Return some instances as text, for messages."""
    texts = [f"[{instance.words}]" for instance in instances]
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return " ".join(texts[:_SHOWN]) + more


def value_of(instance: Instance, variable: str, *, place: str) -> Any:
    """Return a grid variable.

    Raises
    ------
    UserError
        If the instance has no such variable.
    """
    values = instance.variables()
    if variable not in values:
        raise UserError(
            f"{place}: variable: {instance.name!r} has no {variable!r}; allowed: "
            f"{', '.join(sorted(values))}"
        )
    return values[variable][0]


def number_of(instance: Instance, variable: str, *, place: str) -> float:
    """Return a grid variable as a number.

    Raises
    ------
    UserError
        If the instance has no such variable, or it is no number.
    """
    value = value_of(instance, variable, place=place)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
    ):
        raise UserError(
            f"{place}: variable: {variable!r} must have numbers, has {value!r}"
        )
    return value


def _words(where: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in where.items()) or "no condition"


def _fulfils(instance: Instance, where: Where) -> bool:
    values = instance.variables()
    return all(
        any(_same(value, wanted) for value in values.get(name, ()))
        for name, wanted in where.items()
    )


def _same(value: Any, wanted: str | int | float | bool) -> bool:
    # True is not 1 here: a grid may hold both.
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)
