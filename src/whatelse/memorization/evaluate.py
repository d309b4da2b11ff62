"""Reading secrets out of models, and how well it went: ``memorization.decode``.

P2 (Song et al., CCS 2017) Secs. 4 to 6. Everything is read from saved files, or from a
model's answers; the truth is only measured against.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from whatelse.datasets.store import open_dataset
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.rates import Rate, rate
from whatelse.measures.roc import auc
from whatelse.measures.spread import spread
from whatelse.memorization.fidelity import (
    cosine_similarity,
    mape,
    matched_scores,
    matching_test,
    ssim,
    token_precision,
    token_recall,
)
from whatelse.memorization.readers import (
    AbuseReader,
    CorrelatedReader,
    Reader,
    Records,
    key_of_carrier,
    reader_of,
)
from whatelse.memorization.secret import Form
from whatelse.memorization.settings import Decode
from whatelse.memorization.suspect import (
    Suspect,
    check_alike,
    correct,
    load_suspects,
)
from whatelse.models.outputs import about_dataset
from whatelse.training.device import resident
from whatelse.training.ensemble import TrainingData

_CPU = torch.device("cpu")
_FEW = 16  # with fewer pictures, AUCs of controls are of their rows
_BINS = 81
_REACH = 4.0  # standard deviations of the benign weights that a histogram shows


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Decode the target of every replicate."""
    settings = Decode.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    reports, scores, curves = [], [], []
    asked = resident(dataset, _CPU)
    (clean_folder,) = inputs["benign.data"]
    clean = (
        asked
        if clean_folder == data_folder
        else resident(open_dataset(clean_folder), _CPU)
    )
    models = replicates_of(inputs, "models")
    benign_models = replicates_of(inputs, "benign.models")
    for number, folders in enumerate(models):
        block, (target, *_) = load_suspects(folders[0])
        benign_block, (benign, *_) = load_suspects(benign_models[number][0])
        check_alike(target, folders[0], benign, benign_models[number][0])
        members = np.flatnonzero(block.plan.train[0])
        reader = reader_of(
            spec.carrier, dataset, members, target, seed=spec.seed, name=(number, 0),
        )  # fmt: skip
        assert spec.carrier is not None
        key = key_of_carrier(spec.carrier) if settings.key is None else settings.key
        report, rows = read(reader, target, key, number, check=settings.key is not None)
        report["target"] = {
            "test_accuracy": _accuracy(target, asked, block.held_out),
            "benign_test_accuracy": _accuracy(benign, clean, benign_block.held_out),
        }
        report["controls"] = controls_of(reader, benign, key_of_carrier(spec.carrier))
        reports.append(report)
        scores.append(rows)
        curves.append(_histograms(number, target, benign))
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {"replicates": reports, "summary": summary_of(reports)},
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
        {"queries": reader.queries},
    )


