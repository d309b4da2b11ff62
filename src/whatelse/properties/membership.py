"""Whose words all occurred in one batch: ``properties.membership``.

P3 (Melis et al., S&P 2019) Sec. IV-B: the rows of an embedding that a batch moves are
the words in it, so a record that was in a batch has all its words there. Recall is 1
where every word of a batch moves; how many others fit as well grows with the batch.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whatelse.datasets.store import open_dataset
from whatelse.datasets.vocabulary import bags_of_words, vocabulary_of
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import rate
from whatelse.measures.roc import auc, roc_curve
from whatelse.models.outputs import about_dataset
from whatelse.properties.settings import Membership
from whatelse.seeding import stream
from whatelse.training.joint import about_joint, summary_of
from whatelse.training.observations import (
    MEMBERS,
    OBSERVATIONS,
    OWN,
    SEEN,
    STRANGERS,
    load_observations,
)

_AT_ONCE = 512  # rounds
_BATCH = 8  # records of a control's batch: few, so that little fits by chance
_PLAIN = ("words_seen", "dense_rounds")


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Judge the same number of members and strangers in every replicate."""
    settings = Membership.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    words = len(vocabulary_of(dataset))
    reports, scores, curves = [], [], []
    joint = about_joint(inputs)
    for number, (folder,) in enumerate(replicates_of(inputs, "observations")):
        of_model, adversary = joint[number]
        seen = _observations(folder)
        rng = stream(spec.seed, "membership", number)
        rows, member = _half_each(
            seen[MEMBERS], seen[STRANGERS], settings.records // 2, dataset.inputs, rng
        )
        bags = bags_of_words(np.asarray(dataset.inputs[rows]), words)
        score = coverage(bags, seen[SEEN])
        called = score == 1
        counts = np.bitwise_count(seen[SEEN]).sum(1)
        # More words than fit into a batch, or all there are: nothing can be read.
        full = (counts > adversary["most_words"]) | (counts == words)
        reports.append(
            {
                "replicate": number,
                **of_model,
                "attack": {
                    "precision": rate(int((called & member).sum()), int(called.sum())),
                    "recall": rate(int((called & member).sum()), int(member.sum())),
                    "auc": auc(score, member),
                    "words_seen": float(counts.mean()),
                    "dense_rounds": float(full.mean()),
                },
                "controls": {
                    "negative": _control(
                        "the adversary's own records as members, whose words it "
                        "took off what moved",
                        *_own(seen, dataset.inputs, words, int(member.sum()), rng),
                        seen[SEEN],
                    ),
                    "positive": _control(
                        f"batches of {_BATCH} members, read from the data",
                        bags, member,
                        _batches(dataset.inputs, rows[member], words, rng),
                    ),
                },
            }
        )  # fmt: skip
        scores.append(
            pd.DataFrame(
                {"replicate": number, "row": rows, "member": member, "score": score}
            )
        )
        curve = roc_curve(score, member)
        curves.append(pd.DataFrame({"replicate": number, **curve._asdict()}))
    told = about_dataset(dataset.info["name"], dataset.info)
    dense = max(report["attack"]["dense_rounds"] for report in reports)
    return Findings(
        {**told, "remarks": [*(told.get("remarks") or ()), *_remarks(dense)]},
        {"replicates": reports, "summary": _summary(reports)},
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def coverage(bags: Any, packed: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the largest share of each record's words that one round had.

    Parameters
    ----------
    bags : sparse array, shape (R, V)
        Which words each record has, one at least.
    packed : ndarray of uint8, shape (T, ceil(V / 8))
        Which words each round had, a bit each.

    Returns
    -------
    ndarray of float64, shape (R,)
        1 where all were in a round together, exactly.
    """
    most = np.zeros(bags.shape[0])
    words = bags.shape[1]
    for start in range(0, len(packed), _AT_ONCE):
        part = packed[start : start + _AT_ONCE]
        had = np.unpackbits(part, axis=1, count=words).T.astype(np.float32)
        most = np.maximum(most, (bags @ had).max(1))
    return most / np.asarray(bags.sum(1), dtype=np.float64)


def _observations(folder: Path) -> dict[str, NDArray[Any]]:
    """Return what an adversary kept.

    Raises
    ------
    UserError
        If it was of another kind, or the file is not whole.
    """
    seen = load_observations(folder)
    for name in (SEEN, MEMBERS, OWN, STRANGERS):
        if name not in seen:
            raise UserError(
                f"{folder / OBSERVATIONS}: no {name}; allowed: a joint model with an "
                "adversary of kind membership"
            )
    return seen


def _half_each(
    members: NDArray[np.int64], strangers: NDArray[np.int64], most: int,
    inputs: NDArray[Any], rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:  # fmt: skip
    """Draw as many of either, which have words: half is what a guess gets right."""
    pools = [own[np.asarray(inputs[own]).any(1)] for own in (members, strangers)]
    count = min(most, *map(len, pools))
    if count < 1:
        raise UserError(
            "records: no member or no record held out has words; allowed: some of both"
        )
    rows = np.concatenate([rng.permutation(pool)[:count] for pool in pools])
    return rows, np.arange(2 * count) < count


def _own(
    seen: dict[str, NDArray[Any]], inputs: NDArray[Any], words: int, count: int,
    rng: np.random.Generator,
) -> tuple[Any, NDArray[np.bool_]]:  # fmt: skip
    """Return the adversary's own records and as many strangers."""
    rows, own = _half_each(seen[OWN], seen[STRANGERS], count, inputs, rng)
    return bags_of_words(np.asarray(inputs[rows]), words), own


def _batches(
    inputs: NDArray[Any], rows: NDArray[np.int64], words: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Return the words of small batches, a bit each."""
    order = rng.permutation(rows)
    batches = np.array_split(order, max(1, len(order) // _BATCH))
    numbers = np.repeat(np.arange(len(batches)), [len(batch) for batch in batches])
    own = bags_of_words(np.asarray(inputs[order]), words).tocoo()
    bits = np.zeros((len(batches), words), dtype=np.uint8)
    bits[numbers[own.coords[0]], own.coords[1]] = 1
    return np.packbits(bits, axis=1)


def _control(
    what: str, bags: Any, member: NDArray[np.bool_], packed: NDArray[np.uint8]
) -> Control:
    """Run the same decision where the answer is known."""
    score = coverage(bags, packed)
    return control_of(what, score, member)


def _remarks(dense: float) -> list[str]:
    if not dense:
        return []
    return [
        f"in {dense:.0%} of the rounds more words moved than a batch can have, or all "
        "words: a dense gradient of the embedding (weight decay, noise), or a batch "
        "that has every word; either says nothing"
    ]


def _summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    attack = [report["attack"] for report in reports]
    columns = {
        **{
            name: [own[name]["value"] if own[name] else None for own in attack]
            for name in ("precision", "recall", "auc")
        },
        **{name: [own[name] for own in attack] for name in _PLAIN},
    }
    return summary_of(reports, columns)
