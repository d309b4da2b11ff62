"""Images that are moved and mirrored: by lot as they are trained on, or in all ways."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.models.settings import Ways

if TYPE_CHECKING:
    from whatelse.training.ensemble import TrainingData


@dataclass(frozen=True)
class AugmentedImages:
    """Images on a device, asked for by record and by how each is changed.

    Number ``way * N + record`` is a record in one of `ways` ways: every shift, as it is
    and mirrored. One number each, so that batches are gathered as they always are; the
    first way changes nothing.

    Attributes
    ----------
    padded : Tensor, shape (N, C, H + 2 shift, W + 2 shift)
        Images with zeros around them.
    shape : tuple of int
        (N, C, H, W).
    shift : int
        Most pixels that an image is moved by.
    """

    padded: Tensor
    shape: tuple[int, ...]
    shift: int

    @classmethod
    def of(cls, images: Tensor, settings: Ways) -> "AugmentedImages":
        """Return images, shape (N, C, H, W), with zeros around them."""
        padded = functional.pad(images, (settings.shift,) * 4)
        return cls(padded, tuple(images.shape), settings.shift)

    def index_select(self, dim: int, index_B: Tensor) -> Tensor:
        """Return images by number, as ``Tensor.index_select`` does."""
        records, channels, height, width = self.shape
        side = 2 * self.shift + 1
        way_B, record_B = index_B // records, index_B % records
        mirrored_B = way_B >= side * side
        # counted from the middle, so that 0 is no move
        way_B = (way_B + side * side // 2) % (side * side)
        device = index_B.device
        rows_BH = (way_B // side)[:, None] + torch.arange(height, device=device)
        columns_W = torch.arange(width, device=device)
        columns_BW = torch.where(
            mirrored_B[:, None], columns_W.flip(0), columns_W
        ) + (way_B % side)[:, None]  # fmt: skip
        return self.padded[
            record_B[:, None, None, None],
            torch.arange(channels, device=device)[:, None, None],
            rows_BH[:, None, :, None],
            columns_BW[:, None, None, :],
        ]


def augmented(data: "TrainingData", settings: Ways) -> "TrainingData":
    """Return data whose images can be asked for in several ways.

    Raises
    ------
    UserError
        If records are no images, or a shift moves all of one out of sight.
    """
    images = data.inputs
    if not isinstance(images, Tensor) or images.dim() != 4:
        raise UserError("augment: records are no images; allowed: leave it out")
    height, width = images.shape[-2:]
    if settings.shift >= min(height, width):
        raise UserError(
            f"shift: {settings.shift} pixels of images of {height}x{width}; "
            f"allowed: 0..{min(height, width) - 1}"
        )
    return replace(data, inputs=AugmentedImages.of(images, settings))


def drawn_ways(
    order: NDArray[np.int64], settings: Ways, records: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return records in one of the ways each, by lot."""
    return order + records * rng.integers(settings.count, size=len(order))
