"""What loaders, and steps from one data set to another, hand over."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from scipy import sparse


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A data set in memory, not yet checked.

    Attributes
    ----------
    inputs : ndarray or csr_array of uint8, uint16 or float32
        Raw values, shape (records, *input_shape); images are channels first. Bags of
        words are compressed rows (``scipy.sparse``) of float32. Sequences of words are
        uint16, see `vocabulary`.
    labels : ndarray of int, shape (records,)
        Classes from 0.
    class_names : sequence of str
        One a class.
    scale, shift : float
        Models see ``raw * scale + shift``.
    feature_names : sequence of str, optional
        One a feature, where features have names.
    vocabulary : tuple of str, optional
        Of sequences of words: number i + 1 in `inputs` is word i, 0 is no word.
    attributes : mapping of str to sequence
        Properties of records, by name; `store.SPLIT` is the published split.
    remarks : tuple of str
        What reports must repeat.
    title : str, optional
        Name in figures; the registry's by default.
    files : mapping of str to Path
        Files of the user's own that were read, by role.
    digest : str, optional
        Digest of what was read where that is too many files to list.
    """

    inputs: "npt.NDArray[Any] | sparse.csr_array"
    labels: npt.NDArray[Any]
    class_names: tuple[str, ...]
    scale: float = 1.0
    shift: float = 0.0
    feature_names: tuple[str, ...] | None = None
    vocabulary: tuple[str, ...] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    title: str | None = None
    files: Mapping[str, Path] = field(default_factory=dict)
    digest: str | None = None


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What a step makes of a data set.

    Attributes
    ----------
    title : str
        Name in figures.
    split : ndarray of str, shape (records,), optional
        "train" or "test": which part each record is of. The data set's own records
        come first, in their order; those that are added follow.
    inputs : array, optional
        Records that are added, in the form that the data set stores.
    labels : array, optional
        Of the records that are added; of all, where `classes` are given.
    classes : tuple of str, optional
        Names of other classes than the data set has.
    attributes : mapping of str to sequence
        Further properties of the records.
    remarks : tuple of str
        What reports must repeat.
    """

    title: str
    split: npt.NDArray[Any] | None = None
    inputs: Any = None
    labels: npt.NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
