"""What the records of a data set look like, known before they are prepared."""

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from whatelse.datasets.prepare import LOADERS
from whatelse.datasets.settings import Npz, Table
from whatelse.errors import UserError
from whatelse.records import RECORD, read_json
from whatelse.studies.resolve import Artefact

if TYPE_CHECKING:
    from whatelse.datasets.loaded import Loaded

_PICTURES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
             ".webp")  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """Sizes of a data set.

    Attributes
    ----------
    num_records : int
        Records.
    record : tuple of int
        Shape of one, channels first.
    num_classes : int
        Classes.
    largest, smallest : float
        Shares of the records that the largest and the smallest class hold.
    item : int
        Bytes of a stored value: 1 (uint8) or 4 (float32).
    """

    num_records: int
    record: tuple[int, ...]
    num_classes: int
    largest: float
    smallest: float
    item: int = 1

    @property
    def num_features(self) -> int:
        """Values of a record."""
        return math.prod(self.record)

    @property
    def num_bytes(self) -> int:
        """Of inputs and labels on disk."""
        return self.num_records * (self.num_features * self.item + 8)


# As prepared from the published files. Of Purchase-100 and Texas-100 no copy was at
# hand: their classes are taken to be equal in size.
KNOWN = {
    "digits": Shape(1797, (1, 8, 8), 10, 0.1018, 0.0968),
    "location": Shape(5010, (446,), 30, 0.0615, 0.0194),
    "adult": Shape(48842, (108,), 2, 0.7607, 0.2393, 4),
    "mnist": Shape(70000, (1, 28, 28), 10, 0.1125, 0.0902),
    "cifar10": Shape(60000, (3, 32, 32), 10, 0.1, 0.1),
    "cifar100": Shape(60000, (3, 32, 32), 100, 0.01, 0.01),
    "purchase100": Shape(197324, (600,), 100, 0.01, 0.01),
    "texas100": Shape(67330, (6169,), 100, 0.01, 0.01),
}
# Clusters asked for: clusters left, shares of the largest and the smallest.
_RETAIL = {
    2: (2, 0.7374, 0.2626),
    10: (10, 0.2452, 0.0058),
    20: (19, 0.1611, 0.0051),
    50: (45, 0.1172, 0.0054),
    100: (66, 0.0850, 0.0049),
}
_BASKETS, _ITEMS = 41233, 600


def shape_of(dataset: Artefact) -> Shape:
    """Return the sizes of a data set artefact.

    Of one that is prepared they are read; those of the registry are known; a user's
    own arrays and tables are loaded, of images only the files are counted.

    Raises
    ------
    UserError
        If a user's own files are missing or cannot be read.
    """
    folder = Path(dataset.folder)
    source = dataset.spec["source"]
    if (folder / RECORD).exists():
        return _prepared(folder)
    if source in KNOWN:
        return KNOWN[source]
    if source == "retail":
        asked = dataset.spec["classes"]
        near = min(_RETAIL, key=lambda count: abs(math.log(count / asked)))
        left, largest, smallest = _RETAIL[near]
        return Shape(
            _BASKETS, (_ITEMS,), asked if near != asked else left, largest, smallest
        )
    if source == "images":
        return _images(dataset.spec)
    adapter: TypeAdapter[Npz | Table] = TypeAdapter(Npz if source == "npz" else Table)
    settings = adapter.validate_json(dataset.spec_json)
    module, _, function = LOADERS[source].partition(":")
    loaded: Loaded = getattr(importlib.import_module(module), function)(settings)
    return _counted(
        loaded.labels, loaded.inputs.shape[1:], len(loaded.class_names),
        loaded.inputs.dtype.itemsize,
    )  # fmt: skip


def _prepared(folder: Path) -> Shape:
    info = read_json(folder / "dataset.json")
    return _counted(
        np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False),
        tuple(info["input_shape"]), info["classes"],
        np.dtype(info["dtype"]).itemsize,
    )  # fmt: skip


def _counted(
    labels: NDArray[Any], record: tuple[int, ...], classes: int, item: int
) -> Shape:
    shares = np.bincount(np.asarray(labels), minlength=classes) / max(len(labels), 1)
    return Shape(
        len(labels), tuple(record), classes, float(shares.max()), float(shares.min()),
        item,
    )  # fmt: skip


def _images(spec: dict[str, Any]) -> Shape:
    path = Path(spec["path"])
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    counts = [
        sum(file.suffix.lower() in _PICTURES for file in folder.rglob("*"))
        for folder in sorted(path.iterdir())
        if folder.is_dir()
    ]
    total = sum(counts)
    if not total:
        raise UserError(f"{path}: no images; allowed: one folder of images per class")
    return Shape(
        total, (3, spec["size"], spec["size"]), len(counts), max(counts) / total,
        min(counts) / total,
    )  # fmt: skip
