"""Your own arrays in an .npz file."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import Npz
from whatelse.errors import UserError


def load(settings: Npz) -> Loaded:
    """Return the arrays `inputs` and `labels`, and those that `attributes` names.

    Bytes stay bytes, all other numbers become float32.
    """
    path = Path(settings.path)
    arrays = _read(path, ("inputs", "labels", *settings.attributes))
    inputs, labels = arrays["inputs"], arrays["labels"]
    if inputs.dtype.kind not in "biuf":
        raise UserError(f"{path}: inputs: {inputs.dtype}; allowed: numbers")
    if labels.dtype.kind not in "iu" or not labels.size:
        raise UserError(
            f"{path}: labels: {labels.dtype} of shape {labels.shape}; "
            "allowed: whole numbers of shape (records,)"
        )
    if inputs.dtype != np.uint8:
        with np.errstate(over="ignore"):  # the check of finite numbers names it
            inputs = inputs.astype(np.uint8 if inputs.dtype == np.bool_ else np.float32)
    num_classes = settings.classes or max(int(labels.max()) + 1, 2)
    if settings.classes is None and num_classes > len(labels):
        raise UserError(
            f"{path}: labels, record {labels.argmax()}: label {labels.max()}; "
            f"allowed: 0 to the number of classes - 1, of {len(labels)} records"
        )
    return Loaded(
        inputs=inputs,
        labels=labels,
        class_names=tuple(map(str, range(num_classes))),
        scale=settings.scale,
        attributes={name: arrays[name] for name in settings.attributes},
        title=settings.title or None,
        files={"npz": path},
    )


def _read(path: Path, names: tuple[str, ...]) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise UserError(f"{path}: one array; allowed: an .npz file with names")
        with loaded as file:
            for name in names:
                if name not in file.files:
                    raise UserError(
                        f"{path}: no array {name!r}; it has: {', '.join(file.files)}"
                    )
                try:
                    arrays[name] = file[name]
                except ValueError as error:
                    raise UserError(f"{path}: {name}: refused: {error}") from None
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{path}: truncated or damaged: {error}") from None
    return arrays
