"""CIFAR-10 and CIFAR-100, in the published python batches.

The batches are pickles. They are read only after the digest of their archive matched
(``prepare`` sees to it), and by an unpickler that makes arrays and nothing else.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.loaders.archives import read_members
from whatelse.datasets.settings import Cifar10, Cifar100
from whatelse.datasets.store import SPLIT
from whatelse.errors import UserError

SHAPE = (3, 32, 32)

# The batches were written by Python 2 and numpy 1.
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def load_cifar10(settings: Cifar10, files: Mapping[str, Path]) -> Loaded:
    """Return the images (3, 32, 32), bytes 0 to 255, training images first."""
    return _load(
        files["cifar-10-python.tar.gz"],
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{number}" for number in range(1, 6)),
        test="test_batch",
        meta=("batches.meta", "label_names"),
        labels="labels",
    )


def load_cifar100(settings: Cifar100, files: Mapping[str, Path]) -> Loaded:
    """Return the images (3, 32, 32) with fine labels, training images first."""
    return _load(
        files["cifar-100-python.tar.gz"],
        folder="cifar-100-python",
        train=("train",),
        test="test",
        meta=("meta", "fine_label_names"),
        labels="fine_labels",
    )


def _load(
    path: Path,
    *,
    folder: str,
    train: tuple[str, ...],
    test: str,
    meta: tuple[str, str],
    labels: str,
) -> Loaded:
    wanted = [f"{folder}/{name}" for name in (*train, test, meta[0])]
    members = read_members(path, wanted, lambda name, file: _unpickle(path, name, file))

    def field(name: str, key: str) -> Any:
        member = f"{folder}/{name}"
        if key not in members[member]:
            raise UserError(f"{path}: {member}: no field {key!r}")
        return members[member][key]

    images, classes, sizes = [], [], []
    for batch in (*train, test):
        data = np.asarray(field(batch, "data"))
        if data.dtype != np.uint8 or data.shape[1:] != (np.prod(SHAPE),):
            raise UserError(
                f"{path}: {folder}/{batch}: data: {data.dtype} of shape {data.shape}; "
                "allowed: uint8 of shape (records, 3072)"
            )
        images.append(data.reshape(-1, *SHAPE))
        classes.append(np.asarray(field(batch, labels), dtype=np.int64))
        sizes.append(len(data))
    return Loaded(
        inputs=np.concatenate(images),
        labels=np.concatenate(classes),
        class_names=tuple(map(_text, field(*meta))),
        scale=1 / 255,
        attributes={SPLIT: np.repeat(["train", "test"], [sum(sizes[:-1]), sizes[-1]])},
    )


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(path: Path, member: str, file: IO[bytes]) -> dict[str, Any]:
    try:
        batch = _ArraysOnly(io.BytesIO(file.read()), encoding="bytes").load()
    except (pickle.UnpicklingError, ValueError, IndexError, TypeError) as error:
        raise UserError(f"{path}: {member}: refused: {error}") from None
    if not isinstance(batch, dict):
        raise UserError(f"{path}: {member}: refused: no dictionary")
    return {_text(key): value for key, value in batch.items()}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
