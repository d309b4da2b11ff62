"""``whatelse layers``: what the layers of a net of your own separate records by.

The net is made by a function of a Python file of yours, which is run; its weights are
read from ``.safetensors``. Beside it stands the same net with random weights, as its
modules draw them. Records come from an ``.npz`` file with ``inputs`` (as the
net takes them), ``labels`` and ``property`` (whole numbers), best ones that it was not
trained on. With ``--out`` the maps and probes are drawn, as a study's are.
"""

import argparse
import importlib.util
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from whatelse import records
from whatelse.errors import UserError
from whatelse.measures.spread import spread
from whatelse.properties.layers import PROPERTY, RANDOM, TASK, TRAINED
from whatelse.properties.probing import (
    Looked,
    Words,
    convolutional,
    features_of,
    halves,
    look,
    maps_of,
)
from whatelse.training.blocks import BROKEN, load_tensors

_COLUMNS = (TASK, PROPERTY)
_PICKLED = (b"PK\x03\x04", b"\x80")  # how torch.save begins, now and formerly
_ARRAYS = ("inputs", "labels", "property")
_FEWEST = 40  # records
_MAPPED = 1000  # at most


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "net", metavar="FILE.py:FUNCTION",
        help="returns a torch.nn.Module when it is called without arguments; what "
        "its modules' reset_parameters() draw are the random weights beside it",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FILE.safetensors",
        help="the module's state, by the names of its state_dict",
    )  # fmt: skip
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE.npz",
        help="inputs, labels and property, one row a record",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the halves and probes")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to draw the sheet into"
    )


def run(args: argparse.Namespace) -> None:
    """Print a line for every layer."""
    if args.seed < 0:
        raise UserError(f"--seed: {args.seed}; allowed: 0 or more")
    # nets draw their first weights from the global generator: the same ones each time
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(args.seed)
        net = _net(args.net)
        _draw_weights(args.net, net)
    inputs, columns = _records(args.data)
    shape = tuple(inputs.shape)
    with _users_code(f"{args.data}: inputs of shape {shape}", "what the net takes"):
        fresh = features_of(net, inputs)
    _load(net, args.weights)
    with _users_code(f"{args.data}: inputs of shape {shape}", "what the net takes"):
        trained = features_of(net, inputs)
        images = convolutional(net, inputs[:1])
    fitted = halves(len(inputs), args.seed)
    for name, column in columns.items():
        if len(set(column[fitted].tolist())) < 2:
            raise UserError(
                f"{args.data}: {name}: one value alone; allowed: at least two"
            )
    features = {TRAINED: trained, RANDOM: fresh}
    looked = look(features, images, columns, fitted, args.seed)
    _print(looked.found)
    if args.out:
        _draw(args, looked, columns)


def _print(found: pd.DataFrame) -> None:
    """Print a line for every layer, and one for the majority."""
    table = found.set_index(["layer", "model", "column"])
    margin = " " * 31
    print(f"{'accuracy on held-out half':31s}{'trained net':28s}random weights")
    print(margin + (2 * f"{'task':14s}{'property':14s}").rstrip())
    print(margin + (4 * "probe  k-NN   ").rstrip())
    for layer in dict.fromkeys(found["layer"]):
        cells = [
            table.loc[(layer, model, column), probe]
            for model, column in itertools.product((TRAINED, RANDOM), _COLUMNS)
            for probe in ("linear", "neighbours")
        ]
        print(f"  {layer:27s}", *(f" {cell:.3f}" for cell in cells))
    majority = [
        found.loc[found["column"] == column, "majority"].iloc[0] for column in _COLUMNS
    ]
    print(f"  {'majority':27s}  {majority[0]:.3f}         {majority[1]:.3f}")


def _draw(args: argparse.Namespace, looked: Looked, columns: dict[str, Words]) -> None:
    """Draw the sheet of a study, and write what it is drawn from beside it."""
    from whatelse.figures import layers, style
    from whatelse.figures.results import AttackResult
    from whatelse.figures.settings import Layers
    from whatelse.measures.association import cramers_v

    order = np.random.default_rng(args.seed).permutation(len(columns[TASK]))
    said = {"task": columns[TASK], "has_it": (columns[PROPERTY] > 0).astype(np.int64)}
    places = maps_of(looked.points, np.sort(order[:_MAPPED]), said, args.seed)
    correlation = cramers_v(columns[TASK], columns[PROPERTY] > 0)
    name = args.net.rpartition(":")[2]
    metrics = {
        "kind": "properties.layers", "name": name, "grid": {},
        "dataset": {"name": args.data.stem, "title": args.data.name},
        "replicates": [{"replicate": 0, "task_correlation": correlation}],
        "summary": {"task_correlation": spread([correlation])},
    }  # fmt: skip
    records.write_json(args.out / "metrics.json", metrics)
    with records.atomic(args.out / "curves.csv") as file:
        looked.found.assign(replicate=0).to_csv(file, index=False)
    records.write_with(
        args.out / "scores.parquet", places.assign(replicate=0).to_parquet
    )
    title = f"What the layers of {name} separate records by"
    settings = Layers(kind="layers", attacks=(name,), title=title)
    style.save(*layers.draw(settings, [AttackResult(args.out)]), args.out)
    print(f"{args.out}: drawn")


