"""What figures read: the folder that an attack wrote, and words for legends."""

import functools
import math
import numbers
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from whatelse.errors import UserError
from whatelse.figures.settings import refuse_undrawn
from whatelse.records import RECORD, read_json


class AttackResult:
    """One attack at one point of its grid, over all its seeds.

    Parameters
    ----------
    folder : str or Path
        Holds ``metrics.json``, ``curves.csv`` and ``scores.parquet``. The metrics
        are read at once, curves and scores when they are asked for.
    stand_in_for : str, optional
        The data that its data set stands in for by the study's word, which goes before
        that of the registry of data sets.

    Raises
    ------
    UserError
        If `folder` holds no metrics.
    """

    def __init__(self, folder: str | Path, stand_in_for: str | None = None) -> None:
        self.folder = Path(folder)
        self.metrics: dict[str, Any] = read_json(self.folder / "metrics.json")
        try:
            self.kind: str = self.metrics["kind"]
            self.name: str = self.metrics["name"]
            self.grid: dict[str, Any] = self.metrics["grid"]
            said = {"stand_in_for": stand_in_for} if stand_in_for else {}
            self.dataset: dict[str, Any] = {**self.metrics["dataset"], **said}
            self.replicates: list[dict[str, Any]] = self.metrics["replicates"]
            self.summary: dict[str, Any] = self.metrics["summary"]
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{self.folder / 'metrics.json'}: not the metrics of an attack: "
                f"no {error}"
            ) from None

    @functools.cached_property
    def curves(self) -> pd.DataFrame:
        """Points of each seed's curves, e.g. replicate, fpr, tpr, threshold."""
        return pd.read_csv(self.folder / "curves.csv")

    @functools.cached_property
    def scores(self) -> pd.DataFrame:
        """What was found on each record, e.g. replicate, member, score, ..."""
        return pd.read_parquet(self.folder / "scores.parquet")

    @functools.cached_property
    def carrier(self) -> dict[str, Any]:
        """How the model was tampered with, from the record; {} where it was not."""
        spec: dict[str, Any] = read_json(self.folder / RECORD).get("spec") or {}
        return spec.get("carrier") or {}

    @property
    def num_seeds(self) -> int:
        """How many seeds were run."""
        return len(self.replicates)

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric over seeds, or None where it is not known."""
        found: float | None = (self.summary.get(metric) or {}).get("mean")
        return found

    def variable(self, name: str) -> Any:
        """Return a grid variable, or ``classes`` or ``records`` of the data set.

        Raises
        ------
        UserError
            If there is no variable of that name.
        """
        if name in self.grid:
            return self.grid[name]
        if name in ("classes", "records") and name in self.dataset:
            return self.dataset[name]
        known = sorted({*self.grid, "classes", "records"})
        raise UserError(
            f"x: attack {self.name!r} has no variable {name!r}; it has "
            f"{', '.join(known)}"
        )

    def identity(self) -> dict[str, Any]:
        """Return the leading columns of this result's rows in ``data.csv``."""
        return {
            "attack": self.name,
            "dataset": self.dataset["name"],
            "stand_in_for": self.dataset.get("stand_in_for"),
            **self.grid,
        }


def load(
    folders: Iterable[str | Path],
    attacks: Sequence[str],
    draws: tuple[str, ...] = ("",),
    stand_ins: Mapping[str, str] = MappingProxyType({}),
) -> list[AttackResult]:
    """Read attack folders and bring them into the order of the legend.

    Parameters
    ----------
    folders : iterable of path
        One for every attack and grid point.
    attacks : sequence of str
        The names that the figure draws, in its order.
    draws : tuple of str, optional
        How the kinds of attack begin that the figure can draw.
    stand_ins : mapping of str to str, optional
        What data stand in for by the study's word, by the folder's name.

    Returns
    -------
    list of AttackResult
        Ordered by name as in `attacks`, then by data set and grid: numbers by size,
        anything else as in `folders`.

    Raises
    ------
    UserError
        If a named attack is missing, a folder holds another one, or an attack is of
        a kind that the figure cannot draw.
    """
    results = [
        AttackResult(folder, stand_ins.get(folder.name))
        for folder in map(Path, folders)
    ]
    for result in results:
        if result.name not in attacks:
            raise UserError(
                f"attacks: {result.folder} holds {result.name!r}, which this figure "
                f"does not draw ({', '.join(attacks)})"
            )
        refuse_undrawn(draws, result.name, result.kind)
    for name in attacks:
        if all(result.name != name for result in results):
            raise UserError(f"attacks: no result of {name!r} was given")
    keys = _grid_keys(results, ())
    ranks = [_ranks([result.dataset["name"] for result in results])]
    ranks += [_ranks([result.grid.get(key) for result in results]) for key in keys]
    order = sorted(
        range(len(results)),
        key=lambda index: (
            attacks.index(results[index].name),
            [rank[index] for rank in ranks],
        ),
    )
    return [results[index] for index in order]


