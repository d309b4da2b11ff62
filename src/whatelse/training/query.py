"""``whatelse query``: ask models about the records that they are tested on.

Of reference attacks, about all records: see ``whatelse.models.signals``.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.datasets.attributes import numbers_of
from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.models.features import module_of
from whatelse.models.layers import dense
from whatelse.models.outputs import (
    CONTROL,
    TARGET,
    Outputs,
    about_dataset,
    save_outputs,
)
from whatelse.models.ranks import count_ranks, edges_of, ranks_of, right_of, shares
from whatelse.models.release import Oracle
from whatelse.models.settings import (
    AskedSettings,
    Probabilities,
    Ranks,
    ReleaseSettings,
    Temperature,
)
from whatelse.models.settings import Signals as SignalsSettings
from whatelse.models.signals import Signals, save_signals
from whatelse.sources import closure
from whatelse.training.augment import augmented
from whatelse.training.blocks import Block, load_block
from whatelse.training.device import DEVICES, prepare_device, resident
from whatelse.training.ensemble import TrainingData
from whatelse.training.next_word import language_model, targets_of

_MOST_ANSWERS = 2**23  # probabilities of a pass over words
_ROWS_AT_ONCE = 4096  # records of one model in a forward pass
# Where a probability is zero. Probabilities that nobody cut are zero beyond the range
# of float64 only; cut ones are zero where the model was merely sure.
_LEAST, _LEAST_OF_CUT = 1e-300, 1e-12
_GRADIENTS = 2**24  # numbers of gradients at once: 64 MB
_LEAST_NORM = 1e-30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(AskedSettings), required=True,
        help="resolved release settings, or signals through a release",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument("--block", type=Path, required=True, help="block of models")
    parser.add_argument("--out", type=Path, required=True, help="outputs to write")
    parser.add_argument("--device", default="auto", help=DEVICES)
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Write the released outputs, or signals, of every model of the block."""
    telemetry = records.Telemetry()
    device = prepare_device(args.device, args.threads)
    dataset = open_dataset(args.data)
    block = load_block(args.block)
    if block.plan.train.shape[1] != dataset.num_records:
        raise UserError(
            f"{args.block}: trained on {block.plan.train.shape[1]} records, "
            f"{args.data} has {dataset.num_records}: not the same data set"
        )
    data = resident(dataset, device)
    if isinstance(args.spec, Ranks):
        written, queries = _ask_ranks(args.out, args.spec, dataset, block, data)
    elif isinstance(args.spec, SignalsSettings):
        written, queries = _ask_signals(args.out, args.spec, dataset, block, data)
    else:
        written, queries = _ask_outputs(args.out, args.spec, dataset, block, data)
    telemetry.write(args.out, device=str(device), queries=queries)
    records.write_record(
        args.out,
        kind="query",
        spec=args.spec.model_dump(mode="json"),
        inputs={"data": args.data, "block": args.block},
        code=closure("whatelse.training.query"),
        outputs=written,
        extra={"queries": queries},
    )


def _asked(block: Block) -> list[tuple[int, int, int]]:
    """Return who is asked: a name, the row that answers, and whose records these are.

    A shadow that saw none of the target's records is the negative control; with a given
    split there is none.
    """
    asked = [(int(model), row, row) for row, model in enumerate(block.plan.models)]
    with_shadow = len(asked) > 1 and asked[0][0] == TARGET
    if with_shadow and not (block.plan.train[1] & block.plan.test[0]).any():
        asked.append((CONTROL, 1, 0))
    return asked


