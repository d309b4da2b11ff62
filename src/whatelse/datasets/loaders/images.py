"""Your own images: a folder with one folder of images per class."""

from pathlib import Path

import numpy as np

from whatelse import records
from whatelse._vision import torchvision
from whatelse.datasets.loaded import Loaded
from whatelse.datasets.settings import Images
from whatelse.errors import UserError


def load(settings: Images) -> Loaded:
    """Return the images (3, size, size) as bytes; classes are the folders' names."""
    path = Path(settings.path)
    vision = torchvision()
    transforms = vision.transforms.v2
    resize = transforms.Compose(
        [transforms.PILToTensor(), transforms.Resize((settings.size, settings.size))]
    )
    if not path.is_dir():
        raise UserError(f"{path}: no such folder")
    try:
        folder = vision.datasets.ImageFolder(path, transform=resize)
    except FileNotFoundError as error:
        raise UserError(f"{path}: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    shape = (len(folder), 3, settings.size, settings.size)
    inputs = np.empty(shape, dtype=np.uint8)
    for row, (file, _) in enumerate(folder.samples):
        try:
            inputs[row] = folder[row][0].numpy()
        except (OSError, SyntaxError) as error:
            raise UserError(f"{file}: no image that can be read: {error}") from None
    return Loaded(
        inputs=inputs,
        labels=np.array(folder.targets),
        class_names=tuple(folder.classes),
        scale=1 / 255,
        title=settings.title or None,
        digest=records.files_digest(file for file, _ in folder.samples),
    )
