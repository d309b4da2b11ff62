"""benchmarks/gpu.py, on a CPU: the same code with tiny nets."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from core_samples import load_benchmark, random_data, training
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build, initial
from whatelse.seeding import stream
from whatelse.training.ensemble import Stack


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    return load_benchmark(repository, "gpu")


@pytest.fixture
def _threads() -> Any:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_threads")
def test_a_smoke_run_writes_every_part(benchmark: Any, tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--smoke", "--out", str(tmp_path)]
    assert benchmark.main(arguments) == 0
    results = json.loads((tmp_path / "gpu-cpu-smoke.json").read_text())
    assert results["smoke"]
    assert results["device"] == "cpu"
    assert {"torch", "cuda", "cudnn", "python"} <= set(results["versions"])
    assert set(results["nets"]) == {"mlp", "cnn", "resnet"}
    for entry in results["nets"].values():
        assert entry["equality"]["stacked"]["equal"]
        assert entry["equality"]["loop"]["difference"] == 0  # the CPU's loop itself
        assert 0 < entry["equality"]["stacked, mixed"]["difference"] < 0.5
        assert set(entry["models"]) == {"1", "8"}
        for found in entry["models"].values():
            assert {*benchmark.WAYS, "stacked_to_loop", "mixed_to_float32"} == set(
                found
            )
            (stacked,) = found["stacked"]["model_steps_per_second"]
            (looped,) = found["loop"]["model_steps_per_second"]
            ratio = found["stacked_to_loop"][0]
            assert ratio == pytest.approx(stacked / looped, rel=0.02)
            rate = found["stacked"]["models_per_second"]
            # 100 epochs of so many batches make a model
            steps = entry["epochs"] * -(-entry["members"] // entry["batch"])
            assert rate == pytest.approx(stacked / steps, rel=0.02)
        assert set(entry["step"]) == {"eager", "compiled"}
        assert entry["step"]["compiled"]["difference"] < 1e-3
        assert entry["step"]["compiled"]["milliseconds"][0] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "gpu"], "--device: 'gpu' is no device"),
        (["--rounds", "0"], "--rounds: 0; allowed: 1 or more"),
        (["--seconds", "0"], "--seconds: 0.0; allowed: above 0"),
    ],
)
@pytest.mark.usefixtures("_threads")
def test_bad_arguments_are_one_line(
    benchmark: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert benchmark.main([*arguments, "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")
    assert not list(tmp_path.iterdir())


def test_a_lack_of_memory_is_a_result_and_other_errors_fail(benchmark: Any) -> None:
    def lack() -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried ...")

    def bug() -> Any:
        raise TypeError("first line\nsecond line")

    cpu = torch.device("cpu")
    assert benchmark._tried(lack, cpu) == {"out_of_memory": True}
    assert benchmark._tried(bug, cpu) == {"error": "TypeError: first line"}

    def results(**step: Any) -> Any:
        models = {"8": {"stacked": {}, "stacked_to_loop": [1.0]}}
        equality = {"loop": {"difference": 0.0, "equal": True}}
        return {"nets": {"mlp": {"equality": equality, "models": models, "step": step}}}

    assert not benchmark._failed(results(eager={"out_of_memory": True}))
    assert benchmark._failed(results(eager={"error": "TypeError: no"}))
    differing = results()
    differing["nets"]["mlp"]["equality"]["loop"]["equal"] = False
    assert benchmark._failed(differing)


def test_differences_are_shares_of_the_largest_update(benchmark: Any) -> None:
    start = torch.tensor([1.0, 1.0])
    expected, found = torch.tensor([3.0, 1.0]), torch.tensor([3.0, 1.5])
    assert benchmark._difference(found, expected, start) == 0.25


@pytest.mark.parametrize("kind", ["adam", "sgd"])
def test_a_rate_on_the_device_is_the_rate_as_a_number(kind: str) -> None:
    """A captured step reads its learning rate from the device's memory."""
    data = random_data(16, (5,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(4,)), (5,), 3)
    settings = training(optimizer={"kind": kind, "learning_rate": 0.05})
    starts = [initial(architecture, stream(0, "init", i)) for i in range(2)]
    index, shares = torch.arange(16).view(2, 8), torch.full((2, 8), 1 / 8)

    def run(rate: Any) -> torch.Tensor:
        stack = Stack(architecture, settings, data, starts)
        for _ in range(3):
            stack.step(index, shares, full=True, active=range(2), rate=rate)
        return stack.rows_SP

    assert torch.equal(run(0.05), run(torch.tensor(0.05, dtype=torch.float64)))
    assert not torch.equal(run(0.05), run(0.06))
