"""Choice of the device, and stacks that do not fit it."""

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core_samples import dataset, train_block
from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.training import command
from whatelse.training.blocks import load_block
from whatelse.training.device import in_stacks_that_fit, prepare_device, resident


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let PyTorch report GPUs, and put its global flags back afterwards."""
    flags = [
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_tf32"),
        (torch.utils.deterministic, "fill_uninitialized_memory"),
    ]
    before = [getattr(place, name) for place, name in flags]
    monkeypatch.setattr(torch, "use_deterministic_algorithms", lambda mode: None)
    # so that the fixture takes out of the environment what a test puts there
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    threads = torch.get_num_threads()

    def report(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    yield report
    torch.set_num_threads(threads)
    for (place, name), value in zip(flags, before, strict=True):
        setattr(place, name, value)


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        ("auto", 0, "cpu"),
        ("auto", 2, "cuda"),
        ("cpu", 2, "cpu"),
        ("cuda", 1, "cuda"),
        ("cuda:1", 2, "cuda:1"),
    ],
)
def test_devices(gpus: Any, name: str, count: int, expected: str) -> None:
    gpus(count)
    assert prepare_device(name, 1) == torch.device(expected)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("cuda", 0, "--device: cuda is not available here; allowed: auto, cpu"),
        (
            "cuda:2",
            2,
            "--device: cuda:2 is not available here; allowed: auto, cpu, cuda, "
            "cuda:0, cuda:1",
        ),
        ("tpu", 0, "--device: 'tpu' is no device; allowed: auto, cpu"),
        (
            "cuda:-1",
            1,
            "--device: 'cuda:-1' is no device; allowed: auto, cpu, cuda, cuda:0",
        ),
    ],
)
def test_a_device_that_is_not_there_is_one_line(
    gpus: Any, name: str, count: int, message: str
) -> None:
    gpus(count)
    with pytest.raises(UserError) as caught:
        prepare_device(name, 1)
    assert str(caught.value) == message


def test_a_gpu_computes_in_float32_and_deterministically(
    gpus: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    gpus(1)
    prepare_device("cuda", 1)
    assert asked == [True]
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cudnn.benchmark


def short_of_memory(most: int, error: Exception) -> Any:
    """Return work that fails above `most` models, with the list of what it did."""
    done: list[list[int]] = []

    def work(models: list[int]) -> None:
        if len(models) > most:
            raise error
        done.append(models)

    return work, done


LACK = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("most", "sizes"), [(9, [9]), (5, [5, 4]), (4, [3, 3, 3]), (1, [1] * 9)]
)
def test_a_stack_that_does_not_fit_is_split(most: int, sizes: list[int]) -> None:
    work, done = short_of_memory(most, LACK)
    assert in_stacks_that_fit(range(3, 12), work) == sizes
    assert [len(models) for models in done] == sizes
    assert [model for models in done for model in models] == list(range(3, 12))


def test_memory_that_the_libraries_lack_counts_too() -> None:
    lack = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ...")
    work, done = short_of_memory(2, lack)
    in_stacks_that_fit([0, 1, 2, 3], work)
    assert done == [[0, 1], [2, 3]]


def test_other_errors_pass() -> None:
    work, _ = short_of_memory(0, RuntimeError("mat1 and mat2 shapes"))
    with pytest.raises(RuntimeError, match="mat1"):
        in_stacks_that_fit([0, 1], work)


def test_a_single_model_that_does_not_fit_is_one_line() -> None:
    work, _ = short_of_memory(0, LACK)
    with pytest.raises(UserError, match=r"training.batch_size: a single model needs"):
        in_stacks_that_fit([7, 8], work)


def test_a_block_is_trained_in_halves_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = dataset(tmp_path / "data")
    assert train_block(tmp_path, data, "0:5", name="whole") == 0
    real = command.train

    def train(*args: Any, streams: Any, **more: Any) -> Any:
        if len(streams) > 2:
            raise LACK
        return real(*args, streams=streams, **more)

    monkeypatch.setattr(command, "train", train)
    assert train_block(tmp_path, data, "0:5", name="parts") == 0
    whole, parts = load_block(tmp_path / "whole"), load_block(tmp_path / "parts")
    for name, value in whole.parameters.items():
        assert torch.equal(value, parts.parameters[name])
    telemetry = json.loads((tmp_path / "parts" / "telemetry.json").read_text())
    assert telemetry["stacks"] == [2, 2, 1]


def test_records_that_do_not_fit_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data: Dataset = open_dataset(dataset(tmp_path / "data"))
    assert resident(data, torch.device("cpu")).inputs.shape == np.shape(data.inputs)

    def full(*_: Any, **__: Any) -> None:
        raise LACK

    monkeypatch.setattr(torch, "tensor", full)
    with pytest.raises(UserError, match="--device: the .* records .* do not fit cpu"):
        resident(data, torch.device("cpu"))


def test_other_records_in_place_of_its_own(tmp_path: Path) -> None:
    """They are seen as the data set's are: on its scale."""
    own = open_dataset(dataset(tmp_path / "toy"))
    scaled = Dataset(own.folder, own.inputs, own.labels, {**own.info, "scale": 0.5})
    other = np.arange(12, dtype=np.float32).reshape(2, 6)
    data = resident(scaled, torch.device("cpu"), unlabelled=other)
    assert (data.num_records, data.labels.tolist()) == (2, [0, 0])
    taken = data.gather(torch.tensor([1]))
    assert taken.tolist() == [[3.0, 3.5, 4.0, 4.5, 5.0, 5.5]]


_TOUCH = """
from ctypes import CDLL, c_size_t, c_void_p
from resource import RUSAGE_SELF, getrusage
from whatelse.allocator import keep_freed_memory
{keep}
library = CDLL(None)
library.malloc.restype = c_void_p
before = getrusage(RUSAGE_SELF).ru_minflt
for _ in range(20):
    place = c_void_p(library.malloc(c_size_t(40_000_000)))
    library.memset(place, 1, c_size_t(40_000_000))
    library.free(place)
print(getrusage(RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone")
def test_freed_memory_is_kept() -> None:
    def faults(keep: str) -> int:
        code = _TOUCH.format(keep=keep)
        return int(subprocess.check_output([sys.executable, "-c", code]))

    assert faults("assert keep_freed_memory()") < faults("") / 4
