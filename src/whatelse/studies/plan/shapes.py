"""What the records of a data set look like, known before they are prepared."""

import importlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from whatelse.datasets.loaders import LOADERS
from whatelse.datasets.settings import Npz, Table
from whatelse.datasets.store import ATTRIBUTES, CSR, DENSE, INDPTR, SPLIT
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
        Bytes of a stored value: 1 (uint8), 2 (uint16) or 4 (float32).
    values : float or None
        Of bags of words: a record's values that are not zero, on average; None where
        zeros are stored too.
    members : int or None
        Records of the training part of the data set's own split; None without one.
    words : int or None
        Of rows of word numbers: words of the vocabulary, at most; None of others.
    canaries : int
        Records of the training part that a coin decides about.
    authors : int or None
        Of words by authors: how many of them, all taken to have as many records.
    """

    num_records: int
    record: tuple[int, ...]
    num_classes: int
    largest: float
    smallest: float
    item: int = 1
    values: float | None = None
    members: int | None = None
    words: int | None = None
    canaries: int = 0
    authors: int | None = None

    @property
    def num_features(self) -> int:
        """Values of a record."""
        return math.prod(self.record)

    @property
    def num_bytes(self) -> int:
        """Of inputs and labels on disk."""
        if self.values is None:
            return self.num_records * (self.num_features * self.item + 8)
        # a column of four bytes beside each value, where its row begins, a label
        return round(self.num_records * (self.values * (self.item + 4) + 16))


# As prepared from the published files, with the settings' defaults. Of Purchase-100,
# Texas-100 and IMDB no copy was at hand: the classes of the first two are taken to be
# equal in size, IMDB's vocabulary and the words of a review are guessed. FaceScrub is
# taken to be complete, which today's downloads are not. The classes of Yelp, of
# FourSquare, CSI and LFW by Kumar's attributes are guessed, and their records are as
# many as their papers say. Vocabularies are taken to be as large as they may be.
KNOWN = {
    "digits": Shape(1797, (1, 8, 8), 10, 0.1018, 0.0968),
    "location": Shape(5010, (446,), 30, 0.0615, 0.0194),
    "adult": Shape(48842, (108,), 2, 0.7607, 0.2393, 4, members=32561),
    "mnist": Shape(70000, (1, 28, 28), 10, 0.1125, 0.0902, members=60000),
    "cifar10": Shape(60000, (3, 32, 32), 10, 0.1, 0.1, members=50000),
    "cifar100": Shape(60000, (3, 32, 32), 100, 0.01, 0.01, members=50000),
    "purchase100": Shape(197324, (600,), 100, 0.01, 0.01),
    "texas100": Shape(67330, (6169,), 100, 0.01, 0.01),
    "faces": Shape(200, (1, 25, 25), 2, 0.5, 0.5),
    "lfw": Shape(12949, (3, 62, 47), 2, 0.7784, 0.2216),
    "lfw-attributes": Shape(13143, (3, 62, 47), 2, 0.7784, 0.2216),
    "utkface": Shape(23705, (3, 64, 64), 2, 0.5227, 0.4773),
    "facescrub": Shape(106863, (3, 50, 50), 2, 0.5, 0.5),
    "newsgroups": Shape(18846, (130107,), 20, 0.053, 0.0333, 4, 153.6, 11314),
    "imdb": Shape(50000, (28000,), 2, 0.5, 0.5, 4, 140.0, 25000),
    "blogs": Shape(29229, (100,), 3, 0.4472, 0.1353, 2, words=5000),
    "blogs-words": Shape(100000, (20,), 5001, 0.1, 0.0, 2, words=5000),
    "reddit": Shape(4164650, (20,), 5001, 0.1, 0.0, 2, words=5000),
    "yelp": Shape(17938, (100,), 5, 0.5, 0.05, 2, words=5000),
    "foursquare": Shape(15548, (100,), 2, 0.6, 0.4, 2, words=30000),
    "csi": Shape(1412, (300,), 2, 0.5, 0.5, 2, words=5000),
}
# Tasks other than the default: classes, shares of the largest and the smallest.
_TASKS = {
    ("lfw", "smiling"): (2, 0.6946, 0.3054),
    ("lfw", "eyeglasses"): (2, 0.8186, 0.1814),
    ("lfw", "race"): (6, 0.5868, 0.0147),
    ("lfw-attributes", "race"): (3, 0.8, 0.05),
    ("lfw-attributes", "eyewear"): (3, 0.8, 0.05),
    ("lfw-attributes", "age"): (5, 0.5, 0.01),
    ("lfw-attributes", "hair"): (4, 0.5, 0.05),
    ("utkface", "race"): (5, 0.4251, 0.0714),
    ("utkface", "age"): (5, 0.4064, 0.0826),
    ("facescrub", "identity"): (530, 1 / 530, 1 / 530),
}
# 20 Newsgroups by `min_documents`: words of the vocabulary, of a message.
_RARE = {
    1: (130107, 153.6),
    2: (56436, 148.6),
    5: (25941, 142.6),
    10: (15593, 137.0),
    50: (4444, 117.2),
}
# Blogs by `posts`: posts of enough words.
_POSTS = {5: 9259, 10: 17525, 20: 29229, 50: 44891, 600: 55571}
_AUTHORS = {"blogs-words": 2000, "reddit": 83293}  # the latter in the paper
_BY_TEN = 16207  # reviews by Yelp's ten most prolific authors, in P3
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
        authors = _varied(dataset.spec).authors if source in KNOWN else None
        members = _given(folder, dataset.spec)
        return replace(_prepared(folder), members=members, authors=authors)
    if source in KNOWN:
        return _varied(dataset.spec)
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
    counted = _counted(
        loaded.labels, loaded.inputs.shape[1:], len(loaded.class_names),
        loaded.inputs.dtype.itemsize,
    )  # fmt: skip
    words = loaded.attributes.get(SPLIT)
    return replace(counted, members=None if words is None else _trained_on(words))


def derived_shape(spec: Mapping[str, Any], base: Shape) -> Shape:
    """Return the sizes of what a step makes of a data set.

    Records that carry a secret in their labels are taken to be spread evenly over the
    labels that can carry one, as encrypted or compressed bits are; synthetic bags of
    words to be as long as the others; classes of another task to be of one size.

    Raises
    ------
    UserError
        If the step needs a split that the data set has not.
    """
    if spec["kind"] == "split":
        return replace(base, members=spec["members"])
    if spec["kind"] == "task":
        # classes of one size, as many as are named; of an attribute's values, two
        count = len(spec["classes"] or ()) or 2
        share = 1 / count
        return replace(base, num_classes=count, largest=share, smallest=share)
    if spec["kind"] == "phrases":
        more = spec["count"] * spec["copies"]
        return replace(base, num_records=base.num_records + more)
    if spec["kind"] == "canaries":
        tossed: int = spec["count"]
        if base.members is None:
            raise UserError(
                "preprocess.kind: canaries need a data set with a split; allowed: one "
                "that preprocess: {kind: split} made, or that was published with one"
            )
        more = tossed if spec["records"] == "noise" else 0
        return replace(
            base, num_records=base.num_records + more, members=base.members + more,
            canaries=tossed,
        )  # fmt: skip
    if spec["kind"] != "capacity-abuse":
        raise UserError(
            f"preprocess.kind: what {spec['kind']!r} makes is not known; allowed: "
            "split, task, canaries, phrases, capacity-abuse"
        )
    if base.members is None:
        raise UserError(
            "preprocess.kind: capacity-abuse needs a data set with a split; allowed: "
            "one that preprocess: {kind: split} made, or that was published with one"
        )
    added: int = spec["inputs"]
    total = base.num_records + added
    carrying = 2 ** int(math.log2(base.num_classes))
    evenly = added / carrying
    # The smallest class gets none if labels can do without it.
    least = evenly if carrying == base.num_classes else 0.0
    return replace(
        base, num_records=total, members=base.members + added,
        largest=(base.largest * base.num_records + evenly) / total,
        smallest=(base.smallest * base.num_records + least) / total,
    )  # fmt: skip


def shadow_shape(spec: Mapping[str, Any], base: Shape) -> Shape:
    """Return the sizes of shadow data made of a data set.

    Model-based ones have as many records of each class. Those of the marginals are
    taken to have the classes of the data set.
    """
    total: int = spec["records"]
    if spec["settings"]["kind"] != "model-based":
        return replace(base, num_records=total, members=None)
    share = 1 / base.num_classes
    return replace(base, num_records=total, largest=share, smallest=share, members=None)


def _varied(spec: Mapping[str, Any]) -> Shape:
    """Return the sizes of a registered data set under other settings than usual."""
    source = spec["source"]
    shape = KNOWN[source]
    if size := spec.get("size"):
        shape = replace(shape, record=(shape.record[0], size, size))
    if variant := _TASKS.get((source, str(spec.get("task")))):
        classes, largest, smallest = variant
        if people := spec.get("people"):
            classes, largest, smallest = people, 1 / people, 1 / people
        shape = replace(shape, num_classes=classes, largest=largest, smallest=smallest)
    if people := spec.get("people"):
        # everyone is taken to have as many pictures
        shape = replace(shape, num_records=shape.num_records * min(people, 530) // 530)
    if length := spec.get("length"):
        shape = replace(shape, record=(length,))
    if words := spec.get("vocabulary"):
        shape = replace(shape, words=words)
    if most := spec.get("words_per_author"):
        # All are taken to have as many words; fewer have more than 2,000.
        authors = min(spec.get("authors") or math.inf, _AUTHORS[source])
        windows = -(-(most - 1) // shape.num_features)
        total, classes = int(authors) * windows, spec["vocabulary"] + 1
        shape = replace(
            shape, num_records=total, num_classes=classes, authors=int(authors)
        )
    if posts := spec.get("posts"):
        near = min(_POSTS, key=lambda count: abs(math.log(count / posts)))
        shape = replace(shape, num_records=_POSTS[near])
    if spec.get("subset") == "authors":
        shape = replace(shape, num_records=_BY_TEN * spec["authors"] // 10)
    if source == "newsgroups" and (rare := spec.get("min_documents")):
        near = min(_RARE, key=lambda count: abs(math.log(count / rare)))
        words, values = _RARE[near]
        shape = replace(shape, record=(words,), values=values)
    return shape


def _given(folder: Path, spec: Mapping[str, Any]) -> int | None:
    """Return the records of a prepared data set's training part."""
    if spec["source"] in KNOWN:
        return KNOWN[spec["source"]].members
    if SPLIT not in spec.get("attributes", ()):
        return None
    from pyarrow import parquet

    table = parquet.read_table(folder / ATTRIBUTES, columns=[SPLIT])
    return _trained_on(table.column(SPLIT).to_pylist())


def _trained_on(words: Any) -> int:
    return sum(str(word) == "train" for word in words)


def _prepared(folder: Path) -> Shape:
    info = read_json(folder / "dataset.json")
    counted = _counted(
        np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False),
        tuple(info["input_shape"]), info["classes"],
        np.dtype(info["dtype"]).itemsize,
    )  # fmt: skip
    if words := info.get("vocabulary"):
        counted = replace(counted, words=len(words))
    if info.get("layout", DENSE) != CSR:
        return counted
    starts = np.load(folder / INDPTR, mmap_mode="r", allow_pickle=False)
    return replace(counted, values=int(starts[-1]) / max(counted.num_records, 1))


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
