"""What is left of payload and accuracy after a scrub: ``memorization.scrub``.

The defender has the model's file and clean data, and knows of no payload. Scrubbed
copies are written, read back, asked about held-out records, and decoded as ever.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.rates import rate
from whatelse.measures.spread import spread
from whatelse.memorization.evaluate import controls_of, measures, read, summary_of
from whatelse.memorization.readers import (
    CorrelatedReader,
    Reader,
    key_of_carrier,
    reader_of,
)
from whatelse.memorization.scrub import apply
from whatelse.memorization.scrub_settings import FineTune
from whatelse.memorization.settings import Scrubbed
from whatelse.memorization.suspect import (
    Suspect,
    check_alike,
    correct,
    load_suspects,
)
from whatelse.memorization.sweep import from_file
from whatelse.models.outputs import about_dataset
from whatelse.seeding import stream
from whatelse.training.device import resident
from whatelse.training.ensemble import TrainingData, choose_strategy, train
from whatelse.training.settings import Sgd, TrainingSettings

_CPU = torch.device("cpu")


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Scrub the target of every replicate in every way."""
    settings = Scrubbed.model_validate(spec.settings)
    (data_folder,), (clean_folder,) = inputs["data"], inputs["benign.data"]
    dataset = open_dataset(data_folder)
    data = resident(dataset, _CPU)
    clean = resident(open_dataset(clean_folder), _CPU)
    reports: list[dict[str, Any]] = []
    rows = []
    benign_models = replicates_of(inputs, "benign.models")
    for number, folders in enumerate(replicates_of(inputs, "models")):
        block, (target, *_) = load_suspects(folders[0])
        benign_block, (benign, *_) = load_suspects(benign_models[number][0])
        check_alike(target, folders[0], benign, benign_models[number][0])
        members = np.flatnonzero(block.plan.train[0])
        tested = block.held_out
        reader = reader_of(
            spec.carrier, dataset, members, target, seed=spec.seed, name=(number, 0),
        )  # fmt: skip
        assert spec.carrier is not None  # else there is no reader
        key = key_of_carrier(spec.carrier)
        before: tuple[float, float] | None = None  # payload, accuracy
        for order, scrub in enumerate([None, *settings.scrubs]):
            if scrub is None:
                found = target
            elif isinstance(scrub, FineTune):
                found = _fine_tuned(
                    scrub, target, clean, np.flatnonzero(benign_block.plan.train[0]),
                    spec.seed, number,
                )  # fmt: skip
            else:
                rng = stream(spec.seed, "scrub", number, order)
                found = Suspect(target.architecture, apply(scrub, target.tensors, rng))
            found = from_file(found)
            right = correct(found, data, tested)
            left, payload = _left(reader, found, key)
            accuracy = right / len(tested)
            before = before or (payload, accuracy)
            rows.append(
                {
                    "replicate": number, "order": order,
                    "scrub": scrub.words if scrub else "nothing",
                    "test_accuracy": accuracy,
                    "accuracy_change": accuracy - before[1],
                    "payload_left": _share(payload, before[0]), **left,
                }
            )  # fmt: skip
            if scrub is None:
                report, _ = read(reader, target, key, number)
                unscrubbed = rate(right, len(tested))
        own = benign_block.held_out
        report["target"] = {
            "test_accuracy": unscrubbed,
            "benign_test_accuracy": rate(correct(benign, clean, own), len(own)),
        }
        report["controls"] = controls_of(reader, benign, key)
        reports.append(report)
    curves = pd.DataFrame(rows)
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {
            "replicates": reports,
            "summary": {**summary_of(reports), **_first_of(curves)},
        },
        curves[["replicate", "order", "scrub", "payload_left"]],
        curves,
    )


def _first_of(curves: pd.DataFrame) -> dict[str, Any]:
    """Return what the first scrub left and cost, over replicates."""
    first = curves[curves["order"] == 1]
    return {
        "payload_left": spread(first["payload_left"].tolist()),
        "scrub_change": spread(first["accuracy_change"].tolist()),
    }


def _left(reader: Reader, suspect: Suspect, key: int) -> tuple[dict[str, float], float]:
    """Return what a decoder still finds in a model.

    Returns
    -------
    found : dict of str to float
        By measure.
    payload : float
        Correlation with what was written, of bits or of values: 0 for chance.
    """
    bits = reader.bits(suspect, key)
    found: dict[str, float] = {}
    if bits is not None:
        found["bit_error_rate"] = reader.errors(bits)
        payload = reader.agreement(bits)
    if isinstance(reader, CorrelatedReader):
        found["correlation"] = payload = reader.correlation(suspect)
    decoded = next(iter(reader.decode(suspect, bits, key, check=False).values()))
    written = reader.written
    for name, values in measures(written.form, written.records, decoded).items():
        found[name] = float(np.nanmean(values)) if not np.isnan(values).all() else 0.0
    return found, payload


def _share(now: float, then: float) -> float:
    """Return the share of the payload that is left, in parts of the unscrubbed."""
    return min(max(now / then, 0.0), 1.0) if then > 0 else 0.0


def _fine_tuned(
    scrub: FineTune, target: Suspect, clean: TrainingData, rows: Any, seed: int,
    number: int,
) -> Suspect:  # fmt: skip
    """Train on with clean records and the task's loss alone."""
    settings = TrainingSettings(
        optimizer=Sgd(kind="sgd", learning_rate=scrub.learning_rate, momentum=0.9),
        epochs=scrub.epochs,
        batch_size=64,
    )
    tensors = train(
        target.architecture,
        settings,
        clean,
        [rows],
        streams=[("fine-tune", number)],
        seed=seed,
        strategy=choose_strategy(target.architecture, _CPU),
        starts=[target.tensors],
    )
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise UserError(
            f"scrubs: {scrub.words}: diverged (weights are not finite); allowed: a "
            "lower learning_rate"
        )
    return Suspect(target.architecture, {name: own[0] for name, own in tensors.items()})