def labels(
    results: Sequence[AttackResult], *, without: Collection[str] = ()
) -> list[str]:
    """Return what tells results apart, in words: data set, grid values, attack.

    Parameters
    ----------
    results : sequence of AttackResult
        The curves of one legend.
    without : collection of str, optional
        Grid variables that are shown otherwise, e.g. on an axis.

    Returns
    -------
    list of str
        A label for each result; the data set's name where nothing differs.
    """
    columns = [[source_words(result.dataset) for result in results]]
    for key in _grid_keys(results, without):
        columns.append([_setting(result, key) for result in results])
    columns.append([result.name for result in results])
    kept = [column for column in columns if len(set(column)) > 1]
    if len({*zip(*columns, strict=True)}) < len(results) and not without:
        kept.append([result.folder.name for result in results])
    rows = zip(*(kept or columns[:1]), strict=True)
    return [" · ".join(part for part in row if part) for row in rows]


def named(results: Sequence[AttackResult], *, data: bool = True) -> list[str]:
    """Return each attack's name, then what else tells results apart.

    Parameters
    ----------
    results : sequence of AttackResult
        What a figure draws.
    data : bool, optional
        Whether data sets that differ are named; not where a column does.

    Returns
    -------
    list of str
        E.g. ``lsb``, ``sign · strength 50``; ``l2 0.01`` of an attack ``l2``.
    """
    columns = [[result.name for result in results]]
    others = [[source_words(result.dataset) for result in results]] if data else []
    for key in _grid_keys(results, ()):
        others.append([_setting(result, key) for result in results])
    columns += [column for column in others if len(set(column)) > 1]
    rows = []
    for name, *parts in zip(*columns, strict=True):
        repeated = any(part.startswith(f"{name} ") for part in parts)
        rows.append([*([] if repeated else [name]), *parts])
    return [" · ".join(part for part in row if part) for row in rows]


def shared(results: Sequence[AttackResult], *, without: Collection[str] = ()) -> str:
    """Return what results have in common, in words: data, settings, seeds.

    A data set that stands in for another is always named as such.
    """
    parts = [data_words(results)]
    for key in _grid_keys(results, without):
        column = {_setting(result, key) for result in results}
        if len(column) == 1:
            parts += column
    seeds = sorted({result.num_seeds for result in results})
    count = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    parts.append("one seed" if seeds == [1] else f"{count} seeds")
    return " · ".join(part for part in parts if part)


def data_words(results: Sequence[AttackResult]) -> str:
    """Return the names of the data sets, stand-ins marked."""
    datasets = {result.dataset["name"]: result.dataset for result in results}
    # A grid over one source brings several titles, e.g. with other numbers of classes.
    titles = {result.dataset.get("title") for result in results}
    groups: dict[str | None, list[str]] = {}
    for name, dataset in datasets.items():
        title = dataset.get("title") or name
        words = title if len(titles) == 1 and len(title) <= 60 else name
        groups.setdefault(dataset.get("stand_in_for"), []).append(words)
    return "; ".join(
        ", ".join(names) + (f" (stand-in for {original})" if original else "")
        for original, names in groups.items()
    )


