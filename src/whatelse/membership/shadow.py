"""P1's attack model, one for each class, trained on the outputs of shadow models.

Shokri et al., S&P 2017, Sec. V: rows are (output vector, in or out) of the shadows on
their own training and held-out records, split by true class.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from whatelse.errors import UserError
from whatelse.membership.settings import Boosting, Forest, NeuralAttackModel, Shadow
from whatelse.models.outputs import Outputs
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build
from whatelse.seeding import stream
from whatelse.training.ensemble import TrainingData, train

NEEDS_SHADOWS = True
_POOLED = -1
Name = tuple[int | str, ...]


class Scorer:
    """Fitted attack models.

    Parameters
    ----------
    settings : Shadow
        The attack's.
    shadows : Outputs
        Rows of shadow models on their own training and held-out records.
    seed : int
        The study's seed.
    name : tuple
        Names this fit among the streams of the seed, e.g. its replicate.

    Raises
    ------
    UserError
        If a class has too few rows of a kind and `settings` does not pool.
    """

    def __init__(
        self, settings: Shadow, shadows: Outputs, *, seed: int, name: Name
    ) -> None:  # fmt: skip
        self.settings = settings
        self._model_of_class, rows = _rows_of_models(settings, shadows)
        chosen = settings.attack_model
        if isinstance(chosen, NeuralAttackModel):
            self._score = _fit_nets(chosen, shadows, rows, seed, name)
        else:
            self._score = _fit_trees(chosen, shadows, rows, seed, name)

    def score(self, outputs: Outputs) -> NDArray[np.float32]:
        """Return the log-odds of "in", shape (rows,); above 0 means member."""
        return self._score(outputs.probabilities, self._model_of_class[outputs.label])

    def decide(self, scores: NDArray[np.float32], outputs: Outputs) -> NDArray[np.bool_]:  # fmt: skip  # noqa: E501
        """Return the decision for each row, shape (rows,)."""
        return scores > 0


def _rows_of_models(
    settings: Shadow, shadows: Outputs
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Return which attack model serves each class, and each one's training rows."""
    classes = shadows.probabilities.shape[1]
    counts = np.zeros((classes, 2), dtype=np.int64)
    np.add.at(counts, (shadows.label, shadows.member.astype(int)), 1)
    sparse = np.flatnonzero(counts.min(1) < settings.min_rows)
    if len(sparse) and settings.sparse_classes == "refuse":
        outs, ins = counts[sparse[0]]
        raise UserError(
            f"attack min_rows: class {sparse[0]} has {ins} member and {outs} "
            f"non-member rows from the shadows ({len(sparse)} such classes); allowed: "
            f"at least {settings.min_rows} of each, or sparse_classes: pool"
        )
    order = np.argsort(shadows.label, kind="stable")
    starts = np.searchsorted(shadows.label[order], np.arange(classes + 1))
    model_of_class = np.full(classes, _POOLED)
    rows: list[NDArray[np.int64]] = []
    for label in np.setdiff1d(np.arange(classes), sparse):
        model_of_class[label] = len(rows)
        rows.append(order[starts[label] : starts[label + 1]])
    if len(sparse):
        outs, ins = counts.sum(0)
        if min(outs, ins) < settings.min_rows:
            raise UserError(
                f"attack min_rows: all classes together have {ins} member and {outs} "
                "non-member rows from the shadows; allowed: at least "
                f"{settings.min_rows} of each"
            )
        model_of_class[sparse] = len(rows)
        rows.append(np.arange(len(shadows.label)))
    return model_of_class, rows


def _fit_nets(
    settings: NeuralAttackModel,
    shadows: Outputs,
    rows: Sequence[NDArray[np.int64]],
    seed: int,
    name: Name,
) -> Any:
    """Train all attack models as one ensemble."""
    architecture = build(
        Mlp(kind="mlp", hidden=settings.hidden, activation="relu"),
        shadows.probabilities.shape[1:],
        2,
    )
    data = TrainingData(
        torch.from_numpy(shadows.probabilities),
        torch.from_numpy(shadows.member.astype(np.int64)),
    )
    parameters = train(
        architecture,
        settings.training,
        data,
        rows,
        streams=[("attack", *name, number) for number in range(len(rows))],
        seed=seed,
        strategy="stacked",
    )

    def score(
        probabilities: NDArray[np.float32], model: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        # Rows of each model side by side, padded to the longest: one forward pass.
        order = np.argsort(model, kind="stable")
        sizes = np.bincount(model, minlength=len(rows))
        place = np.arange(len(model)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        shape = (len(rows), max(sizes.max(), 1), probabilities.shape[1])
        padded = np.zeros(shape, dtype=np.float32)
        padded[model[order], place] = probabilities[order]
        with torch.inference_mode():
            logits = architecture.forward(parameters, torch.from_numpy(padded))
        odds = (logits[..., 1] - logits[..., 0]).numpy()
        result = np.empty(len(model), dtype=np.float32)
        result[order] = odds[model[order], place]
        return result

    return score


def _fit_trees(
    settings: Forest | Boosting,
    shadows: Outputs,
    rows: Sequence[NDArray[np.int64]],
    seed: int,
    name: Name,
) -> Any:
    """Fit scikit-learn's trees, one model after the other."""
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

    fitted = []
    for number, own in enumerate(rows):
        state = int(stream(seed, "attack", *name, number).integers(2**31))
        if isinstance(settings, Forest):
            model = RandomForestClassifier(
                settings.trees, min_samples_leaf=settings.min_leaf, random_state=state
            )
        else:
            model = HistGradientBoostingClassifier(
                max_iter=settings.rounds, learning_rate=settings.learning_rate,
                random_state=state,
            )  # fmt: skip
        fitted.append(model.fit(shadows.probabilities[own], shadows.member[own]))

    def score(
        probabilities: NDArray[np.float32], model: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        result = np.empty(len(model), dtype=np.float32)
        for number in np.unique(model):
            own = model == number
            inside = fitted[number].predict_proba(probabilities[own])
            column = list(fitted[number].classes_).index(True)
            chance = np.clip(inside[:, column].astype(np.float64), 1e-6, 1 - 1e-6)
            result[own] = np.log(chance / (1 - chance))
        return result

    return score
