"""``whatelse layers``: what the layers of a net of your own separate records by.

The net is made by a function of a Python file of yours, which is run; its weights are
read from ``.safetensors``. Records come from an ``.npz`` file with ``inputs`` (as the
net takes them), ``labels`` and ``property`` (whole numbers), best ones that it was not
trained on.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn

from whatelse.errors import UserError
from whatelse.properties.probing import components, features_of, halves, probe
from whatelse.training.blocks import load_tensors

_COLUMNS = ("task", "property")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument(
        "net", metavar="FILE.py:FUNCTION",
        help="returns a torch.nn.Module when it is called without arguments",
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


def run(args: argparse.Namespace) -> None:
    """Print a line for every layer."""
    if args.seed < 0:
        raise UserError(f"--seed: {args.seed}; allowed: 0 or more")
    net = _net(args.net)
    inputs, columns = _records(args.data)
    fresh = features_of(net, inputs)
    _load(net, args.weights)
    trained = features_of(net, inputs)
    fitted = halves(len(inputs), args.seed)
    for name, column in zip(_COLUMNS, columns, strict=True):
        if len(set(column[fitted].tolist())) < 2:
            raise UserError(
                f"{args.data}: {name}: one value alone; allowed: at least two"
            )
    print("accuracy on held-out half     task  property  property, net as it was made")
    for layer, features in trained.items():
        points = components(features, fitted, args.seed)
        found = [probe(points, column, fitted) for column in columns]
        other = probe(components(fresh[layer], fitted, args.seed), columns[1], fitted)
        print(f"  {layer:27s} {found[0].linear:.3f}     {found[1].linear:.3f}"
              f"                         {other.linear:.3f}")  # fmt: skip
    print(f"  {'majority':27s} {found[0].majority:.3f}     {found[1].majority:.3f}")


def _net(place: str) -> nn.Module:
    """Make the user's net.

    Raises
    ------
    UserError
        If there is no such function, or it returns no module.
    """
    path, _, name = place.rpartition(":")
    if not path or not Path(path).is_file():
        raise UserError(f"net: {place!r}: no such file; allowed: FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location("users_net", path)
    if spec is None or spec.loader is None:
        raise UserError(f"net: {path}: not Python; allowed: FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, name):
        raise UserError(f"net: {path} has no {name!r}; allowed: one of its functions")
    made = getattr(module, name)()
    if not isinstance(made, nn.Module):
        raise UserError(
            f"net: {place} returns {type(made).__name__}; allowed: a torch.nn.Module"
        )
    return made


def _load(net: nn.Module, path: Path) -> None:
    state = load_tensors(path)
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if differing := sorted({name for name, _ in expected.items() ^ found.items()}):
        name = differing[0]
        raise UserError(
            f"{path}: {name}: {found.get(name, 'missing')}, the net has "
            f"{expected.get(name, 'none')}; allowed: its own state"
        )
    net.load_state_dict(state)


def _records(
    path: Path,
) -> tuple[torch.Tensor, tuple["np.ndarray[tuple[int], np.dtype[np.int64]]", ...]]:
    """Read inputs, labels and property.

    Raises
    ------
    UserError
        If the file lacks one, or they differ in length.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            parts = [stored[name] for name in ("inputs", "labels", "property")]
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except KeyError as error:
        raise UserError(
            f"{path}: no array {error}; allowed: inputs, labels, property"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not an .npz file: {error}") from None
    inputs, *columns = parts
    if len({len(part) for part in parts}) > 1 or len(inputs) < 40:
        lengths = ", ".join(str(len(part)) for part in parts)
        raise UserError(
            f"{path}: inputs, labels, property: {lengths} rows; allowed: the same "
            "number, 40 or more"
        )
    if not np.isfinite(inputs).all():
        raise UserError(f"{path}: inputs: NaN or infinity; allowed: finite numbers")
    codes = tuple(np.unique(column, return_inverse=True)[1] for column in columns)
    return torch.from_numpy(inputs.astype(np.float32)), codes
