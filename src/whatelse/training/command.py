"""``whatelse train``: train some models of a family and store them as a block."""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whatelse import records
from whatelse.arguments import json_argument, range_argument
from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.models.stacked import build
from whatelse.sources import closure
from whatelse.training.blocks import load_tensors, save_block, save_tensors
from whatelse.training.device import prepare_device, resident
from whatelse.training.ensemble import choose_strategy, train
from whatelse.training.plan import draw_plan
from whatelse.training.settings import TrainSpec

_CURVE_POINTS = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "--spec",
        type=json_argument(TrainSpec),
        required=True,
        help="resolved TrainSpec",
    )
    parser.add_argument("--data", type=Path, required=True, help="data set artefact")
    parser.add_argument(
        "--models", type=range_argument, required=True, help="e.g. 0:8 for 0 to 7"
    )
    parser.add_argument("--out", type=Path, required=True, help="block to write")
    parser.add_argument(
        "--progress", type=Path, required=True,
        help="folder for finished models and curves of a block in work",
    )  # fmt: skip
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--strategy", choices=("auto", "stacked", "loop"), default="auto"
    )


def run(args: argparse.Namespace) -> None:
    """Train what is missing of the block, then write it."""
    telemetry = records.Telemetry()
    spec: TrainSpec = args.spec
    device = prepare_device(args.device, args.threads)
    dataset = open_dataset(args.data)
    architecture = build(
        spec.architecture, tuple(dataset.inputs.shape[1:]), dataset.num_classes
    )
    plan = draw_plan(
        dataset.labels, args.models, members=spec.members,
        non_members=spec.non_members, seed=spec.seed, replicate=spec.replicate,
    )  # fmt: skip
    strategy = args.strategy
    if strategy == "auto":
        strategy = choose_strategy(architecture, device)
    code = closure("whatelse.training.command")
    identity = {
        "spec": spec.model_dump(mode="json"),
        "data": records.artefact_digest(args.data),
        "code": records.files_digest(code),
        "versions": records.versions(),
    }
    progress = _Progress(args.progress, identity)
    missing = [model for model in args.models if model not in progress.finished]
    if missing:
        data = resident(dataset, device)
        groups = [missing] if strategy == "stacked" else [[model] for model in missing]
        for group in groups:
            tensors = train(
                architecture,
                spec.training,
                data,
                [
                    np.flatnonzero(plan.train[model - args.models.start])
                    for model in group
                ],
                streams=[("model", spec.replicate, model) for model in group],
                seed=spec.seed,
                strategy=strategy,
                on_epoch=progress.curves(group, spec.training.epochs),
            )
            _refuse_diverged(tensors, group)
            progress.keep(group, tensors)
    parameters = progress.stacked(args.models)
    description = {
        "architecture": spec.architecture.model_dump(mode="json"),
        "input_shape": list(dataset.inputs.shape[1:]),
        "classes": dataset.num_classes,
        "scale": dataset.info["scale"],
        "shift": dataset.info["shift"],
        "parameters": sum(tensor[0].numel() for tensor in parameters.values()),
    }
    written = save_block(
        args.out, description=description, plan=plan, parameters=parameters
    )
    progress.hand_over(args.out)
    telemetry.write(
        args.out, device=str(device), strategy=strategy, trained=len(missing),
        resumed=len(args.models) - len(missing),
    )  # fmt: skip
    records.write_record(
        args.out,
        kind="train",
        spec={
            **spec.model_dump(mode="json"),
            "models": [args.models.start, args.models.stop],
        },
        inputs={"data": args.data},
        code=code,
        outputs=written,
    )
    # Progress stays until the workflow is done: a job that is killed now has not been
    # taken for finished yet, and Snakemake deletes its block.


def _refuse_diverged(tensors: dict[str, torch.Tensor], group: list[int]) -> None:
    for position, model in enumerate(group):
        if not all(
            torch.isfinite(tensor[position]).all() for tensor in tensors.values()
        ):
            raise UserError(
                f"training.optimizer.learning_rate: model {model} diverged "
                "(weights are not finite); allowed: a lower rate"
            )


class _Progress:
    """Finished models and curves of a block in work, outside Snakemake's outputs.

    Snakemake deletes the outputs of a job that was killed; what lies here stays, and
    is used if spec, data and code are still the same.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        self.folder = folder
        stamp = folder / "identity.json"
        if not stamp.exists() or records.read_json(stamp) != identity:
            self.clear()
            records.write_json(stamp, identity)
        self._history = folder / "history.jsonl"
        self.finished = {
            int(path.stem.removeprefix("model_")): path
            for path in folder.glob("model_*.safetensors")
        }

    def curves(self, group: list[int], epochs: int) -> Any:
        """Return a hook that appends the losses of a group to the history."""
        every = max(1, epochs // _CURVE_POINTS)

        def hook(epoch: int, losses: np.ndarray[Any, Any]) -> None:
            if epoch % every and epoch not in (1, epochs):
                return
            lines = [
                json.dumps(
                    {"model": model, "epoch": epoch, "loss": round(float(loss), 6)}
                )
                for model, loss in zip(group, losses, strict=True)
            ]
            with open(self._history, "a", encoding="utf-8") as file:
                file.write("\n".join(lines) + "\n")

        return hook

    def keep(self, group: list[int], tensors: dict[str, torch.Tensor]) -> None:
        """Store each finished model in a file of its own."""
        for position, model in enumerate(group):
            path = self.folder / f"model_{model}.safetensors"
            save_tensors(path, {name: t[position] for name, t in tensors.items()})
            self.finished[model] = path

    def stacked(self, models: range) -> dict[str, torch.Tensor]:
        """Return the parameters of some finished models, stacked."""
        loaded = [load_tensors(self.finished[model]) for model in models]
        return {name: torch.stack([m[name] for m in loaded]) for name in loaded[0]}

    def hand_over(self, folder: Path) -> None:
        """Copy the curves beside the finished block."""
        text = (
            self._history.read_text(encoding="utf-8") if self._history.exists() else ""
        )
        with records.atomic(folder / "history.jsonl") as file:
            file.write(text)

    def clear(self) -> None:
        """Remove everything."""
        for path in [*self.folder.glob("*.safetensors"), *self.folder.glob("*.json*")]:
            path.unlink()
