"""Handwritten digits, bundled with scikit-learn."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import Digits


def load(settings: Digits, files: Mapping[str, Path]) -> Loaded:
    """Return the 1,797 images (1, 8, 8) with grey levels 0 to 16."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Loaded(
        inputs=bunch.images[:, None].astype(np.uint8),
        labels=bunch.target,
        class_names=tuple(map(str, bunch.target_names)),
        scale=1 / 16,
    )
