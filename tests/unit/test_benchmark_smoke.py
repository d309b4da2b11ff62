"""benchmarks/ensemble.py: arguments, refusal of a busy machine, form of the results."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from core_samples import load_benchmark
from whatelse.membership.domain import Domain
from whatelse.membership.model_based import climb
from whatelse.membership.shadow_data_settings import SynthesisSpec
from whatelse.studies.resolve import load_study

STUDY = """
study: tiny
question: membership
title: Tiny
seed: 1
datasets:
  digits: {source: digits}
models:
  net:
    dataset: digits
    architecture: {kind: mlp, hidden: [8], activation: tanh}
    training: {optimizer: {kind: adam, learning_rate: 0.001}, epochs: 10}
    members: 64
    shadows: 2
    replicates: 2
  conv:
    dataset: digits
    architecture: {kind: cnn, channels: [2], hidden: 4}
    training: {optimizer: {kind: sgd, learning_rate: 0.1}, epochs: 10}
    members: 64
    shadows: 2
attacks:
  shadow: {kind: membership.shadow, models: net}
  conv: {kind: membership.shadow, models: conv}
"""


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    return load_benchmark(repository, "ensemble")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY)
    return path


def machine(folder: Path, *, load: float, idle: int, busy: int):
    """Make a /proc whose clock shows `idle` and `busy` ticks once one waits."""
    folder.mkdir()
    (folder / "loadavg").write_text(f"{load} 0.1 0.1 1/100 1234\n")
    (folder / "stat").write_text("cpu  100 0 0 1000 0 0 0 0 0 0\n")

    def wait(seconds: float) -> None:
        text = f"cpu  {100 + busy} 0 0 {1000 + idle} 0 0 0 0 0 0\n"
        (folder / "stat").write_text(text)

    return wait


@pytest.mark.parametrize(
    ("load", "idle", "busy", "reason"),
    [
        (0.0, 89, 11, "the CPU is 89% idle; allowed: at least 90%"),
        (1.2, 100, 0, "the load average is 1.20; allowed: at most 1.00"),
    ],
)
def test_a_busy_machine_is_refused(
    benchmark, study, tmp_path, capsys, load, idle, busy, reason
):
    wait = machine(tmp_path / "proc", load=load, idle=idle, busy=busy)
    arguments = ["--studies", str(study), "--out", str(tmp_path / "out")]
    assert benchmark.main(arguments, proc=tmp_path / "proc", wait=wait) == 2
    printed = capsys.readouterr()
    assert printed.err == f"error: {reason} (--force measures all the same)\n"
    assert not printed.out
    assert not (tmp_path / "out").exists()


def test_an_idle_machine_is_accepted(benchmark, tmp_path):
    wait = machine(tmp_path / "proc", load=1.0, idle=90, busy=10)
    assert benchmark.busy_reason(tmp_path / "proc", wait) is None


def test_stolen_time_is_not_idle_and_waiting_for_disks_is(benchmark):
    assert benchmark.cpu_ticks("cpu  1 2 3 40 5 6 7 80 9 9\ncpu0 ...") == (45, 144)


@pytest.mark.parametrize("flag", [["--rounds", "0"], ["--seconds", "-1"]])
def test_bad_arguments_are_one_line(benchmark, study, capsys, flag):
    assert benchmark.main(["--studies", str(study), *flag]) == 2
    assert capsys.readouterr().err.startswith(f"error: {flag[0]}: {flag[1]}")


def test_a_missing_study_is_one_line(benchmark, tmp_path, capsys):
    assert benchmark.main(["--studies", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml: no such study file" in capsys.readouterr().err


def test_replicates_are_one_cell(benchmark, study):
    net, conv = benchmark.cells_of([study])
    assert (net.net, net.pack, net.members) == ("64-8-10 tanh", 3, 64)
    assert conv.net == "1x8x8 conv 2 dense 4-10 tanh"


def test_operations_by_hand(benchmark, study):
    net, conv = benchmark.cells_of([study])
    runs = 64 * 10  # members, epochs
    assert benchmark.flops(net) == runs * (4 * 64 * 8 + 6 * 8 * 10)
    # 2 filters of 3x3 at 64 places; pooled to 2x4x4; 4 units; 10 classes
    assert benchmark.flops(conv) == runs * (4 * 18 * 64 + 6 * 32 * 4 + 6 * 4 * 10)


def test_operations_of_a_residual_net_by_hand(benchmark):
    net = {
        "kind": "resnet", "widths": [2, 4], "blocks": 1, "norm": "batch",
        "shortcut": "projection",
    }  # fmt: skip
    training = {"epochs": 1, "batch_size": 1}
    cell = benchmark.Cell((), "digits", 10, net, training, 1, 1)
    assert cell.net == "1x8x8 resnet 2-4 x1 batch norm, 10 classes"
    # 3x3: 1 to 2 planes and twice 2 to 2 at 64 places, 2 to 4 and 4 to 4 at 16;
    # 1x1: 2 to 4 at 16
    later = 2 * 36 * 64 + (72 + 144 + 8) * 16 + 4 * 10
    assert benchmark.flops(cell) == 4 * 18 * 64 + 6 * later


def test_cut_work_is_counted_as_a_share_of_the_study(benchmark, study):
    net, _ = benchmark.cells_of([study])
    # 32 of 64 members in batches of 32, 5 of 10 epochs: a quarter of each model
    assert benchmark.Work(models=3, epochs=5, members=32).share_of(net) == 0.75


def test_ratios_are_paired_within_rounds(benchmark):
    rates = dict(zip(benchmark.WAYS, ([4, 1], [2, 3], [1, 3], [2, 1]), strict=True))
    timing = benchmark.Timing(rates, foreign=[0.0, 0.0])
    assert timing.ratios() == [4 / 2, 3 / 3]


def test_the_page_needs_its_marks(benchmark, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no marks\n")
    with pytest.raises(benchmark.UserError, match="page.md: allowed: a page with"):
        benchmark.write_markdown(page, {})
    assert page.read_text() == "no marks\n"


@pytest.mark.slow
def test_a_quick_run_writes_results_and_table(benchmark, study, repository, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{benchmark.BEGIN}old{benchmark.END}\nafter\n")
    done = subprocess.run(
        [
            sys.executable, repository / "benchmarks" / "ensemble.py", "--quick",
            "--force", "--studies", study, "--out", tmp_path / "out",
            "--markdown", page,
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (written,) = (tmp_path / "out").iterdir()
    assert written.name.startswith("ensemble-")
    results = json.loads(written.read_text())
    assert results["quick"]
    assert set(results["matmul_gflops"]) == {"1", "2"}
    assert {"python", "torch", "scikit-learn"} <= set(results["versions"])
    net, conv = results["cells"]
    assert set(net["models_per_second"]) == {*benchmark.WAYS, benchmark.SKLEARN}
    assert set(conv["models_per_second"]) == set(benchmark.WAYS)
    for cell in (net, conv):
        assert all(rate > 0 for rate in cell["models_per_second"].values())
        ratio = cell["stacked_to_loop"]
        assert ratio["min"] == ratio["median"] == ratio["max"] > 0  # one round
        assert cell["timed"]["stacked"]["models"] == 3
    assert (net["bar"], conv["bar"], conv["reached"]) == (3.0, 1.0, True)
    assert (net["auto"], net["auto_to_loop"]) == (
        "stacked",
        net["stacked_to_loop"]["median"],
    )
    assert (conv["auto"], conv["auto_to_loop"]) == ("loop", 1.0)
    text = page.read_text()
    assert text.startswith(f"before\n{benchmark.BEGIN}\n")
    assert text.endswith(f"{benchmark.END}\nafter\n")
    assert "| 64-8-10 tanh | 64 | 32 | 3 |" in text
    assert "old" not in text


def test_a_round_of_clients_either_way(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "round.json"
    round_of = load_benchmark(repository, "round")
    words = ["--cases", "digits", "--repeats", "1", "--out", str(out)]
    wait = machine(tmp_path / "proc", load=3.0, idle=10, busy=90)
    busy: dict[str, Any] = {"proc": tmp_path / "proc", "wait": wait}
    assert round_of.main(words, **busy) == 2
    assert "--force measures all the same" in capsys.readouterr().err
    assert not out.exists()
    assert round_of.main([*words, "--force"], **busy) == 0
    told = json.loads(out.read_text())
    found = told["rounds"]["digits"]
    assert told["busy"]
    assert found["ratio"] == pytest.approx(found["loop"] / found["stacked"])
    assert found["auto"] == "stacked"
    assert found["auto_to_loop"] == found["ratio"]
    assert found["reached"] == (found["ratio"] >= 3)
    assert found["clients"] == 10
    assert "auto takes stacked" in capsys.readouterr().out


def test_every_net_of_a_study_of_backdoors_has_a_round(repository: Path) -> None:
    round_of = load_benchmark(repository, "round")
    timed: dict[str, list[Any]] = {}
    for case in round_of.CASES.values():
        for study in case["studies"]:
            timed.setdefault(study, []).append(case["net"].model_dump(mode="json"))
    paths = sorted((repository / "config/studies").glob("backdoors-*.yaml"))
    assert timed.keys() == {path.stem for path in paths}
    for path in paths:
        for joint in load_study(path).of("collaborate"):
            assert joint.spec["architecture"] in timed[path.stem]


@pytest.mark.parametrize(
    ("case", "parameters"),
    [
        ("cifar10", 0),
        ("cifar10-full", 269_722),
        ("cifar10-full-large", 2_797_610),
        ("blogs", 0),
        ("reddit", 0),
    ],
)
def test_rounds_of_the_other_nets(
    repository: Path, monkeypatch: pytest.MonkeyPatch, case: str, parameters: int
) -> None:
    round_of = load_benchmark(repository, "round")
    few = {"records": 2, "batch": 2, "clients": 2}
    if case == "reddit":  # its logits are what takes long
        few |= {"words": 50}
    monkeypatch.setitem(round_of.CASES, case, round_of.CASES[case] | few)
    found = round_of.measure(case, torch.device("cpu"), 1)
    assert found["auto"] == "loop"
    assert found["ratio"] > 0
    assert (found["auto_to_loop"], found["reached"]) == (1.0, True)
    faster = min(found["stacked"], found["loop"])
    assert found["auto_to_best"] == pytest.approx(faster / found["loop"])
    if parameters:
        assert found["parameters"] == parameters


def test_hill_climbing_either_way(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesis = load_benchmark(repository, "synthesis")
    domain = Domain(
        (12,), np.dtype(np.uint8), np.zeros(12), np.ones(12), np.full(12, 2, np.uint64)
    )
    spec = SynthesisSpec.model_validate(
        {
            "settings": {"kind": "model-based", "k_max": 6, "k_min": 1},
            "records": 60, "release": None, "split": "random", "members": 30,
            "non_members": None, "seed": 1, "replicate": 0,
        }
    )  # fmt: skip

    def ask(inputs):
        share = inputs.mean(1)
        return np.stack([share, 1 - share], axis=1)

    # the same algorithm: as many queries, give or take
    rng = np.random.default_rng(0)
    found, queries = zip(
        *(
            synthesis.one_after_the_other(ask, domain, n % 2, spec.settings, rng)
            for n in range(200)
        ),
        strict=True,
    )
    climbed = climb(
        ask, domain, np.arange(200) % 2, spec.settings, seed=0, name=("t",)
    )  # fmt: skip
    assert all(found)
    assert np.mean(queries) == pytest.approx(climbed.queries.mean(), rel=0.4)
    (row,) = synthesis.measure(ask, domain, spec, 2, rounds=1, seconds=0.01)
    assert row["ratio"] == pytest.approx(row["batched"] / row["one_by_one"])
    assert row["failed"] == 0
    assert synthesis.main(["--rounds", "0"]) == 2
    assert capsys.readouterr().err == "error: --rounds: 0; allowed: above 0\n"


def test_some_cases_of_joint_models_leave_the_others(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = load_benchmark(repository, "collaborate")
    monkeypatch.setattr(script, "_prepared", lambda settings, place: place)
    monkeypatch.setattr(script, "_measured", lambda *_: {"seconds": 1.0})
    first, second, _ = script.CASES
    for case, iterations in ((first, 40), (second, 60)):
        words = ["--cases", case, "--iterations", str(iterations)]
        assert script.main([*words, "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "collaborate.json").read_text())["cases"]
    assert {name: own["iterations"] for name, own in found.items()} == {
        first: 40, second: 60
    }  # fmt: skip
