"""Faces and backgrounds of LFW, bundled with scikit-image."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import Faces

NUM_FACES = 100


def load(settings: Faces, files: Mapping[str, Path]) -> Loaded:
    """Return the 200 images (1, 25, 25) as grey levels 0 to 255, faces first."""
    from skimage.data import lfw_subset

    images = lfw_subset()
    return Loaded(
        inputs=np.round(255 * images[:, None]).astype(np.uint8),
        labels=np.repeat([0, 1], [NUM_FACES, len(images) - NUM_FACES]),
        class_names=("face", "background"),
        scale=1 / 255,
    )
