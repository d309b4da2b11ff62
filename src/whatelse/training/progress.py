"""What a block in work leaves outside Snakemake's outputs: models and loss curves.

The tracker shows the curves while the block is in work.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from whatelse import records
from whatelse.training.blocks import load_tensors, save_tensors


def identity_of(inputs: Mapping[str, Path], code: Sequence[Path]) -> dict[str, Any]:
    """Return what a block is made from, beside its spec: digests, and versions."""
    return {
        **{role: records.artefact_digest(path) for role, path in inputs.items()},
        "code": records.files_digest(code),
        "versions": records.versions(),
    }


class Progress:
    """Finished models and curves of a block in work.

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
        if self._history.exists() and not self._history.read_bytes().endswith(b"\n"):
            # a job was killed in the middle of a line: it stays alone
            with open(self._history, "a", encoding="utf-8") as file:
                file.write("\n")
        self.finished = {
            int(path.stem.removeprefix("model_")): path
            for path in folder.glob("model_*.safetensors")
        }

    def log(self, points: list[dict[str, Any]]) -> None:
        """Append points of the loss curves."""
        with open(self._history, "a", encoding="utf-8") as file:
            file.write("".join(f"{json.dumps(point)}\n" for point in points))

    def keep(self, model: int, tensors: dict[str, torch.Tensor]) -> None:
        """Store a finished model in a file of its own."""
        path = self.folder / f"model_{model}.safetensors"
        save_tensors(path, tensors)
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
