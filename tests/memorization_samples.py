"""Data sets, nets and attacks that the tests of the memorization question share."""

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from core_samples import query_block, train_block
from whatelse.cli import main
from whatelse.datasets.store import Dataset, open_dataset, write_dataset
from whatelse.memorization.suspect import Suspect
from whatelse.models.settings import ArchitectureSettings
from whatelse.models.stacked import Architecture, build, initial

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "mlp": {"kind": "mlp", "hidden": [40, 8]},
    "regression": {"kind": "mlp", "hidden": []},
    "cnn-same": {"kind": "cnn", "channels": [6, 8], "hidden": 24},
    "cnn-valid": {
        "kind": "cnn", "channels": [6, 8], "hidden": 64, "padding": "valid",
    },
    "resnet-batch": {
        "kind": "resnet", "widths": [8, 10], "blocks": 1, "norm": "batch",
        "shortcut": "normalized-projection",
    },
    "resnet-group": {
        "kind": "resnet", "widths": [8, 12], "blocks": 1, "norm": "group",
        "groups": 4, "shortcut": "projection",
    },
    "resnet-none": {
        "kind": "resnet", "widths": [8, 10], "blocks": 1, "norm": "none",
        "shortcut": "identity",
    },
    "text-cnn": {"kind": "text-cnn", "embedding": 20, "filters": 6, "hidden": 10},
    "gru": {"kind": "gru", "embedding": 16, "hidden": 8},
    "lstm": {"kind": "lstm", "embedding": 12, "hidden": 8, "layers": 2, "tied": False},
    "lstm-tied": {"kind": "lstm", "embedding": 8, "hidden": 8, "layers": 1},
}  # fmt: skip
"""One of each kind that stores its tensors in another way."""

VOCABULARY = 40


