"""What the layers of a net make of records: features, layer by layer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from whatelse.errors import UserError
from whatelse.models.stacked import Architecture
from whatelse.models.text import LastState, MaxOverTime

POOLINGS = (nn.MaxPool2d, MaxOverTime)
"""What shrinks images or sequences: dropout comes after it."""

# A recurrent layer has its activations inside.
_ACTIVATIONS = (
    nn.ReLU, nn.Tanh, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, LastState,
)  # fmt: skip


def module_of(
    architecture: Architecture, tensors: Mapping[str, Tensor],
    device: torch.device | str = "cpu",
) -> nn.Module:  # fmt: skip
    """Return a model in PyTorch's plain form, with these parameters and buffers."""
    # Made without numbers first: PyTorch would draw them from its global generator.
    with torch.device("meta"):
        module = architecture.module()
    names = (*architecture.shapes, *architecture.buffers)
    places = (*module.named_parameters(), *module.named_buffers())
    for name, (place, like) in zip(names, places, strict=True):
        value = tensors[name].detach().to("cpu", like.dtype, copy=True)
        owner, _, own = place.rpartition(".")
        is_parameter = isinstance(like, nn.Parameter)
        setattr(
            module.get_submodule(owner), own,
            nn.Parameter(value) if is_parameter else value,
        )  # fmt: skip
    return module.to(device)  # which lays recurrent layers out for a GPU


def laid_out(
    module: nn.Module, device: torch.device
) -> Callable[[Tensor], Tensor]:  # fmt: skip
    """Lay a net out as its device is fast with; return how its inputs are laid out.

    Convolutions of images on a CPU are faster on channels that lie last.
    """
    images = any(parameter.dim() == 4 for parameter in module.parameters())
    if device.type != "cpu" or not images:
        return lambda inputs: inputs
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return lambda inputs: inputs.contiguous(memory_format=torch.channels_last)


def layers_of(module: nn.Module) -> dict[str, nn.Module]:
    """Return the layers whose outputs are looked at, by name.

    Every activation, then the module that ends the net; of a net without activation
    modules, everything that has parameters of its own.

    Raises
    ------
    UserError
        If there is no such layer.
    """
    leaves = [
        (name, part)
        for name, part in module.named_modules()
        if not any(part.children())
    ]
    chosen = [(name, part) for name, part in leaves if isinstance(part, _ACTIVATIONS)]
    parts = [
        (name, part) for name, part in leaves if any(True for _ in part.parameters())
    ]
    if not parts:
        raise UserError("model: has no layer with parameters; allowed: a torch.nn net")
    if not chosen:
        return dict(parts)
    return dict([*chosen, parts[-1]])


@contextmanager
def watched(
    layers: Mapping[str, nn.Module], keep: Callable[[str, Tensor], None]
) -> Iterator[Callable[[], None]]:
    """Hand every layer's output to `keep`, by its name, while records go through.

    A layer that a pass uses twice is ``name`` and ``name#2``. What is yielded is to be
    called before each pass.
    """
    calls: dict[str, int] = {}

    def hook(name: str) -> Callable[..., None]:
        def seen(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, Tensor):
                again = f"#{calls[name]}" if calls[name] > 1 else ""
                keep(name + again, output.detach())

        return seen

    handles = [part.register_forward_hook(hook(name)) for name, part in layers.items()]
    try:
        yield calls.clear
    finally:
        for handle in handles:
            handle.remove()


def pooled_to(output: Tensor, most: int) -> Tensor:
    """Return a layer's output as one row a record, images averaged over squares.

    Parameters
    ----------
    output : Tensor, shape (B, ...)
        Of a layer.
    most : int
        Features that a record may have, roughly: of images, places are averaged until
        they fit, down to one a channel.

    Returns
    -------
    Tensor, shape (B, features)
    """
    if output.dim() == 4:
        channels, side = output.shape[1], min(output.shape[2:])
        places = max(1, min(side, int((most / channels) ** 0.5)))
        if channels * output.shape[2] * output.shape[3] > most:
            output = nn.functional.adaptive_avg_pool2d(output, places)
    return output.flatten(1).to(torch.float32)
