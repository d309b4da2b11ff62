"""Small data sets, specs and outputs that the tests of the core share."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from whatelse.cli import main
from whatelse.datasets.store import write_dataset
from whatelse.models.outputs import Outputs
from whatelse.training.ensemble import TrainingData
from whatelse.training.settings import TrainingSettings


def training(**changes: Any) -> TrainingSettings:
    """Settings of training, as JSON would give them."""
    given = {
        "optimizer": {"kind": "adam", "learning_rate": 0.01},
        "epochs": 3,
        "batch_size": 8,
        **changes,
    }
    return TrainingSettings.model_validate_json(json.dumps(given))


def random_data(
    num_records: int, shape: tuple[int, ...], num_classes: int, seed: int = 0
) -> TrainingData:
    """Records whose class moves their mean, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_records) % num_classes
    centres = rng.normal(size=(num_classes, *shape))
    inputs = centres[labels] + rng.normal(size=(num_records, *shape))
    return TrainingData(torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels))


def dataset(
    folder: Path, num_records: int = 120, num_features: int = 6, num_classes: int = 3
) -> Path:
    """A data set artefact."""
    data = random_data(num_records, (num_features,), num_classes, seed=5)
    write_dataset(
        folder,
        inputs=data.inputs.numpy(),
        labels=data.labels.numpy(),
        info={
            "name": "toy",
            "title": "Toy",
            "class_names": [f"c{i}" for i in range(num_classes)],
        },
        settings={"source": "npz"},
    )
    return folder


def words_of_users(
    folder: Path, inputs: Any, labels: Any, *, users: int, words: int
) -> None:
    """Write windows of words of authors 100, 101, ..., as many of each."""
    vocabulary = ["<unk>", "<eos>", *(f"w{number}" for number in range(words - 2))]
    owners = np.arange(users).repeat(len(labels) // users)
    write_dataset(
        folder, inputs=np.asarray(inputs, dtype=np.uint16), labels=labels,
        info={
            "name": "t", "title": "T", "class_names": ["<none>", *vocabulary],
            "vocabulary": vocabulary,
        },
        settings={"source": "blogs-words"},
        attributes={"author": 100 + owners},  # numbers, as bloggers have
    )  # fmt: skip


def train_spec(**changes: Any) -> dict[str, Any]:
    """A TrainSpec as a dictionary."""
    return {
        "architecture": {"kind": "mlp", "hidden": [7], "activation": "tanh"},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": 0.01},
            "epochs": 4,
            "batch_size": 8,
        },
        "members": 20,
        "seed": 3,
        "replicate": 0,
        **changes,
    }


def train_block(
    place: Path, data: Path, models: str, *more: str, spec: Any = None, name: str = "b"
) -> int:
    """Run ``whatelse train`` into `place`/`name`; return its exit code."""
    return main(
        [
            "train", "--spec", json.dumps(spec or train_spec()), "--data", str(data),
            "--models", models, "--out", str(place / name),
            "--progress", str(place / f"{name}-progress"), "--device", "cpu", *more,
        ]
    )  # fmt: skip


def query_block(place: Path, data: Path, name: str = "b", **release: Any) -> Path:
    """Run ``whatelse query`` on a block; return the folder of outputs."""
    out = place / f"{name}-outputs"
    spec = json.dumps({"kind": "probabilities", **release})
    code = main(
        [
            "query", "--spec", spec, "--data", str(data),
            "--block", str(place / name), "--out", str(out), "--device", "cpu",
        ]
    )  # fmt: skip
    assert code == 0
    return out


def outputs(
    *,
    num_shadows: int = 3,
    per_kind: int = 60,
    num_classes: int = 3,
    leak: float = 0.0,
    seed: int = 0,
    models: tuple[int, ...] | None = None,
) -> Outputs:
    """Outputs of a target (0) and shadows; members are surer by `leak` in the logits.

    Every model has `per_kind` members and as many non-members of the same classes.
    """
    rng = np.random.default_rng(seed)
    chosen = range(num_shadows + 1) if models is None else models
    label = np.tile(np.arange(per_kind) % num_classes, 2)
    member = np.repeat([True, False], per_kind)
    parts = []
    for _ in chosen:
        logits = rng.normal(size=(len(label), num_classes))
        logits[np.arange(len(label)), label] += 1 + leak * member
        parts.append(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    count = len(parts)
    return Outputs(
        model=np.repeat(np.asarray(chosen, dtype=np.int64), len(label)),
        record=np.arange(count * len(label)),
        label=np.tile(label, count),
        member=np.tile(member, count),
        probabilities=np.concatenate(parts).astype(np.float32),
        about={
            "name": "toy", "title": "Toy", "records": 200, "classes": num_classes,
            "class_names": [f"c{i}" for i in range(num_classes)],
            "stand_in_for": None, "remarks": [],
        },
    )  # fmt: skip


def load_benchmark(repository: Path, name: str) -> ModuleType:
    """Return a script of the benchmarks folder as a module."""
    place = repository / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
