"""``whatelse synthesise``: make the records that shadow models of a target learn from.

P1 Sec. V-C: the adversary has no data of the target's distribution. What it has instead
is all that a kind is handed, as `Knowledge`.
"""

import argparse
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.datasets.store import Dataset, given_split, open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.membership.domain import Domain, domain_of
from whatelse.membership.shadow_data_settings import SynthesisSpec
from whatelse.models.release import Oracle
from whatelse.models.settings import Probabilities, ReleaseSettings
from whatelse.sources import closure
from whatelse.tables import kind_in
from whatelse.training.blocks import Block, load_block
from whatelse.training.device import DEVICES, prepare_device, resident
from whatelse.training.plan import draw_plan

Ask = Callable[[NDArray[Any]], NDArray[np.float64]]
"""The target: what it releases for flat records (n, features), shape (n, classes)."""

_ROWS_AT_ONCE = 4096  # records of a forward pass
_FEWEST = 2  # records of a class: a member and a non-member


@dataclass(frozen=True)
class Knowledge:
    """What an adversary makes shadow data from.

    Attributes
    ----------
    domain : Domain
        The form of a record.
    num_classes : int
        Answers of the target.
    ask : callable or None
        The target, for kinds that ask it.
    population : ndarray or None
        Real records that the target was not trained or tested on, flat, shape (n,
        features), for kinds that have them.
    labels : ndarray of int64 or None
        Their classes.
    """

    domain: Domain
    num_classes: int
    ask: Ask | None = None
    population: NDArray[Any] | None = None
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Made:
    """Shadow data.

    Attributes
    ----------
    inputs : ndarray, shape (records, features)
        In the form that the data set stores.
    labels : ndarray of int64, shape (records,)
        Classes.
    attributes : mapping of str to sequence
        Properties of the records.
    remark : str
        What more is to be said of them.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    remark: str = ""


Make = Callable[[SynthesisSpec, Knowledge], Made]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(SynthesisSpec), required=True,
        help="resolved settings, with those that say which records are the target's",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument(
        "--block", type=Path, help="block of models that begins with the target"
    )
    parser.add_argument("--out", type=Path, required=True, help="data set to write")
    parser.add_argument("--device", default="auto", help=DEVICES)
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Make the records and write them as a data set."""
    telemetry = records.Telemetry()
    spec: SynthesisSpec = args.spec
    kind = kind_in("whatelse.shadow_data:SHADOW_DATA", spec.settings.kind, "--spec")
    make: Make = importlib.import_module(kind.module).make
    dataset = open_dataset(args.data)
    domain = domain_of(dataset)
    own = _own_records(spec, dataset)
    target = None
    if kind.asks:
        device = prepare_device(args.device, args.threads)
        release = spec.release or Probabilities()
        target = Target(_block(args.block, own), release, dataset, device)
    population = labels = None
    if kind.population:
        others = np.flatnonzero(~own)
        population = np.asarray(dataset.inputs[others]).reshape(len(others), -1)
        labels = dataset.labels[others]
    ask = target.ask if target else None
    made = make(spec, Knowledge(domain, dataset.num_classes, ask, population, labels))
    queries = target.queries if target else 0
    _refuse_missing(spec, dataset, made)
    remarks = [
        f"shadow data, {spec.settings.kind}: {len(made.labels):,} of {spec.records:,} "
        f"records, {queries:,} queries of the target",
        made.remark,
    ]
    write_dataset(
        args.out,
        inputs=made.inputs.reshape(-1, *domain.shape),
        labels=made.labels,
        info={
            **dataset.info,
            "title": f"{dataset.info['title']}, shadow data: {spec.settings.kind}",
            "remarks": [*dataset.info["remarks"], *filter(None, remarks)],
        },
        settings=spec.model_dump(mode="json"),
        attributes=made.attributes,
        inputs_from={"data": args.data, **({"block": args.block} if target else {})},
        code=closure("whatelse.membership.synthesise", kind.module),
        origin=args.data,
    )
    telemetry.write(args.out, queries=queries)


class Target:
    """The model under attack as its adversary sees it: records in, answers out.

    Parameters
    ----------
    block : Block
        Its first model is the target.
    release : ReleaseSettings
        What is seen.
    dataset : Dataset
        How stored records become features.
    device : torch.device
        Where it runs.
    """

    def __init__(
        self, block: Block, release: ReleaseSettings, dataset: Dataset,
        device: torch.device,
    ) -> None:  # fmt: skip
        self._oracle = Oracle(release)
        self._shape = dataset.inputs.shape[1:]
        self._form = resident(dataset, device, unlabelled=dataset.inputs[:0])
        self._architecture = block.architecture
        self._parameters, self._buffers = (
            {name: tensor[:1].to(device) for name, tensor in tensors.items()}
            for tensors in (block.parameters, block.buffers)
        )

    @property
    def queries(self) -> int:
        """Answers given so far."""
        return self._oracle.queries

    def ask(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return what is released for flat records, shape (n, classes)."""
        rows = torch.from_numpy(inputs.reshape(-1, *self._shape))
        chunks = range(0, len(rows), _ROWS_AT_ONCE)
        answers = [self._answer(rows[at : at + _ROWS_AT_ONCE]) for at in chunks]
        answered: NDArray[np.float64] = torch.cat(answers).cpu().numpy()
        return answered

    def _answer(self, rows: torch.Tensor) -> torch.Tensor:
        form = self._form
        with torch.inference_mode():
            stored = rows.to(form.device, torch.float32)
            features = stored * form.scale + form.shift
            logits = self._architecture.forward(
                self._parameters, features.unsqueeze(0), buffers=self._buffers
            )
        return self._oracle.answer(logits[0])


def _own_records(spec: SynthesisSpec, dataset: Dataset) -> NDArray[np.bool_]:
    """Return which records the target is trained or tested on."""
    plan = draw_plan(
        dataset.labels, range(1), members=spec.members, non_members=spec.non_members,
        seed=spec.seed, replicate=spec.replicate,
        parts=given_split(dataset) if spec.split == "given" else None,
    )  # fmt: skip
    own: NDArray[np.bool_] = plan.train[0] | plan.test[0]
    return own


def _block(folder: Path | None, own: NDArray[np.bool_]) -> Block:
    """Return the block of the target.

    Raises
    ------
    UserError
        If there is none, or it begins with another model.
    """
    if folder is None:
        raise UserError(
            "--block: left out, but these settings ask the target; allowed: its block"
        )
    block = load_block(folder)
    plan = block.plan
    known = plan.train[0] | plan.test[0]
    # not all of them: what early stopping held back is in neither
    if plan.models[0] or (known & ~own).any():
        raise UserError(
            f"{folder}: its first model is not the target of the spec; allowed: the "
            "block of model 0 on this data set, with its members and seed"
        )
    return block


def _refuse_missing(spec: SynthesisSpec, dataset: Dataset, made: Made) -> None:
    """Refuse data without two records of each class.

    Raises
    ------
    UserError
        If a class has fewer: no shadow could learn it.
    """
    counts = np.bincount(made.labels, minlength=dataset.num_classes)
    few = np.flatnonzero(counts < _FEWEST)
    if few.size:
        name = dataset.info["class_names"][few[0]]
        raise UserError(
            f"shadow_data: {spec.settings.kind} has {counts[few[0]]} of {spec.records} "
            f"records of class {few[0]} ({name!r}), and {few.size} such classes; "
            f"allowed: at least {_FEWEST} of each (more members; model-based also: a "
            "lower conf_min, a larger iter_max)"
        )
