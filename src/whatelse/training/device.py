"""Where models are trained: the only place that touches PyTorch's global flags."""

import gc
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from whatelse.allocator import keep_freed_memory
from whatelse.datasets.store import Dataset
from whatelse.errors import UserError
from whatelse.training.ensemble import SparseInputs, TrainingData

_Model = TypeVar("_Model")
DEVICES = "auto (a GPU if there is one), cpu, cuda, or cuda:N for the N-th GPU"


def prepare_device(name: str, threads: int) -> torch.device:
    """Choose the device and make PyTorch deterministic on it, and quick on a CPU.

    Parameters
    ----------
    name : str
        "auto" takes a GPU if there is one; or "cpu", "cuda", "cuda:N" with N from 0.
    threads : int
        CPU threads; results depend on it in the last bits.

    Returns
    -------
    torch.device

    Raises
    ------
    UserError
        If the name is none of these, or that GPU is not there.
    """
    torch.set_num_threads(threads)
    keep_freed_memory()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    allowed = ", ".join(["auto", "cpu", *["cuda"] * bool(count)])
    allowed += "".join(f", cuda:{number}" for number in range(count))
    if name == "auto":
        name = "cuda" if count else "cpu"
    asked = re.fullmatch(r"cpu|cuda(?::(\d{1,3}))?", name)
    if not asked:
        raise UserError(f"--device: {name!r} is no device; allowed: {allowed}")
    if name == "cpu":
        return torch.device(name)
    if int(asked[1] or 0) >= count:
        raise UserError(f"--device: {name} is not available here; allowed: {allowed}")
    # What runs on a CPU here is deterministic anyway, and this loads the compiler.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before writing it, and to fill it takes time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # TF32 keeps 10 bits of a product's factors; convolutions have it on by default.
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    return torch.device(name)


def generator_of(
    rng: np.random.Generator, device: torch.device
) -> torch.Generator:  # fmt: skip
    """Return a generator of PyTorch's that follows from one of ours."""
    return torch.Generator(device).manual_seed(int(rng.integers(2**63)))


def resident(
    dataset: Dataset, device: torch.device, *, unlabelled: Any = None
) -> TrainingData:
    """Return a data set's records on a device, in their stored type.

    Parameters
    ----------
    dataset : Dataset
        The records.
    device : torch.device
        Where to.
    unlabelled : array, optional
        Other records in the same form, to be asked about in place of its own; all are
        given label 0.

    Raises
    ------
    UserError
        If they do not fit its memory.
    """

    def factor(name: str) -> float | torch.Tensor:
        value = dataset.info[name]
        if not isinstance(value, list):
            return float(value)
        # One value a feature is one a channel for images: spread over the rest.
        tail = [1] * (dataset.inputs.ndim - 2)
        return torch.tensor(value, dtype=torch.float32, device=device).view(-1, *tail)

    inputs: torch.Tensor | SparseInputs
    rows = dataset.inputs if unlabelled is None else unlabelled
    told = dataset.labels if unlabelled is None else np.zeros(rows.shape[0], np.int64)
    try:
        # A memory map is read-only, of which torch.from_numpy warns: this copies.
        if dataset.is_sparse:
            inputs = SparseInputs(
                torch.tensor(np.asarray(rows.indptr, dtype=np.int64), device=device),
                torch.tensor(np.asarray(rows.indices, dtype=np.int64), device=device),
                torch.tensor(
                    np.asarray(rows.data) * np.float32(dataset.info["scale"]),
                    device=device,
                ),
                rows.shape,
            )
        else:
            inputs = torch.tensor(rows, device=device)
        labels = torch.tensor(told, device=device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"--device: the {dataset.num_records} records of the data set do not fit "
            f"{device}; allowed: a device with more memory, cpu"
        ) from None
    return TrainingData(inputs, labels, factor("scale"), factor("shift"))


def in_stacks_that_fit(
    models: Sequence[_Model], work: Callable[[list[_Model]], None]
) -> list[int]:
    """Work on all models at once or, where the GPU's memory is short, on parts.

    A stack that does not fit is split in halves; those are not made larger again. A
    model depends on the stack that it is trained in by rounding only, and not at all
    on a CPU, where memory does not run out in this way.

    Parameters
    ----------
    models : sequence
        What to work on.
    work : callable
        Called with some of them; keeps what it makes. PyTorch's error for a lack of
        memory says that these are too many.

    Returns
    -------
    list of int
        Sizes of the stacks that fitted, in order.

    Raises
    ------
    UserError
        If a single model does not fit.
    """
    waiting, fitted = [list(models)], []
    while waiting:
        stack = waiting.pop(0)
        if _fits(work, stack):
            fitted.append(len(stack))
            continue
        if len(stack) == 1:
            raise UserError(
                "training.batch_size: a single model needs more memory than the GPU "
                "has left; allowed: a smaller one, or another device"
            )
        size = -(-len(stack) // 2)
        left = [model for rest in (stack, *waiting) for model in rest]
        waiting = [left[at : at + size] for at in range(0, len(left), size)]
    return fitted


def _fits(work: Callable[[list[_Model]], None], stack: list[_Model]) -> bool:
    try:
        work(stack)
    except RuntimeError as error:
        # cuBLAS and cuDNN ask for memory of their own and have their own words.
        if not isinstance(error, torch.OutOfMemoryError) and (
            "STATUS_ALLOC_FAILED" not in str(error)
        ):
            raise
    else:
        return True
    # Only out of the handler are the tensors of the failed attempt free to go.
    gc.collect()
    torch.cuda.empty_cache()
    return False
