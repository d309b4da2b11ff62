"""The data set artefact: a folder of arrays with a description.

``inputs.npy`` (records, *shape), uint8 where the source has integers, else float32,
uint16 for words;
``labels.npy`` (records,) int64; ``attributes.parquet`` where there are properties of
records; ``dataset.json``; ``record.json`` last. Values are checked once, before they
are written; ``open_dataset`` checks only what is cheap.

Bags of words, mostly zeros, are kept by compressed rows (CSR) instead of
``inputs.npy``: row r has the values ``inputs_values.npy[a:b]`` in the columns
``inputs_indices.npy[a:b]``, increasing, where a and b are items r and r + 1 of
``inputs_indptr.npy``.

Sequences of words are numbers in ``inputs.npy``, shape (records, length): i + 1 is word
i of the ``vocabulary`` that ``dataset.json`` lists, and 0 fills up the end of a record.
An embedding looks them up, so scale is 1 and shift 0.
"""

import contextlib
import functools
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whatelse import records
from whatelse.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

INPUTS = "inputs.npy"
INDPTR = "inputs_indptr.npy"
INDICES = "inputs_indices.npy"
VALUES = "inputs_values.npy"
LABELS = "labels.npy"
ATTRIBUTES = "attributes.parquet"
INFO = "dataset.json"

DENSE, CSR = "dense", "csr"
"""Layouts of the inputs: one array, or compressed rows."""

SPLIT = "split"
"""The attribute that says ``"train"`` or ``"test"`` of each record, where the
publisher has said which records models are trained on and which they are tested on."""

CANARY = "canary"
"""The attribute that is true of records that a coin puts into each model's training."""

TOKENS = "tokens"
"""The attribute that holds the first words of a text, as numbers of features."""

MIN_CLASS_RECORDS = 2
"""A class needs a member and a non-member."""

_DTYPES = ("uint8", "uint16", "float32")
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Dataset:
    """An opened data set.

    Attributes
    ----------
    folder : Path
        The artefact.
    inputs : ndarray or csr_array of uint8, uint16 or float32
        Raw values, shape (records, *input_shape), memory-mapped, read-only; images are
        channels first, words are numbers in ``info["vocabulary"]`` from 1 on. A
        ``scipy.sparse.csr_array`` of float32, shape (records, features), where
        `is_sparse`.
    labels : ndarray of int64, shape (records,)
        Classes 0 to `num_classes` - 1.
    info : dict
        What ``dataset.json`` says.
    """

    folder: Path
    inputs: Any
    labels: npt.NDArray[np.int64]
    info: dict[str, Any]

    @property
    def num_records(self) -> int:
        """Number of records."""
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return int(self.info["classes"])

    @property
    def num_words(self) -> int | None:
        """Words of the vocabulary, where records are rows of word numbers."""
        words = self.info.get("vocabulary")
        return None if words is None else len(words)

    @property
    def is_sparse(self) -> bool:
        """Whether the inputs are compressed rows."""
        return bool(self.info.get("layout", DENSE) == CSR)

    def floats(
        self, rows: slice | npt.NDArray[Any] = slice(None)
    ) -> npt.NDArray[np.float32]:
        """Return some records as a model sees them: ``raw * scale + shift``.

        Parameters
        ----------
        rows : slice or ndarray of int or bool, optional
            Which records; all by default.

        Returns
        -------
        ndarray of float32, shape (num_rows, *input_shape)
            A copy, dense even if the inputs are sparse.
        """
        chosen = self.inputs[rows]
        dense = chosen.toarray() if self.is_sparse else chosen
        raw = np.asarray(dense, dtype=np.float32)
        scale, shift = (self._factor(name, raw.ndim) for name in ("scale", "shift"))
        return raw * scale + shift

    def one_scale(self) -> tuple[float, float]:
        """Return scale and shift, where they are one number each.

        Raises
        ------
        UserError
            If they differ from feature to feature or from channel to channel.
        """
        scale, shift = self.info["scale"], self.info["shift"]
        if not isinstance(scale, float | int) or not isinstance(shift, float | int):
            raise UserError(
                f"{self.folder}: scale {scale}, shift {shift}; allowed: one number for "
                "all channels"
            )
        return scale, shift

    def _factor(self, name: str, ndim: int) -> npt.NDArray[np.float32]:
        factor = np.asarray(self.info[name], dtype=np.float32)
        # One value a feature is one a channel for images: spread over the rest.
        return factor.reshape(-1, *[1] * (ndim - 2)) if factor.ndim else factor

    @functools.cached_property
    def attributes(self) -> "pd.DataFrame":
        """Properties of the records, one row each, read when first asked for.

        Raises
        ------
        UserError
            If the data set has none, or their file cannot be read.
        """
        import pandas as pd

        path = self.folder / ATTRIBUTES
        if ATTRIBUTES not in self.info["sha256"]:
            raise UserError(f"{self.folder}: this data set has no attributes")
        try:
            frame = pd.read_parquet(path)
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {_line(error)}") from error
        if len(frame) != self.num_records:
            raise UserError(
                f"{path}: {len(frame)} rows; allowed: {self.num_records}, one a record"
            )
        return frame


