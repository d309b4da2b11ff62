"""``whatelse query``: ask models about the records that they are tested on."""

import argparse
from pathlib import Path

import numpy as np
import torch

from whatelse import records
from whatelse.arguments import json_argument
from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.models.outputs import (
    CONTROL,
    TARGET,
    Outputs,
    about_dataset,
    save_outputs,
)
from whatelse.models.release import Oracle
from whatelse.models.settings import ReleaseSettings
from whatelse.sources import closure
from whatelse.training.blocks import Block, load_block
from whatelse.training.device import DEVICES, prepare_device, resident
from whatelse.training.ensemble import TrainingData

_ROWS_AT_ONCE = 4096  # records of one model in a forward pass


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec", type=json_argument(ReleaseSettings), required=True,
        help="resolved release settings",
    )  # fmt: skip
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument("--block", type=Path, required=True, help="block of models")
    parser.add_argument("--out", type=Path, required=True, help="outputs to write")
    parser.add_argument("--device", default="auto", help=DEVICES)
    parser.add_argument("--threads", type=int, default=1)


def run(args: argparse.Namespace) -> None:
    """Write the released outputs of every model of the block."""
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
    asked = [(int(model), row, row) for row, model in enumerate(block.plan.models)]
    with_shadow = len(asked) > 1 and asked[0][0] == TARGET
    # A shadow that saw none of the target's records is the negative control; with a
    # given split there is none.
    if with_shadow and not (block.plan.train[1] & block.plan.test[0]).any():
        asked.append((CONTROL, 1, 0))
    parts = []
    for model, answering, tested_like in asked:
        oracle = Oracle(args.spec)
        tested = np.flatnonzero(block.plan.test[tested_like])
        chunks = np.array_split(tested, -(-len(tested) // _ROWS_AT_ONCE))
        answers = [
            oracle.answer(_logits(block, answering, data, chunk)).float().cpu()
            for chunk in chunks
        ]
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
        about=about_dataset(dataset.info["name"], dataset.info),
    )
    written = save_outputs(args.out, outputs)
    telemetry.write(args.out, device=str(device), queries=len(record))
    records.write_record(
        args.out,
        kind="query",
        spec=args.spec.model_dump(mode="json"),
        inputs={"data": args.data, "block": args.block},
        code=closure("whatelse.training.query"),
        outputs=written,
        extra={"queries": len(record)},
    )


def _logits(
    block: Block, row: int, data: TrainingData, chosen: np.ndarray
) -> torch.Tensor:
    """Return the logits of one model for some records, shape (records, classes).

    One model at a time, in chunks of one size: as with training, the answers then do
    not depend on how many models lie in the block.
    """
    device = data.device
    index = torch.from_numpy(chosen).to(device).unsqueeze(0)
    parameters, buffers = (
        {name: tensor[row : row + 1].to(device) for name, tensor in tensors.items()}
        for tensors in (block.parameters, block.buffers)
    )
    with torch.inference_mode():
        features = data.gather(index)
        return block.architecture.forward(parameters, features, buffers=buffers)[0]
