"""Which batches had a property, by the updates seen: ``properties.passive``.

P3 (Melis et al., S&P 2019) Sec. IV-D. Everything is read from what the adversary kept
while the joint model was trained.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.roc import Curve, auc, roc_curve
from whatelse.models.outputs import about_dataset
from whatelse.properties.settings import Forest, Passive
from whatelse.seeding import stream
from whatelse.training.joint import about_joint, summary_of
from whatelse.training.observations import (
    AUXILIARY,
    CONTROLS,
    OBSERVATIONS,
    OBSERVED,
    load_observations,
)

Seen = dict[str, NDArray[Any]]

_SCORES = ("score_with", "score_without", "score_outside", "score_run")


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Judge what was observed of the target in every replicate."""
    settings = Passive.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    reports, scores, curves = [], [], []
    joint = about_joint(inputs)
    for number, (folder,) in enumerate(replicates_of(inputs, "observations")):
        seen = _observations(settings, folder)
        of_model, adversary = joint[number]
        rows = _judged(settings, seen, adversary, spec.seed, number, folder)
        rows["asked"] = _asked(rows, adversary)
        reports.append(
            {
                "replicate": number,
                **of_model,
                "attack": _found(rows, adversary),
                "property": adversary,
                "controls": {
                    kind: _control(settings, seen, name, what, spec.seed, number)
                    for kind, name, what in (
                        ("negative", "random", "batches by lot"),
                        ("positive", "planted", "batches of one record"),
                    )
                },
            }
        )
        scores.append(rows.assign(replicate=number))
        curves.append(_curve(rows, adversary).assign(replicate=number))
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {"replicates": reports, "summary": _summary(reports)},
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def _asked(rows: pd.DataFrame, adversary: dict[str, Any]) -> pd.Series:
    """Return which updates are told apart: those while the property may occur.

    Before and after it there is nothing to tell, and the model was another.
    """
    if adversary["during"] is None or adversary["tells_runs"]:
        return pd.Series(data=True, index=rows.index)
    first, end = adversary["during"]
    return rows["iteration"].between(first, end - 1)


def _found(rows: pd.DataFrame, adversary: dict[str, Any]) -> dict[str, Any]:
    """Return what was found of batches, and of the run as a whole (P3 Sec. IV-D).

    The latter is the mean score, to be held against that of other runs.
    """
    asked, outside = rows[rows["asked"]], rows[~rows["asked"]]
    known = asked["has_it"]
    means = {
        name: float(own.mean()) if len(own) else None
        for name, own in (
            ("score_with", asked["score"][known]),
            ("score_without", asked["score"][~known]),
            ("score_outside", outside["score"]),
            ("score_run", asked["score"]),
        )
    }
    whole = adversary["tells_runs"]
    return {"auc": None if whole else auc(asked["score"], known.to_numpy()), **means}


def _curve(rows: pd.DataFrame, adversary: dict[str, Any]) -> pd.DataFrame:
    if adversary["tells_runs"]:
        return pd.DataFrame(columns=Curve._fields, dtype=float)
    asked = rows[rows["asked"]]
    return pd.DataFrame(roc_curve(asked["score"], asked["has_it"].to_numpy())._asdict())


def _observations(settings: Passive, folder: Path) -> Seen:
    """Return what an adversary kept, as the classifier is given it.

    Raises
    ------
    UserError
        If there was none, or the file is not whole.
    """
    seen = load_observations(folder)
    controls = [f"{name}.{part}" for name in CONTROLS for part in ("fit", "test")]
    wanted = [f"{kind}.{part}" for kind in (OBSERVED, AUXILIARY, *controls)
              for part in ("features", "iteration", "has_it")]  # fmt: skip
    if missing := [name for name in wanted if name not in seen]:
        raise UserError(
            f"{folder / OBSERVATIONS}: no {missing[0]}; allowed: a joint model with an "
            "adversary of kind property"
        )
    for name, rows in seen.items():
        if not name.endswith(".features"):
            continue
        if settings.features == "moved":
            np.greater(rows, 0, out=rows)
        else:
            _scale(rows)
    return seen


def _judged(
    settings: Passive, seen: Seen, adversary: dict[str, Any], seed: int, number: int,
    folder: Path,
) -> pd.DataFrame:  # fmt: skip
    """Score every observed update by a classifier that learned elsewhere in time."""
    rows = pd.DataFrame(
        {
            "iteration": seen[f"{OBSERVED}.iteration"],
            "has_it": seen[f"{OBSERVED}.has_it"].astype(bool),
        }
    )
    one_kind = rows["has_it"].nunique() < 2
    if one_kind and not adversary["tells_runs"]:
        raise UserError(
            f"{folder}: every observed batch is of one kind; allowed: batches with the "
            "property and without"
        )
    stretch = adversary["stretch"]
    own = seen[f"{AUXILIARY}.iteration"] // stretch % 2
    theirs = rows["iteration"].to_numpy() // stretch % 2
    score = np.full(len(rows), np.nan)
    for fold in (0, 1):
        known = seen[f"{AUXILIARY}.has_it"][own != fold]
        if len(set(known.tolist())) < 2 or not (theirs == fold).any():
            raise UserError(
                f"{folder}: {len(rows)} observed iterations; allowed: at least "
                f"{2 * stretch}, from stretches of {stretch}"
            )
        model = _classifier(settings, seed, number, fold)
        model.fit(seen[f"{AUXILIARY}.features"][own != fold], known)
        asked = seen[f"{OBSERVED}.features"][theirs == fold]
        score[theirs == fold] = model.predict_proba(asked)[:, 1]
    return rows.assign(score=score)


def _control(
    settings: Passive, seen: Seen, name: str, what: str, seed: int,
    number: int,
) -> Control:  # fmt: skip
    """Run the same classifier on updates for which the answer is known."""
    model = _classifier(settings, seed, number, 2)
    model.fit(seen[f"{name}.fit.features"], seen[f"{name}.fit.has_it"])
    score = model.predict_proba(seen[f"{name}.test.features"])[:, 1]
    known = seen[f"{name}.test.has_it"].astype(bool)
    return control_of(f"{what}, in place of the property", score, known)


def _scale(rows: NDArray[np.float32]) -> None:
    """Make rows of length 1, in place: how large an update is says nothing of its kind.

    In place because they may fill the memory that the study allows.
    """
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    np.divide(rows, length, out=rows, where=length > 0)


def _classifier(settings: Passive, seed: int, number: int, fold: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    chosen = settings.classifier
    if isinstance(chosen, Forest):
        state = int(stream(seed, "classifier", number, fold).integers(2**31))
        model: Any = RandomForestClassifier(
            chosen.trees, min_samples_leaf=chosen.min_leaf, random_state=state
        )
    else:
        model = LogisticRegression(C=chosen.strength, max_iter=1000)
    # rows are copies, or asked once
    return make_pipeline(StandardScaler(copy=False), model)


def _summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    attack = [report["attack"] for report in reports]
    columns = {
        "auc": [own["auc"] and own["auc"]["value"] for own in attack],
        **{name: [own[name] for own in attack] for name in _SCORES},
        **{
            name: [report["property"][name] for report in reports]
            for name in ("task_correlation", "task_pearson")
        },
    }
    known = {name: own for name, own in columns.items() if own.count(None) < len(own)}
    return summary_of(reports, known)
