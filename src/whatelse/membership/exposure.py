"""How far a language model has memorised phrases: ``membership.exposure``.

Carlini et al., USENIX Security 2019, Sec. 4: a phrase is ranked, by its probability,
among others drawn in the same way. Exposure is log2 of how many there are, less log2 of
its rank: near 1.4 in the mean for what was never seen, for any number of others.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from whatelse.datasets.phrases import PHRASE, random_phrases
from whatelse.datasets.store import Dataset, known_attributes, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import control_of
from whatelse.measures.roc import auc
from whatelse.measures.spread import spread
from whatelse.membership.settings import settings_of
from whatelse.models.outputs import about_dataset
from whatelse.seeding import stream
from whatelse.training.blocks import Block, load_block
from whatelse.training.next_word import language_model, targets_of

_MOST = 2**23  # probabilities of a pass


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Rank the phrases of a data set by the target of every replicate.

    Raises
    ------
    UserError
        If there are no phrases, models are none of language, or a target learned from
        all of them or none.
    """
    settings = settings_of(spec)
    (folder,) = inputs["data"]
    dataset = open_dataset(folder)
    first, phrases = _phrases(dataset)
    rng = stream(spec.seed, "alternatives")
    others = random_phrases(
        rng, settings.alternatives, phrases.shape[1], dataset.num_classes - 1
    )
    reports, rows = [], []
    for number, folders in enumerate(replicates_of(inputs, "models")):
        block = load_block(folders[0])
        member = block.plan.train[0, first]
        _refuse_alike(number, member)
        scores, usual = (log_probabilities(block, words) for words in (phrases, others))
        exposures = exposures_of(scores, usual)
        reports.append(_report(number, scores, usual, member, exposures))
        rows.append(
            pd.DataFrame(
                {
                    "replicate": number,
                    "record": first,
                    "member": member,
                    "score": scores,
                    "exposure": exposures,
                }
            )
        )
    table = pd.concat(rows, ignore_index=True)
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {"replicates": reports, "summary": _summary(reports)},
        table,
        table[["replicate", "member", "exposure"]],
    )


def exposures_of(
    scores: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the exposure of each phrase, in bits, shape (phrases,).

    Parameters
    ----------
    scores : ndarray of float64, shape (phrases,)
        Log-probabilities.
    others : ndarray of float64, shape (others,)
        Those of phrases that nobody wrote. Where equal, they rank first.
    """
    ordered = np.sort(others)
    ahead = len(ordered) - np.searchsorted(ordered, scores, side="left")
    return np.asarray(math.log2(len(ordered) + 1) - np.log2(ahead + 1))


def log_probabilities(block: Block, phrases: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the target's log-probability of each phrase after its first word.

    Parameters
    ----------
    block : Block
        Its first model is the target.
    phrases : ndarray of int64, shape (phrases, words)
        Word numbers, from 1.
    """
    model = language_model(block.architecture)
    parameters = {name: value[:1] for name, value in block.parameters.items()}
    length = phrases.shape[1] - 1
    at_once = max(1, _MOST // (length * model.num_classes))
    found = []
    for part in torch.from_numpy(phrases).split(at_once):
        words_BL = part[:, :-1].float()
        targets_BL1 = targets_of(words_BL, part[:, -1]).unsqueeze(-1)
        with torch.inference_mode():
            logits_BLC = model.all_logits(parameters, words_BL.unsqueeze(0))[0]
            said_BL1 = logits_BLC.double().log_softmax(-1).gather(-1, targets_BL1)
        found.append(said_BL1.sum((1, 2)))
    scores: NDArray[np.float64] = torch.cat(found).numpy()
    return scores


def _phrases(dataset: Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first record of each phrase, and its words."""
    if PHRASE not in known_attributes(dataset):
        raise UserError(
            f"attack kind: membership.exposure: {dataset.info['name']} has no phrases; "
            "allowed: models on a data set by preprocess: {kind: phrases}"
        )
    number = dataset.attributes[PHRASE].to_numpy(dtype=np.int64)
    first = np.unique(number, return_index=True)[1][1:]
    rows = np.asarray(dataset.inputs[first], dtype=np.int64)
    length = int((rows[0] > 0).sum())
    return first, np.column_stack([rows[:, :length], dataset.labels[first]])


def _refuse_alike(number: int, member: NDArray[np.bool_]) -> None:
    inside = int(member.sum())
    if not 1 <= inside <= len(member) - 2:
        raise UserError(
            f"attack kind: membership.exposure: the target of replicate {number} "
            f"learned from {inside} of {len(member)} phrases; allowed: "
            f"1..{len(member) - 2}, so that unseen ones stand beside"
        )


def _report(
    number: int, scores: NDArray[np.float64], usual: NDArray[np.float64],
    member: NDArray[np.bool_], exposures: NDArray[np.float64],
) -> dict[str, Any]:  # fmt: skip
    unseen = scores[~member]
    beside = usual[: len(unseen)]
    half = np.arange(len(usual)) % 2 == 0
    return {
        "replicate": number,
        "phrases": {"seen": int(member.sum()), "unseen": int((~member).sum())},
        "exposure": {
            "exposure": float(exposures[member].mean()),
            "exposure_unseen": float(exposures[~member].mean()),
            "most": math.log2(len(usual) + 1),
        },
        "attack": {"auc": auc(scores, member)},
        "controls": {
            "negative": control_of(
                "phrases of users who were not learned from, among others that nobody "
                "wrote",
                np.concatenate([unseen, beside]),
                np.arange(len(unseen) + len(beside)) < len(unseen),
            ),
            "positive": control_of(
                "a leak planted: half of the phrases that nobody wrote, as likely as "
                "the root of their probability",
                np.where(half, usual / 2, usual),
                half,
            ),
        },
    }


def _summary(reports: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = {
        name: spread([report["exposure"][name] for report in reports])
        for name in ("exposure", "exposure_unseen")
    }
    areas = [report["attack"]["auc"] for report in reports]
    return {**found, "auc": spread([area and area["value"] for area in areas])}