def _net(place: str) -> nn.Module:
    """Make the user's net.

    Raises
    ------
    UserError
        If the file cannot be run, there is no such function, or it returns no module.
    """
    path, _, name = place.rpartition(":")
    if not path:
        raise UserError(f"net: {place!r} names no function; allowed: FILE.py:FUNCTION")
    if not Path(path).is_file():
        raise UserError(f"net: {path}: no such file; allowed: FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location("users_net", path)
    if spec is None or spec.loader is None:
        raise UserError(f"net: {path}: not Python; allowed: FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as an import does: dataclasses look there
    with _users_code(f"net: {path}", "a file that Python runs"):
        spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise UserError(f"net: {path} has no {name!r}; allowed: one of its functions")
    with _users_code(f"net: {place}", "a function that is called without arguments"):
        made = getattr(module, name)()
    if not isinstance(made, nn.Module):
        raise UserError(
            f"net: {place} returns {type(made).__name__}; allowed: a torch.nn.Module"
        )
    return made


@contextmanager
def _users_code(place: str, allowed: str) -> Iterator[None]:
    """Run what a user wrote: whatever it raises is one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        told = f"{type(error).__name__}{': ' if said else ''}{said}"
        raise UserError(f"{place}: {told}; allowed: {allowed}") from None


def _draw_weights(place: str, net: nn.Module) -> None:
    """Draw weights afresh, as a function may return a net that has learned.

    Raises
    ------
    UserError
        If a module does not say how its weights are drawn.
    """
    for name, part in net.named_modules():
        # PyTorch's own attention has it under the second name
        reset = getattr(part, "reset_parameters", None)
        reset = reset or getattr(part, "_reset_parameters", None)
        if reset is None and not any(True for _ in part.parameters(recurse=False)):
            continue
        if reset is None:
            raise UserError(
                f"net: {place}: {name or 'the module'} ({type(part).__name__}) has "
                "weights and no reset_parameters(), so that none can be drawn to hold "
                "it against; allowed: modules that have it, as torch.nn's do"
            )
        with _users_code(f"net: {place}: {name}.reset_parameters()", "one that runs"):
            reset()


def _load(net: nn.Module, path: Path) -> None:
    try:
        state = load_tensors(path)
    except UserError as error:
        if not path.is_file() or not path.read_bytes().startswith(_PICKLED):
            raise
        raise UserError(
            f"{error}, but one of torch.save; allowed: what safetensors.torch."
            "save_file(net.state_dict(), PATH) writes"
        ) from None
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if differing := sorted({name for name, _ in expected.items() ^ found.items()}):
        name = differing[0]
        raise UserError(
            f"{path}: {name}: {found.get(name, 'missing')}, the net has "
            f"{expected.get(name, 'none')}; allowed: its own state"
        )
    net.load_state_dict(state)


def _records(path: Path) -> tuple[torch.Tensor, dict[str, Words]]:
    """Read inputs, labels and property.

    Raises
    ------
    UserError
        If the file lacks one, or they differ in length.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            parts = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except BROKEN as error:
        raise UserError(f"{path}: not an .npz file: {error}") from None
    if missing := [name for name in _ARRAYS if name not in parts]:
        raise UserError(
            f"{path}: no array {missing[0]!r}; allowed: {', '.join(_ARRAYS)}"
        )
    inputs, *columns = (parts[name] for name in _ARRAYS)
    counts = [len(parts[name]) if parts[name].ndim else 0 for name in _ARRAYS]
    if len(set(counts)) > 1 or counts[0] < _FEWEST:
        lengths = ", ".join(map(str, counts))
        raise UserError(
            f"{path}: inputs, labels, property: {lengths} rows; allowed: the same "
            f"number, {_FEWEST} or more"
        )
    if inputs.dtype.kind == "f" and not np.isfinite(inputs).all():
        raise UserError(f"{path}: inputs: NaN or infinity; allowed: finite numbers")
    if inputs.dtype.kind not in "fiub":
        raise UserError(f"{path}: inputs: {inputs.dtype}; allowed: numbers")
    codes = {
        name: np.unique(column, return_inverse=True)[1]
        for name, column in zip(_COLUMNS, columns, strict=True)
    }
    # whole numbers stay what they are: an embedding takes nothing else
    kept = inputs.astype(np.float32 if inputs.dtype.kind == "f" else np.int64)
    return torch.from_numpy(kept), codes
