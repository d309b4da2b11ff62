"""Per-record risk: how well membership of each record is told, over many models.

Targets and reference models are trained alike, each on a half of the same records
(``split: halves``). The risk of a record is the chance that a model which was trained
on it is surer of it than one which was not: the area under the ROC, over models, of a
test of this record alone. It is .5 where the record leaves no trace, and 1 where every
model that had it can be told.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import Rate
from whatelse.measures.roc import aucs
from whatelse.measures.spread import spread
from whatelse.membership.reference import plant
from whatelse.membership.reports import accuracies
from whatelse.membership.settings import Risk, settings_of
from whatelse.models.signals import Signal, Signals, load_signals
from whatelse.seeding import stream

SIGNAL: Signal = "margin"
_VALUES = 2**21  # of a chunk of records
_EXPOSED = 10  # one in so many
_MOST_GROUPS = 50
_POINTS = 2000  # of the sorted risks
_NAMED = 5  # features of a row

Matrix = NDArray[np.float32] | NDArray[np.float64]
Flags = NDArray[np.bool_]


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Measure the risk of each record from the signals of all models."""
    settings = settings_of(spec)
    references = load_signals(inputs["references"], SIGNAL)
    if settings.references is not None:
        references = references.of(slice(settings.references))
    targets = [load_signals(own, SIGNAL) for own in replicates_of(inputs, "signals")]
    dataset = open_dataset(inputs["data"][0])
    return evaluate(settings, targets, references, dataset, seed=spec.seed)


def evaluate(
    settings: Risk, targets: Sequence[Signals], references: Signals, dataset: Dataset,
    *, seed: int,
) -> Findings:  # fmt: skip
    """Measure the risk of each record, with both controls.

    Parameters
    ----------
    settings : Risk
        How many records are shown, and by what they are grouped.
    targets : sequence of Signals
        One a replicate, each of a single model.
    references : Signals
        Of the reference models, in pairs that complement each other.
    dataset : Dataset
        What the records are.
    seed : int
        The study's seed.

    Returns
    -------
    Findings
        ``scores.parquet`` has a row a record, ``curves.csv`` the risks in falling
        order beside those that chance alone gives.

    Raises
    ------
    UserError
        If too few models had a record, or did not have it, or there is no such group.
    """
    pool = np.flatnonzero(references.pool)
    every = [*targets, references]
    margin = np.concatenate([own.values[:, pool, 0] for own in every])
    train = np.concatenate([own.train[:, pool] for own in every])
    # Pairs complement each other: either half of them is balanced.
    second = np.concatenate(
        [
            np.arange(len(targets)) % 2 == 1,
            np.arange(len(references.model)) // 2 % 2 == 1,
        ]
    )
    pairs = np.arange(len(references.model)) // 2 + len(targets)
    pairs = np.append(np.arange(len(targets)), pairs)
    halves = [
        (margin[own], train[own], np.unique(pairs[own], return_inverse=True)[1])
        for own in (~second, second)
    ]
    if any((own.sum(0).min() < 1) or (~own).sum(0).min() < 1 for _, own, _ in halves):
        raise UserError(
            "models.shadows: some records are in no model of a half of them, or in "
            "all; allowed: more reference models"
        )
    rows = pd.DataFrame(
        {"replicate": 0, "record": pool, "label": references.label[pool]}
    )
    rows["risk"], rows["low"], rows["high"] = risks(margin, train, pairs)
    rows["first_half"], rows["second_half"] = (risks(*half)[0] for half in halves)
    rows["models_with"], rows["models_without"] = train.sum(0), (~train).sum(0)
    rows["shift"] = _mean(margin, train) - _mean(margin, ~train)
    order = np.lexsort((-rows["shift"], -rows["risk"]))
    rows.loc[order, "place"] = np.arange(1, len(rows) + 1)
    rows["place"] = rows["place"].astype(np.int64)
    # memberships of another record each, with which its answers have nothing to do
    lent = stream(seed, "risk", "lent").permutation(len(pool))
    others = np.empty_like(train)
    others[:, lent] = train[:, np.roll(lent, 1)]
    chance = _by_chance(every, train[:, lent], (margin, others), pairs)
    classes = len(references.about["class_names"])
    paired, lent_pairs = margin[len(targets) :], others[len(targets) :]
    planted = plant(SIGNAL, paired, lent_pairs, classes)
    correct = np.concatenate([own.correct[:, pool] for own in every])
    report = {
        "replicate": 0,
        "models": len(margin),
        "target": accuracies(correct, train),
        "risk": _measures(rows, chance),
        "per_class": _by_class(rows, references.about["class_names"]),
        "per_group": {name: _by_group(rows, dataset, name) for name in settings.groups},
        "controls": {
            "negative": _control("memberships of other records", paired, lent_pairs),
            "positive": _control(
                "a leak planted for memberships of other records", planted, lent_pairs
            ),
        },
    }
    about = _shown(dataset, rows, settings.shown)
    return Findings(
        references.about,
        {"replicates": [report], "summary": _summary(report)},
        rows.join(about),
        _falling(rows, chance),
    )


