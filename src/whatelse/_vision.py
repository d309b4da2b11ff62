"""The one door to torchvision."""

import functools
import types

import torch

_OPERATORS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@functools.cache
def _declare() -> torch.library.Library:
    """Declare the operators that torchvision's import asks for, where they are missing.

    torchvision's compiled operators are built for one build of torch; beside another
    (torch for CPU from one index, torchvision from another) they do not load, and
    the import fails over operators that nothing here calls.
    """
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name, signature in _OPERATORS.items():
        library.define(name + signature)
    return library


def torchvision() -> types.ModuleType:
    """Return the torchvision module.

    Returns
    -------
    module
        With `datasets`, `transforms.v2`, `utils` and `io` imported. Its compiled
        operators may be missing; readers, transforms and image grids need none.
    """
    try:
        import torchvision as module
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        _declare()
        import torchvision as module
    import torchvision.transforms.v2

    return module
