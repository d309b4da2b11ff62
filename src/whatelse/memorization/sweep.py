"""Accuracy against the low bits that carry a secret: ``memorization.low-bits``.

P2 Sec. 4.1 chooses the largest b that costs the task nothing. Each b is written into a
copy of the model's file, read back from it, and the copy is asked about the records
that were held out.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from whatelse.datasets.store import open_dataset
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.rates import rate
from whatelse.measures.spread import spread
from whatelse.memorization.evaluate import control_of
from whatelse.memorization.readers import LowBitsReader
from whatelse.memorization.settings import LOSSLESS_COST, LowBits
from whatelse.memorization.suspect import (
    Suspect,
    correct,
    load_suspects,
)
from whatelse.models.outputs import about_dataset
from whatelse.training.blocks import load_tensors, save_tensors
from whatelse.training.device import resident

_MOST = 27  # beyond 23 bits the exponent goes too


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Sweep b over the target of every replicate."""
    settings = LowBits.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    data = resident(dataset, torch.device("cpu"))
    reports, rows = [], []
    for number, folders in enumerate(replicates_of(inputs, "models")):
        block, (target, *_) = load_suspects(folders[0])
        tested = block.held_out
        members = np.flatnonzero(block.plan.train[0])
        right = [correct(target, data, tested)]
        key = settings.secret.coding.key
        for bits in range(1, _MOST + 1):
            reader = LowBitsReader(
                bits, settings.secret, dataset, members, target, spec.seed, (number, 0)
            )
            copy = from_file(reader.planted(target))
            stream = reader.bits(copy, key)
            assert stream is not None
            decoded = reader.decode(copy, stream, key, check=True)["bits"]
            right.append(correct(copy, data, tested))
            rows.append(
                {
                    "replicate": number, "bits": bits,
                    "test_accuracy": right[-1] / len(tested),
                    "bit_error_rate": reader.errors(stream),
                    "exact": int(np.array_equal(decoded, reader.written.records)),
                    "records": len(decoded),
                }
            )  # fmt: skip
        least = right[0] - LOSSLESS_COST * len(tested)
        below = (bits for bits, found in enumerate(right) if found < least)
        lossless = next(below, len(right)) - 1
        reports.append(
            {
                "replicate": number,
                "target": {"test_accuracy": rate(right[0], len(tested))},
                "fidelity": {"lossless_bits": lossless},
                "controls": {
                    "negative": control_of(
                        reader, target, key, "the model before anything was written",
                        check=False,
                    ),
                    "positive": control_of(
                        reader, copy, key, f"{_MOST} bits written", check=True
                    ),
                },
            }
        )  # fmt: skip
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {"replicates": reports, "summary": _summary(reports)},
        pd.DataFrame(rows)[["replicate", "bits", "exact"]],
        pd.DataFrame(rows),
    )


def from_file(suspect: Suspect) -> Suspect:
    """Return a model as its file gives it back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        save_tensors(path, suspect.tensors)
        stored = load_tensors(path)
    return Suspect(
        suspect.architecture, {name: stored[name] for name in suspect.tensors}
    )


def _summary(reports: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "lossless_bits": spread([r["fidelity"]["lossless_bits"] for r in reports]),
        "test_accuracy": spread(
            [r["target"]["test_accuracy"]["value"] for r in reports]
        ),
    }
