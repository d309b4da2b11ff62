"""A model file of one's own: ``.safetensors`` with the tensors of one model.

Nothing is unpickled. Tensors that are not float32 (integer buffers, for one) are left
as they are and not looked at.
"""

from pathlib import Path

import torch

from whatelse.errors import UserError
from whatelse.training.tampering import Model


def floats_of(path: Path, tensors: Model) -> Model:
    """Return the float32 tensors of a file.

    Raises
    ------
    UserError
        If there are no weights among them, or one is not finite.
    """
    found = {name: own for name, own in tensors.items() if own.dtype == torch.float32}
    if not any(tensor.dim() > 1 for tensor in found.values()):
        raise UserError(f"{path}: no float32 weights; allowed: a model in float32")
    for name, tensor in found.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"{path}: {name} has values that are not finite; allowed: finite "
                "weights"
            )
    return found
