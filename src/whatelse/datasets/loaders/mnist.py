"""MNIST, in idx files."""

import gzip
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whatelse._vision import torchvision
from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import Mnist
from whatelse.datasets.store import SPLIT
from whatelse.errors import UserError


def load(settings: Mnist, files: Mapping[str, Path]) -> Loaded:
    """Return the images (1, 28, 28), grey levels 0 to 255, training images first."""
    parts = {name: _read(files[f"{name}-ubyte.gz"]) for name in _FILES}
    images, labels = (
        [parts[f"{split}-{kind}"] for split in ("train", "t10k")]
        for kind in ("images-idx3", "labels-idx1")
    )
    return Loaded(
        inputs=np.concatenate(images)[:, None],
        labels=np.concatenate(labels).astype(np.int64),
        class_names=tuple(map(str, range(10))),
        scale=1 / 255,
        attributes={SPLIT: np.repeat(["train", "test"], list(map(len, labels)))},
    )


_FILES = tuple(
    f"{split}-{kind}"
    for split in ("train", "t10k")
    for kind in ("images-idx3", "labels-idx1")
)


def _read(path: Path) -> npt.NDArray[Any]:
    readers = torchvision().datasets.mnist
    raw = path.read_bytes()
    # torchvision's reader takes plain files only.
    with tempfile.NamedTemporaryFile() as plain:
        plain.write(gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw)
        plain.flush()
        try:
            tensor = readers.read_sn3_pascalvincent_tensor(plain.name)
        except (AssertionError, IndexError, ValueError, RuntimeError, KeyError):
            raise UserError(f"{path}: truncated or damaged: no idx file") from None
    array: npt.NDArray[Any] = tensor.numpy()
    if array.dtype != np.uint8:
        raise UserError(f"{path}: values of type {array.dtype}; allowed: uint8")
    return array
