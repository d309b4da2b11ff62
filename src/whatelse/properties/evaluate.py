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
from whatelse.measures.roc import auc, roc_curve
from whatelse.models.outputs import about_dataset
from whatelse.properties.settings import Forest, Passive
from whatelse.seeding import stream
from whatelse.training.joint import about_joint, summary_of
from whatelse.training.observations import (
    AUXILIARY,
    CONTROLS,
    OBSERVATIONS,
    OBSERVED,
    STRETCH,
    load_observations,
)

Seen = dict[str, NDArray[Any]]


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Judge what was observed of the target in every replicate."""
    settings = Passive.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    reports, scores, curves = [], [], []
    joint = about_joint(inputs)
    for number, (folder,) in enumerate(replicates_of(inputs, "observations")):
        seen = _observations(folder)
        of_model, adversary = joint[number]
        rows = _judged(settings, seen, spec.seed, number, folder)
        known = rows["has_it"].to_numpy()
        reports.append(
            {
                "replicate": number,
                **of_model,
                "attack": {
                    "auc": auc(rows["score"], known),
                    "score_with": float(rows["score"][known].mean()),
                    "score_without": float(rows["score"][~known].mean()),
                },
                "property": adversary,
                "controls": {
                    kind: _control(settings, seen, name, what, spec.seed, number)
                    for kind, name, what in (
                        ("negative", "random", "batches by lot"),
                        ("positive", "planted", "batches of the task's first class"),
                    )
                },
            }
        )
        scores.append(rows.assign(replicate=number))
        curve = roc_curve(rows["score"], known)
        curves.append(
            pd.DataFrame({"replicate": number, "fpr": curve.fpr, "tpr": curve.tpr})
        )
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {"replicates": reports, "summary": _summary(reports)},
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def _observations(folder: Path) -> Seen:
    """Return what an adversary kept.

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
    return seen


def _judged(
    settings: Passive, seen: Seen, seed: int, number: int, folder: Path
) -> pd.DataFrame:
    """Score every observed update by a classifier that learned elsewhere in time."""
    rows = pd.DataFrame(
        {
            "iteration": seen[f"{OBSERVED}.iteration"],
            "has_it": seen[f"{OBSERVED}.has_it"].astype(bool),
        }
    )
    own = seen[f"{AUXILIARY}.iteration"] // STRETCH % 2
    theirs = rows["iteration"].to_numpy() // STRETCH % 2
    score = np.full(len(rows), np.nan)
    for fold in (0, 1):
        known = seen[f"{AUXILIARY}.has_it"][own != fold]
        if len(set(known.tolist())) < 2 or not (theirs == fold).any():
            raise UserError(
                f"{folder}: {len(rows)} observed iterations; allowed: at least "
                f"{2 * STRETCH}, from stretches of {STRETCH}"
            )
        model = _classifier(settings, seed, number, fold)
        model.fit(_scaled(seen[f"{AUXILIARY}.features"])[own != fold], known)
        asked = _scaled(seen[f"{OBSERVED}.features"])[theirs == fold]
        score[theirs == fold] = model.predict_proba(asked)[:, 1]
    if rows["has_it"].all() or not rows["has_it"].any():
        raise UserError(
            f"{folder}: every observed batch is of one kind; allowed: batches with the "
            "property and without"
        )
    return rows.assign(score=score)


def _control(
    settings: Passive, seen: Seen, name: str, what: str, seed: int,
    number: int,
) -> Control:  # fmt: skip
    """Run the same classifier on updates for which the answer is known."""
    model = _classifier(settings, seed, number, 2)
    model.fit(_scaled(seen[f"{name}.fit.features"]), seen[f"{name}.fit.has_it"])
    score = model.predict_proba(_scaled(seen[f"{name}.test.features"]))[:, 1]
    known = seen[f"{name}.test.has_it"].astype(bool)
    return control_of(f"{what}, in place of the property", score, known)


def _scaled(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows of length 1: how large an update is says nothing of its records."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


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
    return make_pipeline(StandardScaler(), model)


def _summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    columns = {
        "auc": [report["attack"]["auc"]["value"] for report in reports],
        "score_with": [report["attack"]["score_with"] for report in reports],
        "score_without": [report["attack"]["score_without"] for report in reports],
        "task_correlation": [r["property"]["task_correlation"] for r in reports],
    }
    return summary_of(reports, columns)