def risks(
    margin: Matrix, train: Flags, pairs: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:  # fmt: skip
    """Return the risk of each record with the ends of its 95% interval over models.

    What is in one model of a pair is not in the other, records like this one too, so
    that the two depend on each other.

    Parameters
    ----------
    margin : ndarray of float, shape (models, records)
        How sure each model is of each record's true class.
    train : ndarray of bool, shape (models, records)
        Whether it was trained on it.
    pairs : ndarray of int64, shape (models,)
        Which models are complements, by number; a target is alone.

    Returns
    -------
    risk, low, high : ndarray of float64, shape (records,)
    """
    models, records = margin.shape
    found = np.empty((3, records))
    size = max(1, _VALUES // models)
    for start in range(0, records, size):
        part = slice(start, start + size)
        found[:, part] = aucs(margin[:, part], train[:, part], pairs)
    return tuple(found)


def _by_chance(
    every: Sequence[Signals],
    train: Flags,
    otherwise: tuple[Matrix, Flags],
    pairs: NDArray[np.int64],
) -> pd.DataFrame:
    """Return the risks of records that no model was trained on, which have none.

    Those of the population, under memberships of other records; where there is no
    population, of the records themselves under such memberships.
    """
    population = np.flatnonzero(~every[0].pool)
    if len(population):
        margin = np.concatenate([own.values[:, population, 0] for own in every])
        rows = np.arange(len(population)) % train.shape[1]
        otherwise = margin, train[:, rows]
    risk, low, _ = risks(*otherwise, pairs)
    return pd.DataFrame({"risk": risk, "low": low})


def _mean(values: Matrix, chosen: Flags) -> NDArray[np.float64]:
    """Return the means over chosen models, shape (records,)."""
    return np.asarray(np.where(chosen, values, 0.0).sum(0, np.float64) / chosen.sum(0))


def _control(what: str, margin: Matrix, train: Flags) -> Control:
    """Return how well memberships are told, all records and pairs together.

    By how much surer the first model of a pair is than the second: records differ more
    than membership makes, and the two have opposite memberships.
    """
    first = margin[0::2].astype(np.float64) - margin[1::2]
    return control_of(what, first.ravel(), train[0::2].ravel())


def _measures(rows: pd.DataFrame, chance: pd.DataFrame) -> dict[str, Any]:
    """Return what is said of all records together.

    The most exposed are chosen by one half of the models and measured by the other:
    who came out on top by chance does so once.
    """
    first, second = rows["first_half"].to_numpy(), rows["second_half"].to_numpy()
    most = max(1, len(rows) // _EXPOSED)
    chosen = [np.argsort(-own, kind="stable")[:most] for own in (first, second)]
    return {
        "risk_mean": {"value": float(rows["risk"].mean())},
        "risk_of_exposed": {
            "value": float((second[chosen[0]].mean() + first[chosen[1]].mean()) / 2)
        },
        "risk_agreement": rank_correlation(first, second),
        "exposed_share": {"value": float((rows["low"] > 0.5).mean())},
        "exposed_by_chance": {"value": float((chance["low"] > 0.5).mean())},
    }


def rank_correlation(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> Rate:  # fmt: skip
    """Return Spearman's rank correlation with its 95% interval over records.

    By Fisher's transformation with the variance of Fieller et al. (Biometrika 44,
    1957), 1.06 / (records - 3).
    """
    from scipy.stats import spearmanr

    value = 0.0
    if np.ptp(first) and np.ptp(second):  # else it is not defined
        value = float(spearmanr(first, second).statistic)
    reach = float(ndtri(0.975)) * np.sqrt(1.06 / max(len(first) - 3, 1))
    middle = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
    low, high = (float(np.tanh(middle + sign * reach)) for sign in (-1, 1))
    return Rate(value=value, low=low, high=high)


def _by_class(rows: pd.DataFrame, names: Sequence[str]) -> list[dict[str, Any]]:
    labels = rows["label"].to_numpy()
    return [
        {
            "class": int(label),
            "name": str(names[label]),
            **_of_group(rows["risk"][labels == label]),
        }
        for label in np.unique(labels)
    ]


def _by_group(rows: pd.DataFrame, dataset: Dataset, name: str) -> list[dict[str, Any]]:
    attributes = dataset.attributes
    if name not in attributes:
        raise UserError(
            f"attack groups: the data set has no attribute {name!r}; allowed: "
            f"{', '.join(attributes.columns)}"
        )
    values = attributes[name].to_numpy()[rows["record"]]
    if (count := len(pd.unique(values))) > _MOST_GROUPS:
        raise UserError(
            f"attack groups: {name!r} has {count} values; allowed: at most "
            f"{_MOST_GROUPS}"
        )
    return [
        {"name": str(value), **_of_group(own)}
        for value, own in rows["risk"].groupby(values, sort=True)
    ]


def _of_group(risk: "pd.Series[float]") -> dict[str, Any]:
    """Return the mean risk of a group, its t-interval over records, the highest.

    One record has no interval.
    """
    count, mean = len(risk), float(risk.mean())
    found: dict[str, Any] = {"records": count, "risk": None, "highest": risk.max()}
    if count > 1:
        reach = float(stdtrit(count - 1, 0.975)) * float(risk.std()) / np.sqrt(count)
        found["risk"] = Rate(
            value=mean, low=max(mean - reach, 0.0), high=min(mean + reach, 1.0)
        )
    return found


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {**report["target"], **report["risk"]}
    return {name: spread([found["value"]]) for name, found in numbers.items()}


def _falling(rows: pd.DataFrame, chance: pd.DataFrame) -> pd.DataFrame:
    """Return risks in falling order, with intervals, and those of chance alone.

    Of these there may be more or fewer: they stand at equal shares.
    """
    ordered = rows.sort_values("place")
    places = np.unique(
        np.linspace(0, len(rows) - 1, min(len(rows), _POINTS)).round().astype(np.int64)
    )
    share = (places + 0.5) / len(rows)
    return pd.DataFrame(
        {
            "replicate": 0,
            "share": share,
            **{
                name: ordered[name].to_numpy()[places]
                for name in ("risk", "low", "high")
            },
            "chance": np.quantile(chance["risk"], 1 - share),
        }
    )


# ---- what records are


def _shown(dataset: Dataset, rows: pd.DataFrame, number: int) -> pd.DataFrame:
    """Return pictures or words of the records at both ends, and nothing of others."""
    ends = rows[(rows["place"] <= number) | (rows["place"] > len(rows) - number)]
    records = ends["record"].to_numpy()
    found: dict[str, list[Any]] = {}
    if dataset.num_words is not None and not dataset.is_sparse:
        vocabulary = dataset.info["vocabulary"]
        found["words"] = [
            " ".join(str(vocabulary[word - 1]) for word in row if word)
            for row in np.asarray(dataset.inputs[records], dtype=np.int64)
        ]
    elif len(dataset.inputs.shape) == 4:
        values = dataset.floats(records)
        low, high = values.min(), values.max()
        pixels = np.rint((values - low) * (255 / max(high - low, 1e-9))).astype(
            np.uint8
        )
        found["picture"] = [picture.tobytes() for picture in pixels]
        found["shape"] = [",".join(map(str, pixels.shape[1:]))] * len(pixels)
    else:
        found["words"] = _unusual(dataset, records)
    return pd.DataFrame(found, index=ends.index)


def _unusual(dataset: Dataset, records: NDArray[np.int64]) -> list[str]:
    """Return the features by which rows differ most from the mean of all."""
    if dataset.is_sparse:
        raw = dataset.inputs
        mean = np.asarray(raw.mean(axis=0)).ravel()
        square = np.asarray(raw.multiply(raw).mean(axis=0)).ravel()
        deviation = np.sqrt(np.maximum(square - mean**2, 0))
        own = raw[records].toarray()
    else:
        flat = np.asarray(dataset.inputs).reshape(dataset.num_records, -1)
        mean, deviation = flat.mean(0, np.float64), flat.std(0, np.float64)
        own = flat[records]
    score = np.abs(own - mean) / np.where(deviation > 0, deviation, np.inf)
    names = dataset.info.get("feature_names") or dataset.info.get("vocabulary")
    names = names or [f"feature {number}" for number in range(own.shape[1])]
    best = np.argsort(-score, axis=1, kind="stable")[:, :_NAMED]
    return [
        ", ".join(f"{names[column]} = {row[column]:g}" for column in columns)
        for row, columns in zip(own, best, strict=True)
    ]
