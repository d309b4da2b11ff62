"""``whatelse detect``: tell whether a model's file looks as if it carried something.

It is held against innocent models of the same architecture: at least 8, trained in as
many ways as possible. What looks like them may still carry something, e.g. encrypted
low bits below about the 17th, or a secret in the answers. The exit code is 1 if a file
looks tampered with.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from whatelse.errors import UserError
from whatelse.memorization.model_file import floats_of
from whatelse.memorization.statistics import Detector, measure
from whatelse.records import file_digest
from whatelse.training.blocks import load_tensors
from whatelse.training.tampering import Model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL.safetensors", help="to be judged"
    )
    parser.add_argument(
        "--innocent", type=Path, nargs="+", required=True, metavar="FILE",
        help="innocent models of the same architecture",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Print a line for each file."""
    models = {path: _model(path) for path in (*args.innocent, *args.models)}
    _refuse_twice(args.innocent, args.models)
    shapes = {
        path: {name: tuple(tensor.shape) for name, tensor in model.items()}
        for path, model in models.items()
    }
    first = args.innocent[0]
    for path, found in shapes.items():
        differing = sorted({name for name, _ in found.items() ^ shapes[first].items()})
        if differing:
            raise UserError(
                f"{path}: tensor {differing[0]} is not as in {first}; allowed: models "
                "of one architecture"
            )
    detector = Detector.fit([measure(models[path]) for path in args.innocent])
    verdicts = [detector.judge(measure(models[path])) for path in args.models]
    for path, verdict in zip(args.models, verdicts, strict=True):
        word = "tampered" if verdict.tampered else "nothing seen"
        print(
            f"{path}: {word} (score {verdict.score:.2f}, above 1 is more than innocent "
            f"models show; {verdict.statistic})"
        )
    return int(any(verdict.tampered for verdict in verdicts))


def _refuse_twice(innocent: Sequence[Path], models: Sequence[Path]) -> None:
    """Refuse innocents that are the same, or the very models that are judged."""
    seen: dict[str, Path] = {}
    for path in innocent:
        first = seen.setdefault(file_digest(path), path)
        if first is not path:
            raise UserError(
                f"--innocent: {path} is {first} again; allowed: different models"
            )
    for path in models:
        own = seen.get(file_digest(path))
        if own:
            raise UserError(
                f"{path}: is --innocent {own} as well; allowed: one of both"
            )


def _model(path: Path) -> Model:
    return floats_of(path, load_tensors(path))
