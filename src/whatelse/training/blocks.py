"""The block store: some models of a family in one folder, stacked.

``models.safetensors`` holds every parameter, and running statistics where a net has
them, with a leading model axis, ``plan.npz``
the records that each model was trained and tested on, ``model.json`` what is needed
to run them. Nothing is ever unpickled.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from whatelse import records
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.models.settings import ArchitectureSettings, TextSettings
from whatelse.models.stacked import Architecture, build
from whatelse.training.plan import Plan

BROKEN = (
    OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What NumPy raises where a file is not what it should be."""

MODELS, PLAN, MODEL = "models.safetensors", "plan.npz", "model.json"


@dataclass(frozen=True)
class Block:
    """Some models of a family.

    Attributes
    ----------
    architecture : Architecture
        Runs them.
    parameters : dict of str to Tensor
        Stacked over models, float32.
    buffers : dict of str to Tensor
        Running statistics, stacked likewise; empty for most architectures.
    plan : Plan
        Rows in the order of the stack.
    privacy : dict or None
        What is promised of their records: epsilon at `delta`, and how.
    """

    architecture: Architecture
    parameters: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    plan: Plan
    privacy: dict[str, Any] | None = None

    @property
    def held_out(self) -> NDArray[np.int64]:
        """Records that the first model is tested on and was not trained on."""
        return np.flatnonzero(self.plan.test[0] & ~self.plan.train[0])

    def model(self, row: int) -> dict[str, torch.Tensor]:
        """Return the parameters and buffers of one model, by its place."""
        whole = {**self.parameters, **self.buffers}
        return {name: tensor[row] for name, tensor in whole.items()}


def describe(
    settings: ArchitectureSettings, dataset: Dataset, architecture: Architecture,
    privacy: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return what ``model.json`` says of models on a data set."""
    more: dict[str, Any] = {}
    if isinstance(settings, TextSettings):
        more["words"] = dataset.num_words
    if privacy:
        more["privacy"] = dict(privacy)
    return {
        "architecture": settings.model_dump(mode="json"),
        "input_shape": list(dataset.inputs.shape[1:]),
        **more,
        "classes": dataset.num_classes,
        "scale": dataset.info["scale"],
        "shift": dataset.info["shift"],
        "parameters": sum(math.prod(shape) for shape in architecture.shapes.values()),
    }


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors as safetensors, under a temporary name first."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    try:
        records.write_with(path, lambda place: save_file(whole, place))
    except SafetensorError as error:
        raise UserError(f"{path}: cannot write here: {error}") from error


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises
    ------
    UserError
        If it is missing, truncated, or no safetensors file.
    """
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file: {error}") from None
    return tensors


def save_block(
    folder: Path, *, description: Mapping[str, Any], plan: Plan,
    parameters: Mapping[str, torch.Tensor],
) -> list[str]:  # fmt: skip
    """Write a block's files but its record; return their names.

    `parameters` are those of ``train``, with the buffers among them.
    """
    save_tensors(folder / MODELS, parameters)
    with records.atomic(folder / PLAN, "wb") as file:
        np.savez(
            file,
            models=plan.models,
            records=np.array(plan.train.shape[1]),
            train=np.packbits(plan.train, axis=1),
            test=np.packbits(plan.test, axis=1),
        )
    records.write_json(folder / MODEL, dict(description))
    return [MODELS, PLAN, MODEL]


def load_block(folder: Path) -> Block:
    """Read a block and check it against itself.

    Raises
    ------
    UserError
        If a file is missing or broken, or shapes or numbers of models disagree.
    """
    description = records.read_json(folder / MODEL)
    tensors = load_tensors(folder / MODELS)
    try:
        with np.load(folder / PLAN, allow_pickle=False) as stored:
            count = int(stored["records"])
            plan = Plan(
                stored["models"],
                np.unpackbits(stored["train"], axis=1, count=count).astype(bool),
                np.unpackbits(stored["test"], axis=1, count=count).astype(bool),
            )
        settings = TypeAdapter(ArchitectureSettings).validate_json(
            json.dumps(description["architecture"])
        )
        architecture = build(
            settings, tuple(description["input_shape"]), description["classes"],
            words=description.get("words"),
        )  # fmt: skip
    except BROKEN as error:
        raise UserError(f"{folder}: not a block of models: {error}") from None
    for name, shape in {**architecture.shapes, **architecture.buffers}.items():
        expected = (len(plan.models), *shape)
        found = tuple(tensors[name].shape) if name in tensors else "nothing"
        if found != expected:
            raise UserError(f"{folder / MODELS}: {name} is {found}, not {expected}")
    return Block(
        architecture,
        {name: tensors[name] for name in architecture.shapes},
        {name: tensors[name] for name in architecture.buffers},
        plan,
        description.get("privacy"),
    )
