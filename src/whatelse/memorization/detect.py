"""Telling tampered models from innocent ones: ``memorization.detect``.

The auditor has the file, can ask the model, and has innocent models of the same
architecture to know what is usual. Nothing of the payload is known. Thresholds come
from the innocents alone; false alarms are counted on others, trained differently.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from whatelse.datasets.split import given_split
from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.rates import rate
from whatelse.measures.roc import auc
from whatelse.measures.spread import spread
from whatelse.memorization.capacity_abuse import synthetic
from whatelse.memorization.carrier_settings import CapacityAbuse, Secret
from whatelse.memorization.low_bits import write_low_bits
from whatelse.memorization.payload import Coding
from whatelse.memorization.secret import form_of, take
from whatelse.memorization.settings import Detect
from whatelse.memorization.statistics import Detector, Verdict, measure
from whatelse.memorization.suspect import Suspect, load_suspects
from whatelse.models.outputs import about_dataset
from whatelse.seeding import stream
from whatelse.training.device import resident

_PICTURES = 256  # natural pictures of the auditor's own
_PLANTED = 16  # low bits that the positive control replaces
_EXPECTED = 0.05  # false alarms that 20 calibration models can vouch for


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Judge the target of every replicate."""
    settings = Detect.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    look = _Look(dataset, settings.noise, spec.seed)
    innocents = _all(inputs, "innocent.models")
    unseen = _all(inputs, "unseen.models")
    for model in (*innocents, *unseen):
        _check_alike(model, innocents[0], "innocent or unseen models")
    detector = Detector.fit([look(model) for model in innocents])
    verdicts = [detector.judge(look(model)) for model in unseen]
    planted = [detector.judge(look(look.plant(model))) for model in unseen]
    alarms = sum(verdict.tampered for verdict in verdicts)
    scores = [verdict.score for verdict in (*planted, *verdicts)]
    planted_auc = auc(scores, np.arange(len(scores)) < len(planted))
    negative: dict[str, Any] = {
        "what": "false alarms on unseen innocent models, trained differently",
        "auc": planted_auc,
        "p_value": float(
            binomtest(alarms, len(unseen), _EXPECTED, alternative="greater").pvalue
        ),
    }
    positive: dict[str, Any] = {
        "what": f"pictures or words in the low {_PLANTED} bits of unseen innocents",
        "auc": planted_auc,
        "p_value": float(
            binomtest(
                sum(verdict.tampered for verdict in planted), len(planted), _EXPECTED
            ).pvalue
        ),
    }
    reports: list[dict[str, Any]] = []
    rows = []
    for number, folders in enumerate(replicates_of(inputs, "models")):
        _, (target, *_) = load_suspects(folders[0])
        _check_alike(target, innocents[0], str(folders[0]))
        verdict = detector.judge(look(target))
        rows.append(_row(number, "suspect", number, verdict))
        reports.append(
            {
                "replicate": number,
                "detection": {
                    "detected": float(verdict.tampered),
                    "score": verdict.score,
                    "statistic": verdict.statistic,
                    "groups": verdict.groups,
                    "false_alarms": rate(alarms, len(unseen)),
                },
                "controls": {"negative": negative, "positive": positive},
            }
        )
    rows += [_row(0, "unseen", i, verdict) for i, verdict in enumerate(verdicts)]
    rows += [_row(0, "planted", i, verdict) for i, verdict in enumerate(planted)]
    summary = {
        "detected": spread([r["detection"]["detected"] for r in reports]),
        "score": spread([r["detection"]["score"] for r in reports]),
        "false_alarms": spread([alarms / len(unseen)] * len(reports)),
    }
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {"replicates": reports, "summary": summary},
        pd.DataFrame(rows),
        pd.DataFrame([detector.limits]),
    )


class _Look:
    """What the auditor sees of a model: statistics of its file and of its answers."""

    def __init__(self, dataset: Dataset, noise: int, seed: int) -> None:
        own = np.flatnonzero(~given_split(dataset))[:_PICTURES]
        form = form_of(dataset, Secret())
        self._own = take(dataset, own, form)
        self._images = None if form.is_text else self._own
        self._payload = form.to_bytes(self._own)
        key = int(stream(seed, "noise").integers(2**62))
        asked = CapacityAbuse(
            kind="capacity-abuse",
            inputs=noise,
            secret=Secret(coding=Coding(key=key)),
        )
        self._noise = resident(
            dataset, torch.device("cpu"), unlabelled=synthetic(asked, dataset)
        )

    def __call__(self, model: Suspect) -> dict[str, float]:
        """Measure a model."""
        return measure(
            model.tensors,
            images=self._images,
            probabilities=model.probabilities(self._noise),
        )

    def plant(self, model: Suspect) -> Suspect:
        """Return the model with the auditor's own records in its low bits."""
        values = model.parameters
        bits = np.unpackbits(np.frombuffer(self._payload, np.uint8))
        tiled: NDArray[np.uint8] = np.resize(bits, len(values) * _PLANTED)
        return model.with_parameters(write_low_bits(values, tiled, _PLANTED))


def _all(inputs: Inputs, role: str) -> list[Suspect]:
    """Return every model of every block of a role."""
    blocks: list[Sequence[Path]] = replicates_of(inputs, role)
    return [
        model
        for folders in blocks
        for folder in folders
        for model in load_suspects(folder)[1]
    ]


def _check_alike(model: Suspect, innocent: Suspect, place: str) -> None:
    """Refuse a model that the limits do not fit.

    Raises
    ------
    UserError
        If a parameter has another name or shape.
    """
    if model.architecture.shapes != innocent.architecture.shapes:
        raise UserError(
            f"{place}: another architecture than the first innocent models; allowed: "
            "the same"
        )


def _row(number: int, role: str, model: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "replicate": number, "role": role, "model": model, "score": verdict.score,
        "flagged": verdict.tampered, "fired": verdict.statistic,
    }  # fmt: skip
