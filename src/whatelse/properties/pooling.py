"""What is kept of an update: magnitudes of its weights, max-pooled (P3 Sec. VI-A)."""

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.models.layers import is_weight
from whatelse.training.program import Vectors


def pooled(update: Vectors, max_features: int) -> Tensor:
    """Return at most so many numbers of an update.

    Biases are left out. If there are too many numbers, every filter and every row of a
    dense layer becomes its largest magnitude; what is still too long is pooled in
    windows of equal length over all of it.

    Parameters
    ----------
    update : dict of str to Tensor
        A gradient, or a change of a model.
    max_features : int
        At least 1.

    Returns
    -------
    Tensor of float32, shape (features,)
        Not negative; the same length for updates of the same shapes.
    """
    parts = [value.abs() for value in update.values() if is_weight(value.shape)]
    if sum(part.numel() for part in parts) > max_features:
        parts = [
            (part.flatten(2) if part.dim() > 2 else part).amax(-1) for part in parts
        ]
    whole = torch.cat([part.flatten() for part in parts]).float()
    window = -(-len(whole) // max_features)
    if window == 1:
        return whole
    return functional.max_pool1d(whole[None], window, ceil_mode=True)[0]
