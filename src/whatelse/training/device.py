"""Where models are trained: the only place that touches PyTorch's global flags."""

import os

import torch

from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.training.ensemble import TrainingData


def prepare_device(name: str, threads: int) -> torch.device:
    """Choose the device and make PyTorch deterministic on it.

    Parameters
    ----------
    name : {"auto", "cpu", "cuda"}
        "auto" takes a GPU if there is one.
    threads : int
        CPU threads; results depend on it in the last bits.

    Returns
    -------
    torch.device

    Raises
    ------
    UserError
        If a GPU is asked for and none is there.
    """
    torch.set_num_threads(threads)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device: cuda is not available here; allowed: auto, cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        # What runs on a CPU here is deterministic anyway, and this loads the compiler.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    return torch.device(name)


def resident(dataset: Dataset, device: torch.device) -> TrainingData:
    """Return a data set's records on a device, in their stored type."""

    def factor(name: str) -> float | torch.Tensor:
        value = dataset.info[name]
        if not isinstance(value, list):
            return float(value)
        # One value a feature is one a channel for images: spread over the rest.
        tail = [1] * (dataset.inputs.ndim - 2)
        return torch.tensor(value, dtype=torch.float32, device=device).view(-1, *tail)

    # A memory map is read-only, which torch.from_numpy warns of: nothing writes here.
    inputs = torch.tensor(dataset.inputs, device=device)
    labels = torch.tensor(dataset.labels, device=device)
    return TrainingData(inputs, labels, factor("scale"), factor("shift"))
