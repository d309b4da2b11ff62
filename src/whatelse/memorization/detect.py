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

from whatelse.datasets.store import Dataset, given_split, open_dataset
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.rates import Rate, rate
from whatelse.measures.roc import auc
from whatelse.measures.spread import spread
from whatelse.memorization.capacity_abuse import synthetic
from whatelse.memorization.carrier_settings import CapacityAbuse, Secret
from whatelse.memorization.low_bits import write_low_bits
from whatelse.memorization.payload import Coding
from whatelse.memorization.secret import form_of, take
from whatelse.memorization.settings import Detect
from whatelse.memorization.statistics import Detector, Verdict, measure
from whatelse.memorization.suspect import Suspect, check_alike, load_suspects
from whatelse.models.outputs import about_dataset
from whatelse.records import artefact_digest, key_of
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
        check_alike(innocents[0], "the first innocent model", model, "innocent, unseen")
    looks = [look(model) for model in innocents]
    detector = Detector.fit(looks)
    usual = [detector.judge(seen) for seen in looks]
    verdicts = [detector.judge(look(model)) for model in unseen]
    planted = [detector.judge(look(look.plant(model))) for model in unseen]
    alarms = sum(verdict.tampered for verdict in verdicts)
    # the same for every attack that is held against the same models: counted once
    shared = key_of(
        [
            artefact_digest(folder)
            for role in ("innocent.models.0", "unseen.models.0")
            for folder in inputs[role]
        ]
    )
    controls = {
        "negative": {
            "what": "unseen innocent models, trained differently, against those that "
            "set the thresholds; p of so many false alarms",
            "auc": _auc([v.score for v in verdicts], [v.score for v in usual]),
            "p_value": _more_than_expected(verdicts),
            "shared": shared,
        },
        "positive": {
            "what": f"flags on records in the low {_PLANTED} bits of the unseen "
            "models, against flags on the same models as they are",
            "auc": _auc([v.tampered for v in planted], [v.tampered for v in verdicts]),
            "p_value": _more_than_expected(planted),
            "shared": shared,
        },
    }
    reports: list[dict[str, Any]] = []
    rows = []
    for number, folders in enumerate(replicates_of(inputs, "models")):
        _, (target, *_) = load_suspects(folders[0])
        check_alike(innocents[0], "the innocent models", target, folders[0])
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
                "controls": controls,
            }
        )
    rows += [_row(0, "unseen", i, verdict) for i, verdict in enumerate(verdicts)]
    rows += [_row(0, "planted", i, verdict) for i, verdict in enumerate(planted)]
    summary = {
        "detected": spread([r["detection"]["detected"] for r in reports]),
        "score": spread([r["detection"]["score"] for r in reports]),
        # one measurement, whatever the number of suspects
        "false_alarms": spread([alarms / len(unseen), *[None] * (len(reports) - 1)]),
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
            levels=256,  # the auditor does not know an adversary's own
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


def _auc(higher: Sequence[float], lower: Sequence[float]) -> Rate:
    """Return how far one group of models stands above another."""
    return auc([*map(float, higher), *map(float, lower)],
               np.arange(len(higher) + len(lower)) < len(higher))  # fmt: skip


def _more_than_expected(verdicts: Sequence[Verdict]) -> float:
    flagged = sum(verdict.tampered for verdict in verdicts)
    test = binomtest(flagged, len(verdicts), _EXPECTED, alternative="greater")
    return float(test.pvalue)


def _row(number: int, role: str, model: int, verdict: Verdict) -> dict[str, Any]:
    return {
        "replicate": number, "role": role, "model": model, "score": verdict.score,
        "flagged": verdict.tampered, "fired": verdict.statistic,
    }  # fmt: skip