def remarks(results: Sequence[AttackResult]) -> list[str]:
    """Return the remarks on the data sets, each once.

    What holds for some of the data sets alone, or for some results on one of them,
    names which.
    """
    found: dict[str, list[int]] = {}
    for place, result in enumerate(results):
        for remark in dict.fromkeys(result.dataset.get("remarks") or ()):
            found.setdefault(remark, []).append(place)
    lines = []
    for remark, about in found.items():
        where = _where(results, about)
        lines.append(f"{where}: {remark}" if where else remark[:1].upper() + remark[1:])
    return [f"{line.rstrip('.')}." for line in lines]


def _where(results: Sequence[AttackResult], about: Sequence[int]) -> str:
    """Return which of the results these are, in words; nothing if they are all."""
    if len(about) == len(results):
        return ""
    sources = [result.dataset["name"] for result in results]
    own = list(dict.fromkeys(sources[place] for place in about))
    if sum(source in own for source in sources) == len(about):
        return ", ".join(own)
    names = named(results, data=False)
    return ", ".join(names[place] for place in about)


def told_apart(result: AttackResult) -> pd.DataFrame:
    """Return what an attack had to tell apart: columns replicate and member.

    Records; or, of property inference, updates while the property could occur, of
    which those that have it are the members.
    """
    scores = result.scores
    if "asked" in scores:
        scores = scores[scores["asked"]].rename(columns={"has_it": "member"})
    return scores[["replicate", "member"]].astype({"member": bool})


def non_members(result: AttackResult) -> int:
    """Return the non-members of a membership attack, of the seed with the fewest."""
    told = told_apart(result)
    return int((~told["member"]).groupby(told["replicate"]).sum().min())


def is_ordered(results: Sequence[AttackResult]) -> bool:
    """Return whether results differ by one number alone, e.g. training-set size."""
    keys = [
        key
        for key in _grid_keys(results, ())
        if len({_setting(result, key) for result in results}) > 1
    ]
    same = len({(result.name, result.dataset["name"]) for result in results}) == 1
    return (
        same
        and len(keys) == 1
        and all(is_number(result.grid.get(keys[0])) for result in results)
    )


def is_number(value: Any) -> bool:
    """Return whether `value` can stand on a numeric axis."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return math.isfinite(value)


def value_words(value: Any) -> str:
    """Return a grid value as text: ``1,200``, ``0.001``, ``yes``, ``l2``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        return f"{float(value):g}"
    if value is None:
        return "none"
    return str(value)


def points(change: float) -> str:
    """Return a difference of shares in percentage points, signed: ``−0.42``."""
    text = f"{100 * change:+.2f}".replace("-", "\N{MINUS SIGN}")
    return text if float(f"{100 * change:.2f}") else "0.00"


def percent(share: float) -> str:
    """Return a share in percent: ``97.56``, ``0``, or ``<0.01`` if not quite 0."""
    if share == 0:
        return "0"
    return f"{100 * share:.2f}" if share >= 5e-5 else "<0.01"


def grey_levels(error: float) -> str:
    """Return an error in grey levels: ``7.7``, ``0``, or ``<0.1`` if not quite 0."""
    if error == 0:
        return "0"
    return f"{error:.1f}" if error >= 0.05 else "<0.1"


def variable_words(name: str) -> str:
    """Return a grid variable as text: ``batch_size`` becomes ``batch size``."""
    return name.replace("_", " ")


def _setting(result: AttackResult, key: str) -> str:
    """Return ``1,200 members`` or ``defence l2``; nothing where it is not set."""
    if key not in result.grid:
        return ""
    value, words = result.grid[key], variable_words(key)
    if value == result.dataset["name"]:
        return ""  # said by the data set already
    if isinstance(value, numbers.Integral) and words.endswith("s"):
        return f"{value_words(value)} {words}"
    return f"{words} {value_words(value)}"


def source_words(dataset: dict[str, Any]) -> str:
    """Return the name of a data set, a stand-in marked."""
    original = dataset.get("stand_in_for")
    return dataset["name"] + (f", stand-in for {original}" if original else "")


def _grid_keys(results: Sequence[AttackResult], without: Collection[str]) -> list[str]:
    return sorted({key for result in results for key in result.grid} - {*without})


def _ranks(values: Sequence[Any]) -> list[float]:
    """Return sort keys: numbers by size, anything else by first appearance."""
    if all(is_number(value) for value in values):
        return [float(value) for value in values]
    return [float(values.index(value)) for value in values]