def _ask_outputs(
    out: Path, release: ReleaseSettings, dataset: Dataset, block: Block,
    data: TrainingData,
) -> tuple[list[str], int]:  # fmt: skip
    """Write released outputs; return the names of files, and how many were asked."""
    parts = []
    for model, answering, tested_like in _asked(block):
        oracle, asked = Oracle(release), _Model(block, answering, data)
        tested = np.flatnonzero(block.plan.test[tested_like])
        chunks = np.array_split(tested, -(-len(tested) // _ROWS_AT_ONCE))
        answers = [oracle.answer(asked.logits(chunk)).float().cpu() for chunk in chunks]
        member = block.plan.train[tested_like, tested]
        parts.append((model, tested, member, torch.cat(answers)))
    record = np.concatenate([tested for _, tested, _, _ in parts])
    outputs = Outputs(
        model=np.concatenate(
            [np.full(len(t), model, dtype=np.int64) for model, t, _, _ in parts]
        ),
        record=record,
        label=dataset.labels[record],
        member=np.concatenate([member for _, _, member, _ in parts]),
        probabilities=np.concatenate([answers.numpy() for _, _, _, answers in parts]),
        about=_about(dataset, block),
    )
    return save_outputs(out, outputs), len(record)


def _ask_ranks(
    out: Path, asked: Ranks, dataset: Dataset, block: Block, data: TrainingData
) -> tuple[list[str], int]:
    """Write a histogram for every model and user; return files, and the queries.

    Raises
    ------
    UserError
        If the model is none of language, or learned from a part of a user.
    """
    model = language_model(block.architecture)
    users, user_of = numbers_of(dataset, asked.attribute, "ranks.attribute")
    edges = edges_of(asked, dataset.num_classes)
    # as many windows at once as give _MOST_ANSWERS probabilities
    length = dataset.inputs.shape[1]
    at_once = max(1, _MOST_ANSWERS // (length * dataset.num_classes))
    parts, queries = [], 0
    for name, answering, tested_like in _asked(block):
        oracle = Oracle(asked.release)
        parameters = _parameters(block, answering, data.device)
        tested = np.flatnonzero(block.plan.test[tested_like])
        counts = np.zeros((len(users), asked.bins), dtype=np.int64)
        right = np.zeros(len(users), dtype=np.int64)
        for chunk in np.array_split(tested, -(-len(tested) // at_once)):
            index = torch.from_numpy(chunk).to(data.device)
            words_BL = dense(data.gather(index.unsqueeze(0)))[0]
            targets_BL = targets_of(words_BL, data.labels[index])
            said = targets_BL > 0
            with torch.inference_mode():
                logits_BLC = model.all_logits(parameters, words_BL.unsqueeze(0))[0]
            ranks = ranks_of(oracle.answer(logits_BLC[said]), targets_BL[said])
            owner = user_of[chunk].repeat(said.sum(1).cpu().numpy())
            counts += count_ranks(ranks, owner, edges, len(users))
            right += right_of(ranks, owner, len(users))
        queries += oracle.queries
        inside = np.bincount(
            user_of[tested], block.plan.train[tested_like, tested], len(users)
        )
        own = np.bincount(user_of[tested], minlength=len(users))
        if partly := np.flatnonzero((inside > 0) & (inside < own)).tolist():
            user = str(users[partly[0]])
            raise UserError(
                f"ranks.attribute: model {name} learned from a part of {user!r}; "
                f"allowed: models with unit: {asked.attribute}"
            )
        there = np.flatnonzero(own)
        parts.append((name, there, inside[there] > 0, counts[there], right[there]))
    counts = np.concatenate([part[3] for part in parts])
    record = np.concatenate([part[1] for part in parts])
    outputs = Outputs(
        model=np.repeat([part[0] for part in parts], [len(part[1]) for part in parts]),
        record=record,
        label=np.zeros_like(record),
        member=np.concatenate([part[2] for part in parts]),
        probabilities=shares(counts),
        about={
            **_about(dataset, block), "records": len(users), "classes": 1,
            "class_names": ["all"],
        },
        asked=counts.sum(1),
        right=np.concatenate([part[4] for part in parts]),
    )  # fmt: skip
    return save_outputs(out, outputs), queries


def _ask_signals(
    out: Path, asked: SignalsSettings, dataset: Dataset, block: Block,
    data: TrainingData,
) -> tuple[list[str], int]:  # fmt: skip
    """Write signals about all records; return the names of files, and the queries.

    Raises
    ------
    UserError
        If images are to be augmented that are none.
    """
    if asked.queries.count > 1 and len(dataset.inputs.shape) != 4:
        raise UserError(
            f"queries: {asked.queries.count} of each record, and records have shape "
            f"{tuple(dataset.inputs.shape[1:])}; allowed: left out, or images"
        )
    models, num_records = block.plan.train.shape
    cut = not isinstance(asked.release, Probabilities | Temperature)
    least = _LEAST_OF_CUT if cut else _LEAST
    shape = (models, num_records, asked.queries.count)
    names = ("margin", "log_probability", "right")
    signals = {
        name: np.empty(shape, dtype=bool if name == "right" else np.float32)
        for name in names
    }
    everything = np.arange(num_records)
    seen = augmented(data, asked.queries) if asked.queries.count > 1 else data
    queries = 0
    for row in range(models):
        oracle, model = Oracle(asked.release), _Model(block, row, seen)
        for chunk in np.array_split(everything, -(-num_records // _ROWS_AT_ONCE)):
            true = torch.from_numpy(dataset.labels[chunk])
            for query in range(asked.queries.count):
                logits = model.logits(query * num_records + chunk)
                answer = oracle.answer(logits).cpu()
                for name, found in zip(
                    names, _signals(answer, true, least), strict=True
                ):
                    signals[name][row, chunk, query] = found
        queries += oracle.queries
    if asked.gradients:
        signals["gradient_norm"] = -np.log(
            np.stack([gradient_norms(block, row, data) for row in range(models)])
        )[..., None]
    whole = Signals(
        model=block.plan.models,
        train=block.plan.train,
        correct=signals["right"][..., 0],
        values=signals["margin"],
        pool=block.plan.test[0],
        label=dataset.labels,
        about=_about(dataset, block),
    )
    return save_signals(out, whole, signals), queries


def _about(dataset: Dataset, block: Block) -> dict[str, Any]:
    """Return what outputs say of their data set and of the models' promises."""
    about = about_dataset(dataset.info["name"], dataset.info)
    return {**about, "privacy": block.privacy} if block.privacy else about


def _signals(
    answer: torch.Tensor, true: torch.Tensor, least: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return margin, log-probability and rightness of the true classes, (rows,)."""
    place = true.unsqueeze(-1)
    ours = answer.gather(-1, place).squeeze(-1)
    # The others are summed: one minus ours would round a sure model's rest to zero.
    rest = answer.scatter(-1, place, 0.0).sum(-1)
    ours, rest = (part.clamp_min(least).log() for part in (ours, rest))
    right = answer.argmax(-1) == true
    return (ours - rest).numpy(), ours.numpy(), right.numpy()


def gradient_norms(
    block: Block, row: int, data: TrainingData
) -> NDArray[np.float32]:  # fmt: skip
    """Return the length of the gradient of each record's loss by a model's weights.

    Parameters
    ----------
    block : Block
        Models; nets whose layers PyTorch can vectorise.
    row : int
        Which of them.
    data : TrainingData
        All records.

    Returns
    -------
    ndarray of float32, shape (records,)
        L2, of the cross-entropy; at least the smallest number, so that it has a log.
    """
    device = data.device
    module = module_of(block.architecture, block.model(row), device).eval()
    weights = {name: value.detach() for name, value in module.named_parameters()}
    rest = dict(module.named_buffers())

    def loss(
        chosen: dict[str, torch.Tensor], features: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        found = functional_call(module, (chosen, rest), (features.unsqueeze(0),))
        return functional.cross_entropy(found.double(), label.unsqueeze(0))

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    size = max(1, _GRADIENTS // sum(value.numel() for value in weights.values()))
    norms = []
    for index in torch.arange(data.num_records, device=device).split(size):
        features = dense(data.gather(index.unsqueeze(0)))[0]
        found = each(weights, features, data.labels[index])
        squares = [own.flatten(1).double().square().sum(1) for own in found.values()]
        norms.append(torch.stack(squares).sum(0).sqrt())
    whole = torch.cat(norms).clamp_min(_LEAST_NORM)
    return whole.float().cpu().numpy()


def _parameters(
    block: Block, row: int, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return those of one model, on a device."""
    return {k: v[row : row + 1].to(device) for k, v in block.parameters.items()}


class _Model:
    """One model of a block, its weights on the device of the data.

    One model at a time, in chunks of one size: as with training, the answers then do
    not depend on how many models lie in the block.
    """

    def __init__(self, block: Block, row: int, data: TrainingData) -> None:
        self.architecture, self.data = block.architecture, data
        self.parameters = _parameters(block, row, data.device)
        self.buffers = {
            k: v[row : row + 1].to(data.device) for k, v in block.buffers.items()
        }

    def logits(self, chosen: NDArray[np.int64]) -> torch.Tensor:
        """Return those for some records, by number, shape (records, classes)."""
        index = torch.from_numpy(chosen).to(self.data.device).unsqueeze(0)
        with torch.inference_mode():
            features = self.data.gather(index)
            return self.architecture.forward(
                self.parameters, features, buffers=self.buffers
            )[0]
