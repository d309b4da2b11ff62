"""A small study with its results, as the steps of the workflow would leave them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image

from whatelse import records
from whatelse.records import write_json, write_record
from whatelse.studies.resolve import Artefact, Resolved, load_study

STARTED = 1_700_000_000.5  # seconds since 1970
STUDY = """
study: tiny
question: membership
title: Membership inference on tiny digits
description: Two training-set sizes.
seed: 7
datasets:
  digits: {source: digits}
models:
  net:
    dataset: digits
    architecture: {kind: mlp, hidden: [4], activation: tanh}
    training:
      optimizer: {kind: adam, learning_rate: 0.001}
      epochs: 3
    foreach:
      members: [10, 20]
    shadows: 3
    replicates: 2
    block: 2
attacks:
  shadow: {kind: membership.shadow, models: net}
figures:
  size:
    kind: trend
    title: Size
    attacks: [shadow]
    x: members
    metrics: [auc]
claims: []
"""


def make_study(folder: Path, text: str = STUDY) -> Path:
    """Write the study file; return its path."""
    path = folder / "tiny.yaml"
    path.write_text(text)
    return path


def make_results(folder: Path, text: str = STUDY) -> Resolved:
    """Write the study into `folder` and its artefacts below ``folder/results``."""
    resolved = load_study(make_study(folder, text), folder / "results")
    for artefact in resolved.artefacts:
        make_artefact(artefact)
    return resolved


def make_artefact(artefact: Artefact, **changes: Any) -> None:
    """Write one artefact's files; `changes` go into its record."""
    folder = Path(artefact.folder)
    folder.mkdir(parents=True, exist_ok=True)
    outputs = _FILES[artefact.kind](artefact, folder)
    telemetry = {"started": STARTED, "seconds": 2.0, "host": "node1", "device": "cpu"}
    write_json(folder / "telemetry.json", {**telemetry, "commit": "abc+"})
    write_record(
        folder, kind=artefact.kind, spec=artefact.spec, inputs={}, code=[],
        outputs=outputs, extra=changes,
    )  # fmt: skip


def _dataset(artefact: Artefact, folder: Path) -> list[str]:
    about = {"name": "digits", "title": "Tiny digits", "records": 60, "classes": 2}
    about |= {"stand_in_for": "Huge", "remarks": ["made up"]}
    write_json(folder / "dataset.json", about)
    return ["dataset.json"]


def _train(artefact: Artefact, folder: Path) -> list[str]:
    first, last = map(int, artefact.labels["models"].split(":"))
    lines = [_line(model, epoch) for epoch in (1, 2, 3) for model in range(first, last)]
    # a killed job was resumed: a broken line, and a point that is there twice
    text = "\n".join([lines[0], lines[0][:9], *lines]) + "\n"
    (folder / "history.jsonl").write_text(text)
    return []


def _attack(artefact: Artefact, folder: Path) -> list[str]:
    write_json(folder / "metrics.json", metrics(artefact.spec["grid"]["members"]))
    (folder / "curves.csv").write_text("replicate,fpr,tpr,threshold\n0,1,1,0\n")
    return ["metrics.json", "curves.csv"]


def _figure(artefact: Artefact, folder: Path) -> list[str]:
    Image.new("RGB", (320, 200), "steelblue").save(folder / "figure.png")
    (folder / "figure.pdf").write_bytes(b"%PDF-1.4\n")
    return ["figure.png", "figure.pdf"]


def _claims(artefact: Artefact, folder: Path) -> list[str]:
    counts = {"reproduced": 2, "missed": 1}
    write_json(folder / "claims.json", {"claims": [], "counts": counts})
    (folder / "claims.html").write_text("<p>Claims</p>")
    return ["claims.json", "claims.html"]


_FILES: dict[str, Any] = {
    "dataset": _dataset,
    "synthesise": _dataset,
    "train": _train,
    "collaborate": _train,
    "query": lambda artefact, folder: [],
    "attack": _attack,
    "figure": _figure,
    "claims": _claims,
}


def metrics(members: int) -> dict[str, Any]:
    """Return the metrics of an attack on 10 or 20 members; the AUC is 6 / members."""
    auc = 6 / members

    def rate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    def spread(value: float) -> dict[str, Any]:
        values = [value, value + 0.02]
        ends = {"low": value - 0.1, "high": value + 0.2}
        return {"mean": value + 0.01, "std": 0.01, "count": 2, "values": values, **ends}

    nothing = {"mean": None, "std": None, "count": 0, "low": None, "high": None}
    refused = {"refused": "needs at least 1000 non-members, has 10"}
    reports = [
        {
            "replicate": number,
            "target": {
                "train_accuracy": rate(1.0 - number / 10),
                "test_accuracy": rate(0.5 + number / 10),
            },
            "attack": {
                "auc": rate(auc),
                "tpr_at_fpr": {"0.1": rate(0.25), "0.001": refused},
            },
            "controls": {
                "positive": {"auc": rate(0.9), "p_value": 0.001},
                "negative": {"auc": rate(0.5), "p_value": 0.4 + number / 10},
            },
        }
        for number in range(2)
    ]
    return {
        "kind": "membership.shadow", "name": "shadow", "grid": {"members": members},
        "dataset": {"name": "digits", "title": "Tiny digits", "stand_in_for": "Huge"},
        "replicates": reports,
        "summary": {
            "train_accuracy": spread(0.95), "test_accuracy": spread(0.55),
            "auc": spread(auc), "precision": {**nothing, "values": [None, None]},
        },
    }  # fmt: skip


def make_progress(
    artefact: Artefact, epochs: int, finished: Iterable[int] = (), code: str = ""
) -> Path:
    """Leave a block or a joint model as a job in work does; return its folder."""
    block = Path(artefact.folder)
    folder = block.parents[2] / "progress" / artefact.labels["key"] / block.name
    folder.mkdir(parents=True, exist_ok=True)
    stamp = {
        "spec": artefact.spec,
        "data": None,
        "code": code or records.files_digest([]),
        "versions": records.versions(),
    }
    write_json(folder / "identity.json", stamp)
    first, last = map(int, artefact.labels["models"].split(":"))
    text = "".join(f"{_line(m, e)}\n" for e in range(1, epochs + 1)
                   for m in range(first, last))  # fmt: skip
    (folder / "history.jsonl").write_text(text)
    for model in finished:
        (folder / f"model_{model}.safetensors").touch()
    return folder


def _line(model: int, epoch: int) -> str:
    return json.dumps({"model": model, "epoch": epoch, "loss": model + 1 / epoch})