def read(
    reader: Reader, target: Suspect, key: int, number: int, *, check: bool = False
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return one replicate's report and its rows of ``scores.parquet``.

    A carrier that took nothing, e.g. under a weak penalty, is measured all the same
    unless `check` refuses what does not begin with the key's word, and what are other
    records than the seed draws, so that it would be measured against a wrong truth.
    """
    written = reader.written
    bits = reader.bits(target, key)
    decoded = reader.decode(target, bits, key, check=check)
    if check:
        reader.check_truth(bits, decoded)
    fidelity: dict[str, Any] = {
        "records": len(written.rows),
        "capacity": written.room,
        "capacity_used": written.used / written.room,
        "queries": reader.queries,
    }
    if bits is not None:
        wrong = reader.errors(bits)
        fidelity["bit_error_rate"] = rate(round(wrong * written.used), written.used)
    if isinstance(reader, CorrelatedReader):
        fidelity["correlation"] = reader.correlation(target)
    frames = []
    for decoder, records in decoded.items():
        measured = measures(written.form, written.records, records)
        suffix = "" if decoder == next(iter(decoded)) else f"_{decoder}"
        for name, values in measured.items():
            known = values[~np.isnan(values)]
            fidelity[name + suffix] = float(known.mean()) if len(known) else None
        frames.append(
            pd.DataFrame(
                {
                    "replicate": number, "decoder": decoder, "record": written.rows,
                    **measured,
                    "truth": [own.tobytes() for own in written.records],
                    "decoded": [own.tobytes() for own in records],
                }
            ).assign(shape=",".join(map(str, written.form.shape)))
        )  # fmt: skip
    if not written.form.is_text and isinstance(reader, AbuseReader):
        perfect = written.form.from_bytes(
            written.form.to_bytes(written.records, reader.pixel_bits),
            len(written.rows), reader.pixel_bits,
        )  # fmt: skip
        floor = mape(written.records, perfect)
        fidelity["mape_floor"] = float(floor.mean())
    return {"replicate": number, "fidelity": fidelity}, pd.concat(frames)


def measures(
    form: Form, truth: Records, decoded: Records
) -> dict[str, NDArray[np.float64]]:
    """Return how close records came out, by measure, a value for each record."""
    if form.is_text:
        return {
            "token_precision": token_precision(truth, decoded),
            "token_recall": token_recall(truth, decoded),
            "cosine_similarity": cosine_similarity(truth, decoded),
        }
    return {
        "mape": mape(truth, decoded),
        "ssim": ssim(truth, decoded),
    }


def _accuracy(
    model: Suspect, data: TrainingData, rows: NDArray[np.int64]
) -> Rate | None:
    return rate(correct(model, data, rows), len(rows))


def controls_of(reader: Reader, benign: Suspect, key: int) -> dict[str, Any]:
    """Return both controls of a reader."""
    return {
        "negative": control_of(
            reader, benign, key, "the same decoder on a benign model", check=False
        ),
        "positive": control_of(
            reader,
            reader.planted(benign),
            key,
            "a secret written into a benign model without an error",
            check=True,
        ),
    }


def control_of(
    reader: Reader, suspect: Suspect, key: int, what: str, *, check: bool
) -> dict[str, Any]:
    """Hold what a decoder makes of a model to its own truth and to another's."""
    bits = reader.bits(suspect, key)
    decoded = next(iter(reader.decode(suspect, bits, key, check=check).values()))
    truth = reader.written.records
    distance = reader.written.distance
    if reader.written.form.is_text or len(truth) >= _FEW:
        scores, matched = matched_scores(decoded, truth, distance)
    else:
        # the same row of another picture, or of the only one the row across
        height = truth.shape[1]
        shift = height * (len(truth) // 2) or height // 2
        rows, own = (part.reshape(-1, 1, part.shape[2]) for part in (decoded, truth))
        scores, matched = matched_scores(rows, own, mape, shift=shift)
    return {
        "what": what,
        "auc": auc(scores, matched),
        "p_value": matching_test(decoded, truth, distance),
    }


def _histograms(number: int, target: Suspect, benign: Suspect) -> pd.DataFrame:
    """Return how the weights of both models are distributed, on one axis."""
    scale = benign.weights.std() or np.float32(1)
    edges = np.linspace(-_REACH, _REACH, _BINS + 1)
    frames = []
    for name, model in (("tampered", target), ("benign", benign)):
        counts, _ = np.histogram(np.clip(model.weights / scale, -_REACH, _REACH), edges)
        frames.append(
            pd.DataFrame(
                {
                    "replicate": number, "model": name, "low": edges[:-1] * scale,
                    "high": edges[1:] * scale, "share": counts / counts.sum(),
                }
            )
        )  # fmt: skip
    return pd.concat(frames)


def summary_of(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the spread of every number over replicates."""
    names = list(reports[0]["fidelity"])
    columns = {name: [_value(r["fidelity"][name]) for r in reports] for name in names}
    for name in ("test_accuracy", "benign_test_accuracy"):
        columns[name] = [_value(r["target"][name]) for r in reports]
    columns["accuracy_change"] = [
        ours - theirs
        for ours, theirs in zip(
            columns["test_accuracy"], columns["benign_test_accuracy"], strict=True
        )
    ]
    return {name: spread(values) for name, values in columns.items()}


def _value(found: Any) -> Any:
    return found["value"] if isinstance(found, dict) else found