def record_of(name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what a net reads: pictures or, where it reads words, a row's width."""
    if ARCHITECTURES[name]["kind"] in ("text-cnn", "gru", "lstm"):
        return {"input_shape": shape[-1:], "words": VOCABULARY}
    return {"input_shape": shape}


def classes_of(name: str, classes: int) -> int:
    """Return how many classes a net tells apart: all words, where these are tied."""
    return VOCABULARY + 1 if name == "lstm-tied" else classes


def architecture_of(name: str, shape: tuple[int, ...], classes: int) -> Architecture:
    """Return one of the architectures above."""
    settings: Any = TypeAdapter(ArchitectureSettings).validate_json(
        json.dumps(ARCHITECTURES[name])
    )
    classes = classes_of(name, classes)
    return build(settings, num_classes=classes, **record_of(name, shape))


def random_suspect(architecture: Architecture, seed: int = 0) -> Suspect:
    """Return an untrained model; what is constant at the start is random, too."""
    rng = np.random.default_rng(seed)
    drawn = initial(architecture, rng)
    for name, tensor in drawn.items():
        if tensor.ndim < 2:
            moved = rng.uniform(0.5, 1.5, tuple(tensor.shape)).astype(np.float32)
            drawn[name] = torch.from_numpy(moved)
    return Suspect(architecture, drawn)


def pictures(
    folder: Path, *, count: int = 60, shape: tuple[int, int, int] = (1, 8, 8),
    classes: int = 3, dtype: str = "uint8", split: bool = True,
    **info: Any,
) -> Dataset:  # fmt: skip
    """Return random pictures; the first two thirds are to train on."""
    rng = np.random.default_rng(7)
    inputs: Any = rng.integers(0, 256, (count, *shape))
    inputs = inputs.astype(np.uint8) if dtype == "uint8" else inputs / 255
    words = np.where(np.arange(count) < 2 * count // 3, "train", "test").tolist()
    write_dataset(
        folder,
        inputs=inputs.astype(dtype),
        labels=np.arange(count) % classes,
        info={
            "name": "toy", "title": "Toy",
            "class_names": [f"c{i}" for i in range(classes)],
            "scale": 1 / 255 if dtype == "uint8" else 1.0, **info,
        },
        settings={"source": "npz"},
        attributes={"split": words} if split else None,
    )  # fmt: skip
    return open_dataset(folder)


def documents(folder: Path, *, count: int = 60, length: int = 5) -> Dataset:
    """Return bags of words with the tokens in their order; the third one is short."""
    from scipy.sparse import csr_array

    rng = np.random.default_rng(8)
    tokens = [
        rng.integers(0, VOCABULARY, length).astype(np.int32) for _ in range(count)
    ]
    tokens[2] = tokens[2][:2]
    bags = np.zeros((count, VOCABULARY), np.float32)
    for bag, own in zip(bags, tokens, strict=True):
        np.add.at(bag, own, 1)
    words = np.where(np.arange(count) < 2 * count // 3, "train", "test").tolist()
    write_dataset(
        folder,
        inputs=csr_array(bags),
        labels=np.arange(count) % 4,
        info={"name": "words", "title": "Words", "class_names": list("abcd")},
        settings={"source": "npz"},
        attributes={"split": words, "tokens": tokens},
    )
    return open_dataset(folder)


def secret(**coding: Any) -> dict[str, Any]:
    """Return settings of a secret as JSON has them; `records` and `size` go apart."""
    own = {name: coding.pop(name, None) for name in ("records", "size")}
    plain = {"compress": False, "encrypt": False, "parity": 0, "key": 0}
    return {**own, "coding": {**plain, **coding}}


# -- small nets on digits, made by the verbs --------------------------------------

SEED = 3
LSB = {"kind": "lsb", "bits": 16, "secret": secret()}
SIGN = {"kind": "sign", "strength": 50.0, "secret": secret(size=4)}
CORRELATED = {"kind": "correlated", "strength": 3.0, "secret": secret()}
ABUSE: dict[str, Any] = {
    "kind": "capacity-abuse",
    "inputs": 400,
    "seed": 2,
    "secret": secret(size=4),
}
CARRIERS: dict[str, dict[str, Any]] = {
    "lsb": LSB, "sign": SIGN, "correlated": CORRELATED, "abused": ABUSE,
}  # fmt: skip


def digits(folder: Path) -> Path:
    """Write 900 of the digits that come with scikit-learn, without a split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    write_dataset(
        folder,
        inputs=bunch.images[:900, None].astype(np.uint8),
        labels=bunch.target[:900],
        info={
            "name": "digits", "title": "Digits",
            "class_names": [str(i) for i in range(10)], "scale": 1 / 16,
        },
        settings={"source": "digits"},
    )  # fmt: skip
    return folder


def derive(spec: Mapping[str, Any], data: Path, out: Path) -> Path:
    """Run ``whatelse derive``."""
    told = ["--spec", json.dumps(spec), "--data", str(data), "--out", str(out)]
    assert main(["derive", *told]) == 0
    return out


def spec_of(
    *, hidden: tuple[int, ...] = (32,), epochs: int = 12, rate: float = 0.01,
    **changes: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return a TrainSpec for digits."""
    return {
        "architecture": {"kind": "mlp", "hidden": list(hidden), "activation": "relu"},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": rate},
            "epochs": epochs,
            "batch_size": 64,
        },
        "split": "given",
        "seed": SEED,
        "replicate": 0,
        **changes,
    }


@cache
def studio(base: Path) -> Path:
    """Train a net a carrier, and the benign ones that go with them; once a process.

    ``clean`` and ``abused`` are data sets; each of the nets has a folder with its name,
    and one of outputs beside it.
    """
    place = base / "studio"
    data = derive(
        {"kind": "split", "members": 600}, digits(place / "raw"), place / "clean"
    )
    few = derive(
        {"kind": "split", "members": 200, "seed": 1}, place / "raw", place / "few"
    )
    abused = derive(ABUSE, few, place / "abused-data")

    def made(
        name: str, data: Path, *more: str, models: str = "0:1", **spec: Any
    ) -> None:
        told = spec_of(**spec)
        assert train_block(place, data, models, *more, spec=told, name=name) == 0
        query_block(place, data, name)

    made("benign", data)
    made("other", data, hidden=(24,))
    made(
        "lsb", data, "--base", str(place / "benign"), training=None, base="benign",
        tampering=LSB,
    )  # fmt: skip
    made("sign", data, epochs=40, tampering=SIGN)
    made("correlated", data, epochs=40, tampering=CORRELATED)
    made("wide", few, hidden=(256,), epochs=20)
    made("abused", abused, hidden=(256,), epochs=60, rate=0.003)
    return place


def inputs_of(place: Path, carrier: str, benign: str | None = None) -> list[str]:
    """Return the arguments that say what an attack on a net reads."""
    is_abuse = carrier == "abused"
    benign = benign or ("wide" if is_abuse else "benign")
    roles = {
        "data": "abused-data" if is_abuse else "clean",
        "models.0": carrier,
        "outputs.0": f"{carrier}-outputs",
        "benign.data": "few" if benign == "wide" else "clean",
        "benign.models.0": benign,
        "benign.outputs.0": f"{benign}-outputs",
    }
    return [
        word
        for role, name in roles.items()
        for word in ("--input", role, str(place / name))
    ]


def attack(
    out: Path, settings: Mapping[str, Any], carrier: Any, inputs: list[str], *,
    seed: int = SEED,
) -> int:  # fmt: skip
    """Run ``whatelse attack``; return its exit code."""
    spec = {
        "study": "s", "name": "a", "grid": {}, "seed": seed,
        "settings": dict(settings), "carrier": carrier,
    }  # fmt: skip
    told = ["--spec", json.dumps(spec), "--out", str(out)]
    return main(["attack", *told, *inputs])


def sizes(architecture: Architecture) -> tuple[int, int]:
    """Return how many parameters there are, and how many of them are weights."""
    shapes = architecture.shapes.values()
    weights = sum(math.prod(shape) for shape in shapes if len(shape) > 1)
    return sum(map(math.prod, shapes)), weights