def given_split(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return which records a data set gives to train on; the others are to test on.

    Raises
    ------
    UserError
        If the data set has no attribute ``split``, or it says anything but ``train``
        and ``test``.
    """
    place, words = _column(
        dataset, SPLIT,
        "a data set with a split (published, or by preprocess: {kind: split})",
    )  # fmt: skip
    other = {str(word) for word in words} - {"train", "test"}
    if other:
        raise UserError(f"{place}: {sorted(other)[0]!r}; allowed: train, test")
    parts: npt.NDArray[np.bool_] = words == "train"
    return parts


def canaries(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Return which records are canaries.

    Raises
    ------
    UserError
        If the data set has none, or its attribute ``canary`` says anything else.
    """
    place, flags = _column(
        dataset, CANARY, "a data set made by preprocess: {kind: canaries}"
    )
    if flags.dtype != np.bool_ or not flags.any():
        raise UserError(f"{place}: {flags.dtype}, {flags[0]!r}; allowed: true, false")
    return np.asarray(flags, dtype=np.bool_)


def known_attributes(dataset: Dataset) -> list[str]:
    """Return the names of a data set's attributes, the classes left out."""
    if ATTRIBUTES not in dataset.info["sha256"]:
        return []
    return [str(name) for name in dataset.attributes.columns]


def _column(
    dataset: Dataset, name: str, allowed: str
) -> tuple[str, npt.NDArray[Any]]:  # fmt: skip
    """Return an attribute that is needed, and the place that errors about it name."""
    place = f"{dataset.folder}: attribute {name!r}"
    if name not in known_attributes(dataset):
        raise UserError(f"{place}: missing; allowed: {allowed}")
    return place, dataset.attributes[name].to_numpy()


def write_dataset(
    folder: str | Path,
    *,
    inputs: "npt.NDArray[Any] | sparse.csr_array | sparse.csr_matrix",
    labels: npt.NDArray[Any],
    info: Mapping[str, Any],
    settings: Mapping[str, Any],
    attributes: Mapping[str, Any] | None = None,
    inputs_from: Mapping[str, str | Path] | None = None,
    code: Iterable[str | Path] = (),
    origin: str | Path | None = None,
) -> None:
    """Check a data set and write it as an artefact.

    Parameters
    ----------
    folder : str or Path
        The artefact; what an older run left there is replaced.
    inputs : ndarray or csr_array of uint8, uint16 or float32
        Shape (records, *input_shape); images are channels first. Compressed rows are of
        float32, shape (records, features); they are written with increasing columns,
        doubles summed.
    labels : ndarray of int, shape (records,)
        Classes 0 to ``len(class_names) - 1``, each with at least two records unless
        classes are words: a first one for none, then the vocabulary.
    info : mapping
        `name`, `title`, `class_names`, and optionally `scale` and `shift` (models see
        ``raw * scale + shift``; a number, or one per feature or channel; `shift` is 0
        for compressed rows, whose zeros are not there to be shifted), `licence`,
        `citation`, `source`, `stand_in_for`, `remarks`, `feature_names`, `vocabulary`
        (the words whose numbers inputs of uint16, and no others, are).
    settings : mapping
        The resolved settings, for the record.
    attributes : mapping of str to sequence, optional
        Properties of records by name, each of length `records`.
    inputs_from : mapping of str to path, optional
        The raw files, by role, for the record.
    code : iterable of path, optional
        The sources that made the data set, for the record.
    origin : str or Path, optional
        What error messages name as the place of a bad value; `folder` by default.

    Raises
    ------
    UserError
        If a value is not allowed, or `folder` cannot be written. Nothing is left
        behind then.
    """
    folder = Path(folder)
    where = str(folder if origin is None else origin)
    is_sparse = hasattr(inputs, "tocsr")
    checked: Any = _csr(where, inputs) if is_sparse else np.asarray(inputs)
    labels = np.asarray(labels)
    class_names = [str(name) for name in info["class_names"]]
    feature_names = info.get("feature_names")
    vocabulary = info.get("vocabulary")
    _check_shapes(where, checked, labels, attributes or {})
    _check_words(where, checked, vocabulary)
    _check_labels(where, labels, class_names, vocabulary)
    _check_finite(where, checked, feature_names)
    scale = _factor(where, "scale", info.get("scale", 1.0), checked)
    shift = _factor(where, "shift", info.get("shift", 0.0), checked)
    if vocabulary is not None and (scale, shift) != (1.0, 0.0):
        raise UserError(
            f"{where}: scale, shift: {scale}, {shift}; allowed: 1 and 0 for words"
        )
    if is_sparse and np.any(shift):
        raise UserError(f"{where}: shift: {shift}; allowed: 0 for compressed rows")
    arrays = {INPUTS: checked}
    if is_sparse:
        arrays = {
            INDPTR: checked.indptr.astype(np.int64),
            INDICES: checked.indices.astype(np.int32),
            VALUES: checked.data,
        }
    arrays[LABELS] = labels.astype(np.int64)
    with _staged(folder) as staging:
        for name, array in arrays.items():
            _save(staging / name, array)
        files = list(arrays)
        if attributes:
            _save_attributes(staging / ATTRIBUTES, attributes)
            files.append(ATTRIBUTES)
        described = {
            "name": info["name"],
            "title": info["title"],
            "records": len(labels),
            "classes": len(class_names),
            "class_names": class_names,
            "layout": CSR if is_sparse else DENSE,
            "input_shape": list(checked.shape[1:]),
            "dtype": checked.dtype.name,
            "scale": scale,
            "shift": shift,
            "licence": info.get("licence"),
            "citation": info.get("citation"),
            "source": info.get("source"),
            "stand_in_for": info.get("stand_in_for"),
            "remarks": list(info.get("remarks", ())),
            "sha256": {name: records.file_digest(staging / name) for name in files},
        }
        if feature_names is not None:
            described["feature_names"] = list(feature_names)
        if vocabulary is not None:
            described["vocabulary"] = list(vocabulary)
        records.write_json(staging / INFO, described)
        records.write_record(
            staging,
            kind="prepare",
            spec=settings,
            inputs=inputs_from or {},
            code=code,
            outputs=[*files, INFO],
            extra={"remarks": described["remarks"]},
        )


def open_dataset(folder: str | Path) -> Dataset:
    """Open a data set; its inputs stay on disk until they are used.

    Parameters
    ----------
    folder : str or Path
        An artefact that `write_dataset` made.

    Returns
    -------
    Dataset
        With memory-mapped inputs.

    Raises
    ------
    UserError
        If the folder is not a whole data set, or its arrays do not have the shapes
        that ``dataset.json`` names.
    """
    folder = Path(folder)
    if not (folder / records.RECORD).is_file():
        raise UserError(f"{folder}: not a whole data set: no {records.RECORD} in it")
    info = records.read_json(folder / INFO)
    try:
        num_records, num_classes = info["records"], info["classes"]
        input_shape, dtype = tuple(info["input_shape"]), info["dtype"]
        _ = info["scale"], info["shift"], info["sha256"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / INFO}: no field {error}") from None
    layout = info.get("layout", DENSE)
    if layout not in (DENSE, CSR):
        raise UserError(
            f"{folder / INFO}: layout: {layout!r}; allowed: {DENSE} or {CSR}"
        )
    if layout == CSR:
        inputs = _load_csr(folder, (num_records, *input_shape), dtype)
    else:
        inputs = _load(folder / INPUTS, mmap=True)
        _expect(folder / INPUTS, inputs, (num_records, *input_shape), dtype)
    labels = _load(folder / LABELS, mmap=False)
    _expect(folder / LABELS, labels, (num_records,), "int64")
    if num_records and not 0 <= labels.min() <= labels.max() < num_classes:
        raise UserError(
            f"{folder / LABELS}: labels {labels.min()} to {labels.max()}; "
            f"allowed: 0 to {num_classes - 1}"
        )
    return Dataset(folder, inputs, labels, info)


def _csr(where: str, inputs: Any) -> Any:
    """Return sparse inputs as a csr_array of its own with increasing columns."""
    from scipy import sparse

    if inputs.dtype != np.float32 or inputs.ndim != 2:
        raise UserError(
            f"{where}: inputs: sparse values of type {inputs.dtype}, shape "
            f"{inputs.shape}; allowed: float32 of shape (records, features)"
        )
    try:
        rows = sparse.csr_array(inputs, copy=True)
        rows.check_format(full_check=True)
    except ValueError as error:
        raise UserError(
            f"{where}: inputs: {_line(error)}; allowed: whole compressed rows"
        ) from None
    rows.sum_duplicates()
    return rows


def _load_csr(folder: Path, shape: tuple[int, ...], dtype: str) -> Any:
    """Map compressed rows, and check that they fit each other."""
    from scipy import sparse

    if len(shape) != 2:
        raise UserError(
            f"{folder / INFO}: input_shape: {list(shape[1:])}; "
            f"allowed: [features] for layout {CSR}"
        )
    num_records, num_features = shape
    starts = _load(folder / INDPTR, mmap=False)
    _expect(folder / INDPTR, starts, (num_records + 1,), "int64")
    backwards = np.flatnonzero(np.diff(starts) < 0)
    if starts[0] != 0 or backwards.size:
        row = int(backwards[0]) if backwards.size else 0
        raise UserError(
            f"{folder / INDPTR}: record {row}: {starts[row]} to {starts[row + 1]}; "
            "allowed: from 0 on, never less than before"
        )
    indices = _load(folder / INDICES, mmap=True)
    values = _load(folder / VALUES, mmap=True)
    _expect(folder / INDICES, indices, (int(starts[-1]),), "int32", by=INDPTR)
    _expect(folder / VALUES, values, (int(starts[-1]),), dtype, by=INDPTR)
    if len(indices) and not 0 <= indices.min() <= indices.max() < num_features:
        raise UserError(
            f"{folder / INDICES}: features {indices.min()} to {indices.max()}; "
            f"allowed: 0 to {num_features - 1}"
        )
    # Beside int64 starts scipy would make int64 copies of the columns.
    if starts[-1] <= np.iinfo(np.int32).max:
        starts = starts.astype(np.int32)
    return sparse.csr_array((values, indices, starts), shape=shape)


def _check_shapes(
    where: str,
    inputs: Any,
    labels: npt.NDArray[Any],
    attributes: Mapping[str, Any],
) -> None:
    if inputs.dtype.name not in _DTYPES:
        raise UserError(
            f"{where}: inputs: values of type {inputs.dtype}; "
            f"allowed: {', '.join(_DTYPES)}"
        )
    if inputs.ndim < 2 or not all(inputs.shape[1:]):
        raise UserError(
            f"{where}: inputs: shape {inputs.shape}; "
            "allowed: (records, features) or (records, channels, height, width)"
        )
    if not inputs.shape[0]:
        raise UserError(f"{where}: inputs: no records; allowed: at least 4")
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise UserError(
            f"{where}: labels: {labels.dtype} of shape {labels.shape}; "
            "allowed: whole numbers of shape (records,)"
        )
    for name, values in {"labels": labels, **attributes}.items():
        if len(values) != inputs.shape[0]:
            raise UserError(
                f"{where}: {name}: {len(values)} values for {inputs.shape[0]} records; "
                "allowed: one a record"
            )


def _check_words(where: str, inputs: Any, vocabulary: Sequence[str] | None) -> None:
    if (vocabulary is not None) != (inputs.dtype == np.uint16):
        raise UserError(
            f"{where}: inputs: {inputs.dtype} with{'out' * (vocabulary is None)} a "
            "vocabulary; allowed: uint16 with, all others without"
        )
    if vocabulary is None:
        return
    largest = int(inputs.max())
    if largest > len(vocabulary):
        row = int(np.argwhere(inputs == largest)[0][0])
        raise UserError(
            f"{where}: inputs, record {row}: word {largest}; "
            f"allowed: 0 to {len(vocabulary)}, as the vocabulary has"
        )


def _check_labels(
    where: str, labels: npt.NDArray[Any], class_names: Sequence[str],
    vocabulary: Sequence[str] | None,
) -> None:  # fmt: skip
    num_classes = len(class_names)
    if num_classes < 2:
        raise UserError(f"{where}: labels: {num_classes} class; allowed: at least 2")
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if outside.size:
        row = outside[0]
        raise UserError(
            f"{where}: labels, record {row}: label {labels[row]}; "
            f"allowed: 0 to {num_classes - 1}"
        )
    # Where the next word is the class, most words are rare, and 0 is none.
    if vocabulary is not None and class_names[1:] == list(vocabulary):
        return
    counts = np.bincount(labels.astype(np.int64), minlength=num_classes)
    small = np.flatnonzero(counts < MIN_CLASS_RECORDS)
    if small.size:
        of_class = small[0]
        name = class_names[of_class]
        named = "" if name == str(of_class) else f" ({name!r})"
        raise UserError(
            f"{where}: labels: class {of_class}{named} has {counts[of_class]} "
            f"record{'' if counts[of_class] == 1 else 's'}; "
            f"allowed: at least {MIN_CLASS_RECORDS} (a member and a non-member)"
        )


def _check_finite(where: str, inputs: Any, feature_names: Sequence[str] | None) -> None:
    if inputs.dtype.kind != "f":
        return

    def refuse(row: int, feature: Sequence[int], value: Any) -> None:
        name = ", ".join(map(str, feature))
        if feature_names is not None and len(feature) == 1:
            name = repr(feature_names[feature[0]])
        raise UserError(
            f"{where}: inputs, record {row}, feature {name}: "
            f"{value}; allowed: finite numbers"
        )

    if hasattr(inputs, "indptr"):
        for place in np.flatnonzero(~np.isfinite(inputs.data))[:1]:
            row = int(np.searchsorted(inputs.indptr, place, side="right")) - 1
            refuse(row, [int(inputs.indices[place])], inputs.data[place])
        return
    step = max(1, _BLOCK // math.prod(inputs.shape[1:]))
    for start in range(0, len(inputs), step):
        block = inputs[start : start + step]
        bad = np.argwhere(~np.isfinite(block))
        if len(bad):
            row, *feature = (int(index) for index in bad[0])
            refuse(start + row, feature, block[tuple(bad[0])])


def _factor(where: str, name: str, value: Any, inputs: Any) -> float | list[float]:
    factor = np.asarray(value, dtype=np.float64)
    if factor.shape not in ((), inputs.shape[1:2]) or not np.isfinite(factor).all():
        raise UserError(
            f"{where}: {name}: {value}; allowed: a finite number, "
            f"or {inputs.shape[1]} of them"
        )
    return factor.tolist()


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Give a temporary folder whose files then move into `folder`, the record last."""
    staging = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        made = [p for p in (folder, *folder.parents) if not p.exists()]
    except OSError as error:
        raise records.unwritable(folder, error) from error
    try:
        staging.mkdir(parents=True)
        yield staging
        folder.mkdir(exist_ok=True)
        for stale in (records.RECORD, ATTRIBUTES, INPUTS, INDPTR, INDICES, VALUES):
            (folder / stale).unlink(missing_ok=True)
        names = sorted(path.name for path in staging.iterdir())
        for name in sorted(names, key=records.RECORD.__eq__):
            os.replace(staging / name, folder / name)
    except OSError as error:
        raise records.unwritable(folder, error) from error
    except UserError as error:
        # Name the artefact, not the temporary folder that is about to go.
        if isinstance(error.__cause__, OSError):
            raise records.unwritable(folder, error.__cause__) from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in made:
            with contextlib.suppress(OSError):
                path.rmdir()


def _save(path: Path, array: npt.NDArray[Any]) -> None:
    # numpy.save hides why a write fails (disk full) behind a count of items.
    array = np.ascontiguousarray(array)
    header = np.lib.format.header_data_from_array_1_0(array)
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(array.data)
        file.flush()
        os.fsync(file.fileno())


def _save_attributes(path: Path, attributes: Mapping[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({name: pa.array(values) for name, values in attributes.items()})
    pq.write_table(table, path)


def _load(path: Path, *, mmap: bool) -> npt.NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {_line(error)}") from error


def _expect(
    path: Path,
    array: npt.NDArray[Any],
    shape: tuple[int, ...],
    dtype: str,
    *,
    by: str = INFO,
) -> None:
    if array.shape != shape or array.dtype.name != dtype:
        raise UserError(
            f"{path}: {array.dtype} of shape {array.shape}; "
            f"{by} says {dtype} of shape {shape}"
        )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
