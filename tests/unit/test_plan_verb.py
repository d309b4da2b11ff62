"""``whatelse plan``: counts, sizes, schedules, precision; benchmarks on record."""

import importlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from pydantic import TypeAdapter
from scipy import sparse

from core_samples import load_benchmark
from whatelse.attack_kinds import KINDS
from whatelse.cli import main
from whatelse.datasets.registry import default_registry, read_registry
from whatelse.datasets.store import write_dataset
from whatelse.errors import UserError
from whatelse.records import read_json, write_json
from whatelse.studies.plan import work
from whatelse.studies.plan.costs import read_costs
from whatelse.studies.plan.estimate import Estimator, with_shadows
from whatelse.studies.plan.precision import read_curve, sampling_error
from whatelse.studies.plan.profiles import read_profile
from whatelse.studies.plan.schedule import Task, makespan, merged, submissions
from whatelse.studies.plan.shapes import (
    KNOWN,
    Shape,
    derived_shape,
    shadow_shape,
    shape_of,
)
from whatelse.studies.plan.workload import Workload
from whatelse.studies.resolve import Artefact, load_study

STUDY: dict[str, Any] = {
    "study": "toy",
    "question": "membership",
    "title": "A toy study",
    "seed": 1,
    "datasets": {"digits": {"source": "digits"}},
    "models": {
        "net": {
            "dataset": "digits",
            "architecture": {"kind": "mlp", "hidden": [16]},
            "training": {"optimizer": {"kind": "adam"}, "epochs": 2},
            "members": 40, "shadows": 5, "replicates": 3, "block": 4,
        }
    },
    "attacks": {
        "shadow": {"kind": "membership.shadow", "models": "net"},
        "loss": {"kind": "membership.threshold", "models": "net"},
    },
    "figures": {"roc": {"kind": "roc", "title": "ROC", "attacks": ["shadow"]}},
}  # fmt: skip

RULES = """
rule prepare_dataset:
    output: "a"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,


rule train_block:
    output: "b"
    threads: 1
    group:
        group_of_block


rule query_block:
    output: "c"
    group:
        group_of_block


rule run_attack:
    output: "d"
    group:
        "attacks"


rule draw_figure:
    output: "e"
    group:
        "figures"


rule check_claims:
    output: "f"
    group:
        "figures"


# Local.
rule track_study:
    output: "g"
    localrule: True
    resources:
        mlflow_db=1,
"""

SLURM = {
    "executor": "slurm",
    "jobs": 10,
    "cores": 1,
    "group-components": {"models": 4, "attacks": 2, "figures": 9},
    "default-resources": {"mem_mb": "1000 * attempt"},
    "set-resources": {"train_block": {"gpu": 1, "mem_mb": "2000 * attempt"}},
    "resources": {"gpu": 1},
}

SECONDS = {"train.job": 2.0, "query.job": 1.0, "attack.job": 3.0, "dataset.job": 1.0}


def benchmarks(folder: Path, **more: Any) -> Path:
    write_json(
        folder / "jobs-made-up.json",
        {
            "node": "cpu", "machine": "Made up", "busy": False,
            "measured": "2020-01-01", "seconds": SECONDS,
            "memory_mb": {"train.job": 300.0}, **more,
        },
    )  # fmt: skip
    write_json(
        folder / "shadows-digits.json",
        {
            "shadows": [1, 4, 16],
            "sizes": [
                {
                    "replicates": 9,
                    "change_mean": [-0.08, -0.02, 0.0],
                    "change_std": [0.04, 0.02, 0.0],
                },
                {
                    "replicates": 9,
                    "change_mean": [-0.04, -0.02, 0.0],
                    "change_std": [0.03, 0.01, 0.0],
                },
            ],
        },
    )
    return folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout with profiles and rules, benchmarks, and a study."""
    (tmp_path / "workflow" / "rules").mkdir(parents=True)
    (tmp_path / "workflow" / "rules" / "all.smk").write_text(RULES)
    for name, profile in (("default", {"cores": 2}), ("slurm", SLURM)):
        (tmp_path / "profiles" / name).mkdir(parents=True)
        path = tmp_path / "profiles" / name / "profile.yaml"
        path.write_text(yaml.safe_dump(profile))
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(STUDY))
    benchmarks(tmp_path / "benchmarks")
    return tmp_path


@pytest.fixture
def plan(place: Path) -> Callable[..., dict[str, Any]]:
    def call(*words: str) -> dict[str, Any]:
        out = place / "plan.json"
        assert main([*words_of(place), *words, "--json", str(out)]) == 0
        found: dict[str, Any] = read_json(out)
        return found

    return call


def words_of(place: Path) -> list[str]:
    return [
        "plan", str(place / "toy.yaml"), "--workflow", str(place),
        "--benchmarks", str(place / "benchmarks"), "--results", str(place / "results"),
    ]  # fmt: skip


def steps(plan: dict[str, Any]) -> dict[str, tuple[int, int]]:
    return {row["kind"]: (row["to_make"], row["there"]) for row in plan["steps"]}


# ---- what a study comes to


def test_jobs_and_models_are_counted(plan: Callable[..., dict[str, Any]]) -> None:
    found = plan()
    assert steps(found) == {
        "dataset": (1, 0), "train": (6, 0), "query": (6, 0), "attack": (2, 0),
        "figure": (1, 0), "claims": (1, 0), "track": (1, 0),
    }  # fmt: skip
    assert found["models"] == {"to_train": 18, "there": 0}
    # 1 + 6 * 2 + 6 * 1 + 2 * 3 seconds on one core
    (node,) = found["nodes"]
    assert (node["node"], node["jobs"], node["seconds"]) == ("cpu", 18, 25.0)
    # two cores: 1; three rounds of 2; three of 1; both attacks
    assert found["wall"] == {"seconds": 13.0, "known": True}
    assert found["submissions"] == 0


def test_fewer_replicates_and_cores(plan: Callable[..., dict[str, Any]]) -> None:
    found = plan("--replicates", "1", "--cores", "1")
    assert found["models"]["to_train"] == 6
    assert found["wall"]["seconds"] == 1 + 2 * 2 + 2 * 1 + 2 * 3


def test_what_is_there_is_not_made_again(
    place: Path, plan: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolved = load_study(place / "toy.yaml", place / "results")
    (dataset,) = resolved.of("dataset")
    assert not main(
        [
            "datasets", "prepare", "--spec", dataset.spec_json, "--raw", str(place),
            "--out", dataset.folder,
        ]
    )  # fmt: skip
    assert steps(plan())["dataset"] == (0, 1)
    block = resolved.of("train")[0]
    assert not main(
        [
            "train", "--spec", block.spec_json, "--data", dataset.folder, "--models",
            block.labels["models"], "--progress", str(place / "progress"),
            "--out", block.folder,
        ]
    )  # fmt: skip
    found = plan()
    assert steps(found)["train"] == (5, 1)
    assert found["models"] == {"to_train": 14, "there": 4}
    # a file of it is gone: not whole
    (Path(block.folder) / "plan.npz").unlink()
    assert steps(plan())["train"] == (6, 0)
    # what lies downstream of what is made again is made again
    record = read_json(Path(dataset.folder) / "record.json")
    write_json(Path(dataset.folder) / "record.json", {**record, "code": "other"})
    assert steps(plan())["dataset"] == (1, 0)


def test_a_cluster_gets_neighbouring_blocks_together(
    place: Path, plan: Callable[..., dict[str, Any]]
) -> None:
    found = plan("--profile", "slurm")
    # the data set; six blocks with their outputs in fours; two attacks; the rest
    assert found["submissions"] == 1 + 2 + 1 + 1
    nodes = {row["node"]: row for row in found["nodes"]}
    assert nodes["gpu"]["jobs"] == 6
    assert nodes["gpu"]["seconds"] is None
    assert nodes["gpu"]["cpu_seconds"] == 12.0
    assert not found["wall"]["known"]
    # one core wide: 1; four blocks and outputs in turn; both attacks in turn; start 40
    assert found["wall"]["seconds"] == 40 + 1 + 4 * (2 + 1) + 2 * 3
    # two cores wide, but with one GPU: only training in turn, outputs beside it
    wide = plan("--profile", "slurm", "--cores", "2")
    assert wide["wall"]["seconds"] == 40 + 1 + (4 * 2 + 1) + 3
    # what runs on the submitting host is bound by no limit of the scheduler
    (track,) = [row for row in found["steps"] if row["kind"] == "track"]
    assert track["asked_mb"] is None


def test_a_gpu_benchmark_on_record_gives_gpu_hours(
    place: Path, plan: Callable[..., dict[str, Any]]
) -> None:
    gpu = {"train.job": 0.5, "stacked.launch": 0.25}
    write_json(
        place / "benchmarks" / "jobs-a-gpu.json",
        {
            "node": "gpu", "machine": "A GPU", "busy": False, "measured": "2020-01-01",
            "seconds": gpu, "memory_mb": {},
        },
    )  # fmt: skip
    nodes = {row["node"]: row for row in plan("--profile", "slurm")["nodes"]}
    # 2 epochs of 2 steps
    assert nodes["gpu"]["seconds"] == 6 * (0.5 + 4 * 0.25)


def test_memory_and_time_beyond_the_profile_are_told(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tight = {
        **SLURM,
        "set-resources": {"train_block": {"mem_mb": 200, "runtime": 0.01}},
    }
    (place / "profiles" / "slurm" / "profile.yaml").write_text(yaml.safe_dump(tight))
    assert main([*words_of(place), "--profile", "slurm"]) == 0
    said = capsys.readouterr().out
    assert "warning: train takes 300 MB of memory, 200 MB are asked for" in said
    assert "warning: the longest train job takes 2 s, its limit is 1 s" in said


def test_fewer_shadows_cost_less_and_say_less(
    plan: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = plan()["shadows"]
    assert [row["shadows"] for row in rows] == [5, 2, 1]
    assert [row["models"] for row in rows] == [18, 9, 6]
    assert rows[0]["auc_change"] == 0.0
    for row in ("cpu_seconds", "wall_seconds", "disk", "auc_change"):
        values = [one[row] for one in rows]
        assert values == sorted(values, reverse=True), row
    # at 2: half way from 1 to 4 in the logarithm; at 5: near 4
    at_five = -0.02 * (1 - math.log(5 / 4) / math.log(4))
    assert rows[1]["auc_change_low"] == pytest.approx(-0.05 - at_five)
    assert rows[1]["auc_change_high"] == pytest.approx(-0.03 - at_five)
    # at 1, of three replicates: 40 of each kind are tested
    variance = sampling_error(40, 40) ** 2 + (0.04**2 + 0.03**2) / 2
    assert rows[2]["auc_error_high"] == pytest.approx(math.sqrt(variance / 3))
    said = capsys.readouterr().out
    assert "measured on digits with 9 targets a size" in said
    assert "1 of 2 attacks are fitted on no shadows." in said


def test_a_study_without_shadow_attacks_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = {**STUDY, "attacks": {"loss": STUDY["attacks"]["loss"]}, "figures": {}}
    (place / "toy.yaml").write_text(yaml.safe_dump(study))
    assert main(words_of(place)) == 0
    assert (
        "No attack of this study is fitted on trained shadows."
        in capsys.readouterr().out
    )


def test_reference_models_and_signals_are_counted(
    place: Path, plan: Callable[..., dict[str, Any]]
) -> None:
    net = {**STUDY["models"]["net"], "split": "halves", "shadows": 8}
    study = {
        **STUDY, "models": {"net": net}, "figures": {
            "roc": {"kind": "roc", "title": "ROC", "attacks": ["lira", "p"]}
        }, "attacks": {
            "lira": {"kind": "membership.lira", "models": "net", "references": 4},
            "p": {"kind": "membership.attack-p", "models": "net"},
        },
    }  # fmt: skip
    (place / "toy.yaml").write_text(yaml.safe_dump(study))
    found = plan()
    # three targets alone, and 2, 2 and 4 reference models that they share
    assert steps(found) == {
        "dataset": (1, 0), "train": (6, 0), "query": (6, 0), "attack": (2, 0),
        "figure": (1, 0), "claims": (1, 0), "track": (1, 0),
    }  # fmt: skip
    assert found["models"] == {"to_train": 11, "there": 0}
    assert not found["shadows"]
    # two float32 numbers of 1,797 digits and 11 models, and what is trained on
    (row,) = (row for row in found["steps"] if row["kind"] == "query")
    assert row["disk"] == pytest.approx(11 * 1797 * (2 * 4 + 2), rel=0.2)


def test_a_model_of_your_own(place: Path) -> None:
    np.savez(
        place / "mine.npz", probabilities=np.full((8, 2), 0.5), labels=[0, 1] * 4,
        member=[True, False] * 4,
    )  # fmt: skip
    mine = {"net": {"external": "mine.npz"}}
    study = {**STUDY, "datasets": {}, "figures": {}, "models": mine}
    (place / "toy.yaml").write_text(yaml.safe_dump(study))
    assert main(words_of(place)) == 0


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--profile", "none"], "error: --profile: 'none' holds no profile.yaml; "
         "allowed: default, slurm, or the path of a folder that does"),
        (["--cores", "0"], "error: --cores: 0; allowed: 1 or more"),
        (["--replicates", "0"], "error: --replicates: 0; allowed: 1 or more"),
    ],
)  # fmt: skip
def test_bad_arguments_are_one_line(
    place: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words_of(place), *words]) == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize(
    ("name", "text", "part"),
    [
        ("jobs-made-up.json", None, "no jobs-*.json of a CPU"),
        ("jobs-made-up.json", "{", "not JSON"),
        ("jobs-made-up.json", "{}", "no benchmark of jobs"),
        ("shadows-digits.json", None, "no such file"),
        ("shadows-digits.json", "[]", "no benchmark of shadows"),
        ("shadows-digits.json", '{"shadows": [2], "sizes": []}', "no benchmark of"),
        (
            "shadows-digits.json",
            '{"shadows": [1], "sizes": [{"change_mean": [0], "change_std": [0], '
            '"replicates": 2}]}',
            "columns do not match",
        ),
    ],
)
def test_a_broken_benchmark_is_one_line(
    place: Path, name: str, text: str | None, part: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = place / "benchmarks" / name
    path.unlink() if text is None else path.write_text(text)
    assert main(words_of(place)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert part in said
    assert said.count("\n") == 1


def test_images_are_needed_by_convolutions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(place / "flat.npz", inputs=np.zeros((400, 5)), labels=np.arange(400) % 2)
    study = json.loads(json.dumps(STUDY))
    study["datasets"]["digits"] = {"source": "npz", "path": "flat.npz"}
    study["models"]["net"]["architecture"] = {"kind": "cnn"}
    (place / "toy.yaml").write_text(yaml.safe_dump(study))
    assert main(words_of(place)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: {place / 'toy.yaml'}: architecture.kind: cnn needs")


def test_pytorch_is_not_loaded(place: Path) -> None:
    code = (
        "import sys; from whatelse.cli import main; main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; assert 'pandas' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code, *words_of(place)], check=True, capture_output=True
    )


# ---- sizes


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "mlp", "hidden": []},
        {"kind": "mlp", "hidden": [64, 7], "activation": "relu"},
        {"kind": "cnn", "channels": [5, 8], "kernel": 3, "hidden": 12},
        {"kind": "cnn", "channels": [5], "kernel": 5, "hidden": 4, "padding": "valid"},
        {"kind": "resnet"},
        {"kind": "resnet", "norm": "none", "shortcut": "projection", "blocks": 1},
        {"kind": "resnet", "widths": [8, 16], "shortcut": "normalized-projection"},
    ],
)
def test_nets_are_counted_as_they_are_built(settings: dict[str, Any]) -> None:
    from whatelse.models.settings import ArchitectureSettings
    from whatelse.models.stacked import build
    from whatelse.training.ensemble import padded_batch

    adapter: TypeAdapter[Any] = TypeAdapter(ArchitectureSettings)
    whole = adapter.validate_json(json.dumps(settings))
    record = (3, 9, 9)
    architecture = build(whole, record, 10)
    net = work.net_of(whole.model_dump(mode="json"), record, 10)
    assert net.weights == sum(math.prod(s) for s in architecture.shapes.values())
    assert net.looped == (settings["kind"] != "mlp")
    if settings["kind"] != "resnet":
        for batch in (1, 32, 100):
            expected = padded_batch(architecture, batch, math.prod(record))
            assert work.padded_batch(net, batch) == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "text-cnn", "embedding": 6, "windows": [3], "filters": 5},
        {"kind": "text-cnn", "embedding": 8, "windows": [2, 4], "hidden": 7},
        {"kind": "gru", "embedding": 6, "hidden": 5},
        {"kind": "gru"},
        {"kind": "lstm", "embedding": 6, "hidden": 5, "tied": False},
        {"kind": "lstm", "layers": 3, "hidden": 200},
    ],
)
def test_nets_for_words_are_counted_as_they_are_built(settings: dict[str, Any]) -> None:
    import torch

    from whatelse.models.settings import ArchitectureSettings
    from whatelse.models.stacked import build
    from whatelse.training.ensemble import choose_strategy, padded_batch

    adapter: TypeAdapter[Any] = TypeAdapter(ArchitectureSettings)
    whole = adapter.validate_json(json.dumps(settings))
    classes = 42 if getattr(whole, "tied", False) else 3
    architecture = build(whole, (9,), classes, words=41)
    net = work.net_of(whole.model_dump(mode="json"), (9,), classes, words=41)
    assert net.weights == sum(math.prod(s) for s in architecture.shapes.values())
    loop = choose_strategy(architecture, torch.device("cpu")) == "loop"
    assert net.looped == loop == (settings["kind"] != "gru")
    for batch in (1, 32, 100):
        expected = padded_batch(architecture, batch, 9)
        assert work.padded_batch(net, batch) == expected


def test_operations_of_nets_for_words() -> None:
    gru = {"kind": "gru", "embedding": 4, "hidden": 2}
    net = work.net_of(gru, (5,), 3, words=7)
    # three gates of a word and three of the state, at each of five places
    assert net.dense == 6 * (5 * (4 * 6 + 2 * 6) + 2 * 3)
    assert (net.conv, net.turns) == (0, 5)
    assert net.values == 5 + 5 * 4 + 5 * (6 + 6 + 2) + 3
    features = work.training(
        net, num_models=2, steps=3, epochs=5, batch_size=16, stacked=True
    )
    assert features["stacked.step"] == 30 * 5
    # all rows of the embedding are stepped on, whatever words a batch has
    assert features["stacked.gweight"] == pytest.approx(30 * net.weights / 1e9)
    assert net.weights > 8 * 4
    cnn = {
        "kind": "text-cnn", "embedding": 4, "windows": [2, 3], "filters": 2,
        "hidden": None,
    }  # fmt: skip
    net = work.net_of(cnn, (5,), 3, words=7)
    assert net.conv == 6 * (4 * 2 * 2 * 4 + 4 * 2 * 3 * 3)
    assert (net.dense, net.turns) == (6 * 4 * 3, 1)
    assert net.values == 5 + 5 * 4 + 2 * 4 + 2 * 3 + 4 + 3
    lstm = {"kind": "lstm", "embedding": 4, "hidden": 4, "layers": 2, "tied": True}
    net = work.net_of(lstm, (5,), 8, words=7)
    # four gates of a word and four of the state, twice; an answer after each word
    assert net.dense == 6 * 5 * (2 * (4 * 16 + 4 * 16) + 4 * 8)
    assert (net.conv, net.turns, net.looped) == (0, 10, True)
    assert net.values == 5 + 5 * 4 + 2 * 5 * (16 + 16 + 8) + 5 * 8
    assert net.weights == 8 * 4 + 2 * (4 * 16 * 2 + 32) + 8


@pytest.mark.parametrize(
    ("record", "words", "message"),
    [
        ((9,), None, "gru needs records of words, .*; the data set has no vocabulary"),
        ((1, 3, 3), 5, r"gru needs records .* the data set has shape \(1, 3, 3\)"),
    ],
)
def test_words_are_needed_by_nets_for_words(
    record: tuple[int, ...], words: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        work.net_of({"kind": "gru"}, record, 2, words=words)


def test_windows_wider_than_a_record_are_refused() -> None:
    cnn = {"kind": "text-cnn", "embedding": 4, "windows": [4], "filters": 2}
    with pytest.raises(UserError, match=r"windows: 4; allowed: at most 3, the words"):
        work.net_of(cnn, (3,), 2, words=5)


def test_who_reads_words_keeps_a_bit_of_each() -> None:
    shape = Shape(1000, (5,), 3, 0.4, 0.3, 2, words=805)
    joint: dict[str, Any] = {
        "architecture": {"kind": "gru", "embedding": 4, "hidden": 2},
        "protocol": {"kind": "gradients", "iterations": 300, "batch_size": 8},
        "participants": 2,
    }  # fmt: skip
    looking = {**joint, "adversary": {"kind": "membership", "first": 100}}
    alone, seen = (work.collaborate(spec, shape) for spec in (joint, looking))
    # 200 rounds of 805 bits, and which 1,000 records are whose
    assert seen.disk - alone.disk == 200 * 101 + 8 * 1000
    assert seen.seconds == alone.seconds
    settings = {"kind": "properties.membership", "records": 2000}
    found = work.inference(settings, looking, shape, 3)
    assert found.seconds == {"attack.job": 1, "attack.replicate": 3}
    assert found.memory["query.value_megabyte"] == pytest.approx(200 * 805 / 1e6)


def test_operations_of_a_small_net() -> None:
    net = work.net_of({"kind": "mlp", "hidden": [3]}, (2,), 4)
    assert (net.dense, net.conv, net.forward) == (4 * 6 + 6 * 12, 0, 2 * 18)
    assert net.values == 2 + 3 + 4
    net = work.net_of(
        {"kind": "cnn", "channels": [2], "kernel": 3, "hidden": 5}, (1, 4, 4), 2
    )
    assert net.conv == 4 * 18 * 16
    assert net.dense == 6 * (8 * 5 + 5 * 2)
    features = work.training(
        net, num_models=2, steps=3, epochs=5, batch_size=7, stacked=False
    )
    assert features["loop.step"] == 30
    assert features["loop.conv_gflop"] == pytest.approx(30 * 7 * net.conv / 1e9)


def test_the_attacks_that_need_no_shadows_are_named() -> None:
    # those that read models themselves have no `NEEDS_SHADOWS`
    without = {
        kind
        for kind, own in KINDS.items()
        if not {"outputs", "ranks"} & set(own.needs)
        or not importlib.import_module(own.more[0]).NEEDS_SHADOWS
    }
    assert without == work.NO_SHADOWS


def test_disk_is_what_jobs_write(tmp_path: Path) -> None:
    study = json.loads(json.dumps(STUDY))
    study["models"]["net"]["shadows"] = 3
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
    resolved = load_study(tmp_path / "toy.yaml", tmp_path / "results", replicates=1)
    (dataset,), (block,) = resolved.of("dataset"), resolved.of("train")
    (asked,) = resolved.of("query")
    common = ["--data", dataset.folder]
    train = ["train", *common, "--models", "0:4", "--progress", str(tmp_path / "p")]
    calls = [
        (dataset, ["datasets", "prepare", "--raw", str(tmp_path)]),
        (block, train),
        (asked, ["query", *common, "--block", block.folder]),
    ]
    costs = read_costs(benchmarks(tmp_path / "benchmarks"))
    (tmp_path / "profiles" / "one").mkdir(parents=True)
    (tmp_path / "profiles" / "one" / "profile.yaml").write_text("cores: 1")
    estimator = Estimator(costs, read_profile(tmp_path, "one"))
    expected = {
        job.folder: job.disk
        for job in estimator.jobs(resolved, tmp_path / "results", afresh=True)
    }
    for artefact, words in calls:
        assert not main(
            [*words, "--spec", artefact.spec_json, "--out", artefact.folder]
        )
        found = sum(path.stat().st_size for path in Path(artefact.folder).iterdir())
        assert expected[artefact.folder] == pytest.approx(found, rel=0.25)


def test_known_data_sets_are_those_of_the_registry() -> None:
    registry = read_registry(default_registry())
    assert set(KNOWN) | {"retail"} == set(registry)
    for name, shape in KNOWN.items():
        assert shape.num_records == registry[name].records
        assert str(shape.num_classes) == registry[name].classes.split(" or ")[0]


def test_shapes_of_ones_own_data(tmp_path: Path) -> None:
    def shape(**spec: Any) -> Shape:
        return shape_of(Artefact("dataset", str(tmp_path / "nowhere"), spec))

    np.savez(
        tmp_path / "a.npz",
        inputs=np.zeros((8, 2, 3), np.uint8),
        labels=[0] * 6 + [1] * 2,
    )
    assert shape(source="npz", path=str(tmp_path / "a.npz")) == Shape(
        8, (2, 3), 2, 0.75, 0.25, 1
    )
    (tmp_path / "t.csv").write_text("x,who,y\n1,a,u\n2,b,u\n3,a,v\n4,b,u\n")
    assert shape(source="table", path=str(tmp_path / "t.csv"), label="y") == Shape(
        4, (3,), 2, 0.75, 0.25, 4
    )
    for name in ("cat/1.png", "cat/2.JPG", "cat/notes.txt", "dog/1.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert shape(source="images", path=str(tmp_path / "images"), size=5) == Shape(
        3, (3, 5, 5), 2, 2 / 3, 1 / 3, 1
    )
    with pytest.raises(UserError, match="no such folder"):
        shape(source="images", path=str(tmp_path / "none"), size=5)


def test_shapes_of_what_is_prepared(tmp_path: Path) -> None:
    spec = '{"source": "digits"}'
    out = str(tmp_path / "digits")
    main(["datasets", "prepare", "--spec", spec, "--raw", str(tmp_path), "--out", out])
    found = shape_of(Artefact("dataset", out, {"source": "digits"}))
    assert found.largest == pytest.approx(KNOWN["digits"].largest, abs=1e-4)
    assert found.smallest == pytest.approx(KNOWN["digits"].smallest, abs=1e-4)
    assert found.record == KNOWN["digits"].record


@pytest.mark.parametrize(
    ("spec", "record", "classes", "records"),
    [
        ({"source": "lfw", "task": "gender", "size": None}, (3, 62, 47), 2, 12949),
        ({"source": "lfw", "task": "race", "size": 32}, (3, 32, 32), 6, 12949),
        ({"source": "utkface", "task": "age", "size": 32}, (3, 32, 32), 5, 23705),
        (
            {"source": "facescrub", "task": "identity", "size": 50, "people": 53},
            (3, 50, 50), 53, 10686,
        ),
        (
            {"source": "facescrub", "task": "gender", "size": 64, "people": None},
            (3, 64, 64), 2, 106863,
        ),
        ({"source": "newsgroups", "min_documents": 1}, (130107,), 20, 18846),
        ({"source": "newsgroups", "min_documents": 11}, (15593,), 20, 18846),
        (
            {"source": "blogs", "length": 50, "posts": 9, "vocabulary": 400},
            (50,), 3, 17525,
        ),
        (
            {"source": "blogs-words", "length": 10, "vocabulary": 400,
             "words_per_author": 101, "authors": None},
            (10,), 401, 20000,
        ),
        (
            {"source": "reddit", "length": 20, "vocabulary": 5000,
             "words_per_author": 1000, "authors": 300},
            (20,), 5001, 15000,
        ),
        (
            {"source": "yelp", "length": 100, "subset": "authors", "authors": 20},
            (100,), 5, 32414,
        ),
        ({"source": "yelp", "length": 100, "subset": "health"}, (100,), 5, 17938),
    ],
)  # fmt: skip
def test_shapes_follow_the_settings(
    spec: dict[str, Any], record: tuple[int, ...], classes: int, records: int
) -> None:
    shape = shape_of(Artefact("dataset", "nowhere", spec))
    assert (shape.record, shape.num_classes, shape.num_records) == (
        record, classes, records
    )  # fmt: skip
    assert shape.largest >= 1 / classes >= shape.smallest
    words = KNOWN[spec["source"]].words
    assert shape.words == spec.get("vocabulary", words)


def test_shapes_of_derived_data_sets() -> None:
    base = Shape(1000, (1, 8, 8), 10, 0.2, 0.05)
    split = derived_shape({"kind": "split", "members": 600, "seed": 0}, base)
    assert split == Shape(1000, (1, 8, 8), 10, 0.2, 0.05, members=600)
    # 600 labels of three bits: 75 each of the first eight classes, none of the others
    abused = derived_shape({"kind": "capacity-abuse", "inputs": 600}, split)
    assert (abused.num_records, abused.members) == (1600, 1200)
    assert abused.largest == pytest.approx((200 + 75) / 1600)
    assert abused.smallest == pytest.approx(50 / 1600)
    even = replace(split, num_classes=2, largest=0.6, smallest=0.4)
    abused = derived_shape({"kind": "capacity-abuse", "inputs": 600}, even)
    assert abused.smallest == pytest.approx((400 + 300) / 1600)
    with pytest.raises(UserError, match="capacity-abuse needs a data set with a split"):
        derived_shape({"kind": "capacity-abuse", "inputs": 600}, base)
    tossed = derived_shape(
        {"kind": "canaries", "count": 100, "records": "plain"}, split
    )
    assert tossed == replace(split, canaries=100)
    noisy = derived_shape({"kind": "canaries", "count": 100, "records": "noise"}, split)
    assert (noisy.num_records, noisy.members, noisy.canaries) == (1100, 700, 100)
    spec = {"split": "coins", "members": None, "non_members": None}
    # half of the canaries are trained on, all are asked about
    assert work.members_of(spec, noisy) == 650
    assert work.tested(spec, noisy) == 100
    with pytest.raises(UserError, match="canaries need a data set with a split"):
        derived_shape({"kind": "canaries", "count": 100, "records": "plain"}, base)
    with pytest.raises(UserError, match="what 'shuffle' makes is not known"):
        derived_shape({"kind": "shuffle"}, base)


def test_shapes_of_shadow_data() -> None:
    base = Shape(1000, (1, 8, 8), 10, 0.2, 0.05, members=600)
    spec = {"records": 300, "settings": {"kind": "model-based"}}
    assert shadow_shape(spec, base) == Shape(300, (1, 8, 8), 10, 0.1, 0.1)
    noisy = {"records": 300, "settings": {"kind": "noisy"}}
    assert shadow_shape(noisy, base) == Shape(300, (1, 8, 8), 10, 0.2, 0.05)


def test_shadow_data_are_planned(
    place: Path, plan: Callable[..., dict[str, Any]]
) -> None:
    kinds = {"shadow_data.kind": ["real", "noisy", "model-based"]}
    models = {"net": {**STUDY["models"]["net"], "foreach": kinds}}
    study = {**STUDY, "models": models, "figures": {}}
    study["attacks"] = {"shadow": STUDY["attacks"]["shadow"]}
    (place / "toy.yaml").write_text(yaml.safe_dump(study))
    found = plan()
    # of three replicates: real ones in two blocks; a target with its control, and two
    # times five shadows in two blocks each
    blocks = 3 * (2 + 1 + 2 * 2)
    assert steps(found) == {
        "dataset": (1, 0), "synthesise": (6, 0), "train": (blocks, 0),
        "query": (blocks, 0), "attack": (3, 0), "claims": (1, 0), "track": (1, 0),
    }  # fmt: skip
    assert found["models"]["to_train"] == 3 * (6 + 2 + 2 * 5)
    assert found["attacks"] == {"with_shadows": 3, "all": 3}
    # beside them, on a cluster: never a job of its own between blocks of one job
    cluster = plan("--profile", "slurm")
    assert cluster["submissions"] > 0
    resolved = load_study(place / "toy.yaml", place / "results")
    by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
    known = Workload()
    kinds_of_data = ("dataset", "synthesise")
    known.look_at(a for a in resolved.artefacts if a.kind in kinds_of_data)
    net = work.net_of({"kind": "mlp", "hidden": [16]}, (1, 8, 8), 10)
    for data in resolved.of("synthesise"):
        seconds = known.of(data, by_folder).seconds
        asks = data.spec["settings"]["kind"] == "model-based"
        # 80 records by 156 queries each
        assert seconds.get("query.gflop", 0) * 1e9 == pytest.approx(
            asks * 80 * 156 * net.forward
        )
    found = [known.of(attack, by_folder).seconds for attack in resolved.of("attack")]
    # the target's 40 members and 40 others, in each replicate
    assert [own["attack.krow"] for own in found] == pytest.approx([3 * 0.08] * 3)
    answers = [own["attack.answer_megabyte"] for own in found]
    row = 25 + 4 * 10
    real, other = (3 * 80 * rows * row / 1e6 for rows in (5 + 2, 5 + 3))
    assert answers == pytest.approx([real, other, other])


def test_splits_of_ones_own_data_are_counted(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "a.npz", inputs=np.zeros((8, 3), np.uint8), labels=[0] * 4 + [1] * 4,
        split=["train"] * 5 + ["test"] * 3,
    )  # fmt: skip
    spec = {
        "source": "npz", "path": str(tmp_path / "a.npz"), "attributes": ["split"]
    }  # fmt: skip
    out = tmp_path / "made"
    assert shape_of(Artefact("dataset", str(out), spec)).members == 5
    prepare = ["datasets", "prepare", "--raw", str(tmp_path), "--out", str(out)]
    assert not main([*prepare, "--spec", json.dumps(spec)])
    assert shape_of(Artefact("dataset", str(out), spec)).members == 5
    # an attribute that nobody asked for is not kept
    plain = {**spec, "attributes": []}
    assert shape_of(Artefact("dataset", str(tmp_path / "no"), plain)).members is None


def test_vocabularies_of_what_is_prepared_are_counted(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "words", inputs=np.ones((6, 4), np.uint16), labels=np.arange(6) % 2,
        info={
            "name": "toy", "title": "Toy", "class_names": ["a", "b"],
            "vocabulary": ["x", "y", "z"],
        },
        settings={"source": "blogs"},
    )  # fmt: skip
    spec = {"source": "blogs", "vocabulary": 5000}
    shape = shape_of(Artefact("dataset", str(tmp_path / "words"), spec))
    assert (shape.record, shape.words) == ((4,), 3)
    derived = derived_shape({"kind": "split", "members": 3, "seed": 0}, shape)
    assert derived.words == 3


def test_bags_of_words_cost_what_they_hold(tmp_path: Path) -> None:
    rows = sparse.csr_array(np.eye(60, 400, dtype=np.float32))
    write_dataset(
        tmp_path / "words", inputs=rows, labels=np.arange(60) % 2,
        info={"name": "toy", "title": "Toy", "class_names": ["a", "b"]},
        settings={"source": "newsgroups"},
    )  # fmt: skip
    spec = {"source": "newsgroups", "min_documents": 1}
    shape = shape_of(Artefact("dataset", str(tmp_path / "words"), spec))
    assert (shape.record, shape.values, shape.members) == ((400,), 1.0, 11314)
    on_disk = sum(f.stat().st_size for f in (tmp_path / "words").glob("*.npy"))
    assert shape.num_bytes == pytest.approx(on_disk, rel=0.35)  # heads of four files
    net = work.net_of({"kind": "mlp", "hidden": [3]}, (400,), 4, given=5.0)
    whole = work.net_of({"kind": "mlp", "hidden": [3]}, (400,), 4)
    assert net.weights == whole.weights == 401 * 3 + 4 * 4
    assert (net.dense, net.forward) == (4 * 15 + 6 * 12, 2 * (15 + 12))
    assert (net.values, net.terms) == (5 + 3 + 4, 15)
    assert net.widths == whole.widths
    features = work.training(
        net, num_models=2, steps=3, epochs=5, batch_size=16, stacked=False
    )
    assert features["loop.gvalue"] == pytest.approx(30 * 16 * (12 + 15) / 1e9)
    assert features["loop.gweight"] == pytest.approx(30 * whole.weights / 1e9)


# ---- secrets


GIVEN: dict[str, Any] = {
    "dataset": "clean", "split": "given", "shadows": 0, "replicates": 2,
    "architecture": {"kind": "mlp", "hidden": [16]},
    "training": {"optimizer": {"kind": "adam"}, "epochs": 2},
}  # fmt: skip
SECRETS: dict[str, Any] = {
    **STUDY,
    "question": "memorization",
    "datasets": {
        "digits": {"source": "digits"},
        "clean": {"from": "digits", "preprocess": {"kind": "split", "members": 1000}},
        "abused": {
            "from": "clean", "preprocess": {"kind": "capacity-abuse", "inputs": 960},
        },
    },
    "models": {
        "benign": GIVEN,
        "lsb": {"from": "benign", "tampering": {"kind": "lsb", "bits": 4}},
        "tuned": {"from": "benign", "training": GIVEN["training"]},
        "sign": {**GIVEN, "tampering": {"kind": "sign", "strength": 1.0}},
        "abused": {**GIVEN, "dataset": "abused"},
        "many": {**GIVEN, "shadows": 3, "replicates": 1},
    },
    "attacks": {
        "lsb": {"kind": "memorization.decode", "models": "lsb", "benign": "benign"},
        "abused": {
            "kind": "memorization.decode", "models": "abused", "benign": "benign"
        },
        "low": {"kind": "memorization.low-bits", "models": "tuned"},
        "scrub": {
            "kind": "memorization.scrub", "models": "sign", "benign": "benign",
            "scrubs": [
                {"kind": "prune", "share": 0.5},
                {"kind": "fine-tune", "epochs": 3, "learning_rate": 0.1},
            ],
        },
        "detect": {
            "kind": "memorization.detect", "models": "lsb", "innocent": "benign",
            "unseen": "many", "noise": 100,
        },
    },
    "figures": {},
}  # fmt: skip


@pytest.fixture
def secrets(place: Path) -> Path:
    (place / "toy.yaml").write_text(yaml.safe_dump(SECRETS))
    return place


def works(place: Path, **study: Any) -> dict[str, work.Work]:
    """The work of each artefact, by what it is called."""
    (place / "toy.yaml").write_text(yaml.safe_dump({**SECRETS, **study}))
    resolved = load_study(place / "toy.yaml", place / "results")
    by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
    known = Workload()
    known.look_at(a for a in resolved.artefacts if a.kind in ("dataset", "preprocess"))
    return {
        f"{a.kind} {a.labels['name']} {a.labels.get('replicate', '')}".strip(): (
            known.of(a, by_folder)
        )
        for a in resolved.artefacts
    }


def test_steps_bases_and_secrets_are_planned(
    secrets: Path, plan: Callable[..., dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found = plan()
    assert steps(found) == {
        "dataset": (1, 0), "preprocess": (2, 0), "train": (11, 0),
        "attack": (5, 0), "claims": (1, 0), "track": (1, 0),
    }  # fmt: skip
    assert found["models"]["to_train"] == 2 * 5 + 4
    assert found["attacks"] == {"with_shadows": 0, "all": 5}
    assert found["shadows"] == []
    assert (
        "No attack of this study is fitted on trained shadows."
        in capsys.readouterr().out
    )
    # 3 data sets, 11 blocks, 5 attacks, which ask models themselves
    (node,) = found["nodes"]
    assert node["seconds"] == 3 * 1 + 11 * 2 + 5 * 3
    # blocks that start from others wait for them, on a cluster too
    assert plan("--profile", "slurm")["submissions"] > 0


def test_training_is_by_the_given_part(place: Path) -> None:
    found = works(place)
    # 1000 records in batches of 32: 32 steps of 2 epochs
    assert found["train benign 0"].seconds["stacked.step"] == 64
    # 960 synthetic ones more: 62 steps
    assert found["train abused 1"].seconds["stacked.step"] == 124
    # taken as they are: loaded and written
    taken = found["train lsb 0"]
    assert "stacked.step" not in taken.seconds
    assert taken.seconds["train.job"] == 1
    assert taken.disk < found["train benign 0"].disk
    assert found["train tuned 0"].seconds == found["train benign 0"].seconds
    # a penalty is as many passes over the weights again
    plain, sign = (found[f"train {n} 0"].seconds for n in ("benign", "sign"))
    assert sign["stacked.gweight"] == 2 * plain["stacked.gweight"]
    assert {k: v for k, v in sign.items() if "gweight" not in k} == {
        k: v for k, v in plain.items() if "gweight" not in k
    }


def test_held_out_records_of_a_given_split_are_asked_about() -> None:
    spec = {"split": "given", "members": None, "non_members": None}
    shape = Shape(1797, (1, 8, 8), 10, 0.1, 0.1, members=1000)
    # 797 are left, and 797 members with them; fewer members than that are all tested
    assert work.tested(spec, shape) == 2 * 797
    assert work.tested({**spec, "members": 300}, shape) == 797 + 300
    assert work.tested({**spec, "non_members": 50}, shape) == 100
    random = {"members": 40, "non_members": None}
    assert work.tested(random, replace(shape, members=None)) == 80


def test_attacks_on_models_by_hand(place: Path) -> None:
    found = works(place)
    net = work.net_of({"kind": "mlp", "hidden": [16]}, (1, 8, 8), 10)

    def asked(name: str) -> float:
        return found[f"attack {name}"].seconds["query.gflop"] * 1e9 / net.forward

    def looked(name: str) -> float:
        seconds = found[f"attack {name}"].seconds
        return seconds["stacked.gweight"] * 1e9 / (100 * net.weights)

    # either model is asked about 797 records held out; labels are read by 960 queries
    assert asked("lsb") == pytest.approx(2 * 2 * 797)
    assert asked("abused") == pytest.approx(2 * 2 * (797 + 960))
    assert looked("lsb") == looked("abused") == pytest.approx(2 * 3)
    assert found["attack lsb"].seconds["attack.replicate"] == 2
    # 27 numbers of bits and none
    assert asked("low") == pytest.approx(2 * 28 * 797)
    # two scrubs and none, and the benign model
    assert asked("scrub") == pytest.approx(2 * (3 + 1) * 797)
    assert found["attack scrub"].seconds["stacked.step"] == 2 * 3 * 16  # 1000 / 64
    # 2 innocents, 4 unseen, the same with a secret, 2 targets
    assert looked("detect") == pytest.approx(2 + 2 * 4 + 2)
    assert asked("detect") == pytest.approx(12 * 100)
    # 16 * 65 + 10 * 17 parameters, four bits of each, true and decoded
    assert found["attack lsb"].disk >= 2 * 2 * 1210 * 4 / 8


def test_a_given_split_that_is_not_there_is_one_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = {"net": {**STUDY["models"]["net"], "split": "given"}}
    (place / "toy.yaml").write_text(yaml.safe_dump({**STUDY, "models": models}))
    assert main(words_of(place)) == 2
    assert capsys.readouterr().err == (
        f"error: {place / 'toy.yaml'}: split: given, but the data set has none; "
        "allowed: random, or a data set with a split (published, or by preprocess: "
        "{kind: split})\n"
    )


def test_a_membership_study_may_have_a_given_split(
    place: Path, plan: Callable[..., dict[str, Any]]
) -> None:
    net = {**STUDY["models"]["net"], "dataset": "clean", "split": "given"}
    study = {**STUDY, "datasets": SECRETS["datasets"], "models": {"net": net}}
    (place / "toy.yaml").write_text(yaml.safe_dump(study))
    found = plan()
    assert steps(found)["preprocess"] == (2, 0)
    assert [row["shadows"] for row in found["shadows"]] == [5, 2, 1]


def test_what_a_step_makes_is_not_made_again(
    secrets: Path, plan: Callable[..., dict[str, Any]]
) -> None:
    resolved = load_study(secrets / "toy.yaml", secrets / "results")
    (digits,), (clean, _) = resolved.of("dataset"), resolved.of("preprocess")
    prepare = ["datasets", "prepare", "--raw", str(secrets)]
    for artefact, words in (
        (digits, prepare),
        (clean, ["derive", "--data", digits.folder]),
    ):
        common = ["--spec", artefact.spec_json, "--out", artefact.folder]
        assert not main([*words, *common])
    assert steps(plan())["preprocess"] == (1, 1)
    sizes = works(secrets)
    found = sum(path.stat().st_size for path in Path(clean.folder).iterdir())
    assert sizes["preprocess clean"].disk == pytest.approx(found, rel=0.25)


def test_every_study_of_the_house_is_planned(repository: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    paths = sorted((repository / "config" / "studies").glob("*.yaml"))
    assert any(path.stem.startswith("memorization-") for path in paths)
    for path in paths:
        words = ["plan", str(path), "--results", "none", "--json", str(out)]
        assert main(words) == 0, path
        found = read_json(out)
        resolved = load_study(path, "none")
        for kind, (to_make, there) in steps(found).items():
            if kind not in ("fetch", "track"):
                assert (to_make, there) == (len(resolved.of(kind)), 0)
        assert found["nodes"][0]["seconds"] > 0


def test_sparse_classes_are_pooled() -> None:
    settings = {
        "kind": "membership.shadow", "min_rows": 10,
        "attack_model": {
            "kind": "mlp", "hidden": [4], "training": {"batch_size": 10, "epochs": 1},
        },
    }  # fmt: skip
    even = work.Asked(100, 400, 500, 4, 0.25, 0.25)
    # 100 rows a class: 10 steps of 4 nets; the control has half of them
    found = work.attack(settings, [even]).seconds
    assert found["attack.step"] == 10 * 4 + 5 * 4
    # the smallest has 4 of each kind: a fifth net takes all 400 rows, then 200
    sparse = work.Asked(100, 400, 500, 4, 0.5, 0.02)
    found = work.attack(settings, [sparse]).seconds
    assert found["attack.step"] == 40 * 5 + 20 * 5


# ---- schedules


def test_tasks_start_as_soon_as_they_can() -> None:
    one = {"cores": 1.0}
    tasks = [
        Task("a", 3, (), one), Task("b", 2, (), one), Task("c", 2, ("b",), one),
        Task("d", 1, ("a", "c"), one),
    ]  # fmt: skip
    assert makespan(tasks, {"cores": 1}) == 8
    assert makespan(tasks, {"cores": 2}) == 5
    assert makespan(tasks[2:], {"cores": 1}) == 3  # b and a are done
    assert makespan([Task("wide", 1, (), {"cores": 9.0})], {"cores": 2}) == 1


def test_limits_hold_tasks_back() -> None:
    on_gpu = [Task(str(i), 2, (), {"cores": 1.0, "gpu": 1.0}) for i in range(3)]
    other = [Task("other", 5, (), {"cores": 1.0})]
    assert makespan([*on_gpu, *other], {"cores": 8, "gpu": 1}) == 6
    assert makespan([*on_gpu, *other], {"cores": 8}) == 5


def test_tasks_that_wait_for_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="wait for each other"):
        makespan([Task("a", 1, ("b",)), Task("b", 1, ("a",))], {"cores": 1})


def test_submissions_are_connected_parts_in_dozens() -> None:
    tasks = [Task("data", 1)]
    for number in range(5):
        tasks.append(Task(f"t{number}", 2, ("data",), {"cores": 1.0}, "models"))
        tasks.append(Task(f"q{number}", 1, (f"t{number}",), {"cores": 1.0}, "models"))
    tasks.append(Task("track", 1, ("q0",), local=True))
    bundles = submissions(tasks, {"models": 2})
    names = [[task.name for task in own] for own in bundles]
    assert names == [
        ["data"], ["t0", "q0", "t1", "q1"], ["t2", "q2", "t3", "q3"], ["t4", "q4"]
    ]  # fmt: skip
    assert len(submissions(tasks, {})) == 6
    sent = merged(bundles, {"cores": 1}, start=10)
    assert [task.seconds for task in sent] == [11, 16, 16, 13]
    assert [task.needs for task in sent] == [(), ("0",), ("0",), ("0",)]


# ---- profiles


def test_a_profile_overrules_the_rules(place: Path) -> None:
    own = {
        "cores": 3,
        "set-threads": {"train_block": 2},
        "set-resources": {
            "prepare_dataset": {"mem_mb": "lambda w, attempt: 500 + 1000 * attempt"},
            "train_block": {"gres": "gpu:a100:1", "mem_mb": "max(1, input.size)"},
        },
        "groups": ["draw_figure=pictures"],
    }  # fmt: skip
    path = place / "profiles" / "own" / "profile.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump(own))
    profile = read_profile(place, "own")
    assert (profile.executor, profile.slots, profile.submits) == ("local", 3, False)
    assert profile.rules["dataset"].number("mem_mb") == 1500
    assert profile.rules["dataset"].number("runtime") == 30
    train = profile.rules["train"]
    assert (train.threads, train.gpu, train.by_block) == (2, True, True)
    assert train.number("mem_mb") is None
    assert profile.rules["figure"].group == "pictures"
    assert profile.rules["claims"].group == "figures"
    assert profile.rules["track"].local
    assert not profile.rules["attack"].gpu
    assert read_profile(place, str(path.parent)).slots == 3


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("cores: all", "cores: 'all' says not how much runs at once"),
        ("executor: slurm\ncores: 1", "jobs: None says not how much runs at once"),
        ("{", "not YAML"),
        ("- a", "allowed: a mapping of options"),
        ("cores: 1\ngroups: [a]", "groups: ['a']; allowed: a mapping, or name=value"),
        ("cores: 1\nset-resources: {train_block: 3}", "set-resources.train_block"),
    ],
)
def test_a_broken_profile_is_one_line(place: Path, text: str, part: str) -> None:
    (place / "profiles" / "default" / "profile.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_profile(place, "default")
    assert part in str(error.value)


def test_the_profiles_of_the_repository_are_read(repository: Path) -> None:
    for folder in (repository / "profiles").iterdir():
        profile = read_profile(repository, folder.name)
        assert profile.slots >= 1
        assert profile.rules["track"].local
        assert profile.rules["train"].threads == 1


# ---- precision


def test_sampling_error_of_hanley_and_mcneil() -> None:
    # A = .5: Q1 = Q2 = 1/3, variance (1/4 + 2 (n - 1) / 12) / n^2
    assert sampling_error(2, 2) == pytest.approx(math.sqrt((0.25 + 1 / 6) / 4))
    # A = .9: (.09 + 49 (.818182 - .81) + 49 (.852632 - .81)) / 2500
    assert sampling_error(50, 50, 0.9) == pytest.approx(0.032124, abs=1e-6)
    assert sampling_error(50, 50) > sampling_error(50, 50, 0.7)


def test_the_curve_is_interpolated(tmp_path: Path) -> None:
    curve = read_curve(benchmarks(tmp_path))
    assert curve.change(16, 16).mean == 0
    assert curve.change(100, 16).mean == 0  # nothing was measured beyond
    assert curve.change(100, 16).std == curve.change(4, 16).std > 0
    assert curve.change(4, 16).mean == pytest.approx(-0.02)
    change = curve.change(2, 16)
    assert (change.low, change.high) == (pytest.approx(-0.05), pytest.approx(-0.03))
    assert change.std == pytest.approx(math.sqrt((0.03**2 + 0.02**2) / 2))


def test_shadows_are_cut_off(place: Path) -> None:
    resolved = load_study(place / "toy.yaml", place / "results")
    cut = with_shadows(resolved, 2)
    assert [a.labels["models"] for a in cut.of("train")] == ["0:3"] * 3
    attack = cut.of("attack")[0]
    assert [len(folders) for folders in attack.inputs.values()] == [1, 1, 1]
    cut = with_shadows(resolved, 4)
    assert [a.labels["models"] for a in cut.of("train")] == ["0:4", "4:5"] * 3


# ---- the benchmarks on record


@pytest.mark.parametrize(
    ("study", "core_minutes"),
    [
        ("digits", 1.7), ("location", 14), ("nothing", 2.4), ("retail", 15),
        ("cifar10", 37),
    ],
)  # fmt: skip
def test_plans_are_within_a_factor_of_two_of_what_studies_took(
    repository: Path, tmp_path: Path, study: str, core_minutes: float
) -> None:
    # minutes of docs/papers/shokri2017.md
    out = tmp_path / "plan.json"
    path = repository / "config" / "studies" / f"membership-{study}.yaml"
    assert not main(["plan", str(path), "--results", "none", "--json", str(out)])
    found = read_json(out)
    minutes = found["nodes"][0]["seconds"] / 60
    assert core_minutes / 2 < minutes < core_minutes * 2
    if study == "digits":
        assert 62 / 2 < found["wall"]["seconds"] < 62 * 2


@pytest.fixture(scope="module")
def scripts(repository: Path) -> dict[str, ModuleType]:
    return {name: load_benchmark(repository, name) for name in ("jobs", "shadows")}


def test_least_squares_find_what_each_feature_takes(
    scripts: dict[str, ModuleType],
) -> None:
    jobs = scripts["jobs"]
    measured = [
        jobs.Measured(str(rows), 2 + 0.5 * rows, 0.0, {"job": 1.0, "row": rows}, {})
        for rows in (1.0, 10.0, 100.0)
    ]
    each, ratios = jobs.fit(measured, lambda one: one.work, lambda one: one.seconds)
    assert each == {"job": pytest.approx(2.0), "row": pytest.approx(0.5)}
    assert list(ratios.values()) == [pytest.approx(1.0)] * 3


def test_a_busy_machine_is_refused(
    scripts: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loadavg").write_text("9.00 9.00 9.00 1/1 1\n")
    (tmp_path / "stat").write_text("cpu 1 0 0 1 0 0 0 0\n")
    code = scripts["jobs"].main([], proc=tmp_path, wait=lambda seconds: None)
    assert code == 2
    assert "--force measures all the same" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json"))


def test_training_times_on_record_are_taken_along(
    scripts: dict[str, ModuleType], repository: Path
) -> None:
    found = list(scripts["jobs"].on_record(repository / "benchmarks" / "results"))
    assert {one.what.split()[2] for one in found} == {"stacked", "loop"}
    assert all(one.seconds > 0 for one in found)


def test_the_shadow_benchmark_runs(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    assert scripts["shadows"].main(["--quick", "--out", str(tmp_path)]) == 0
    assert read_curve(tmp_path).shadows == (1, 2)
    assert scripts["shadows"].main(["--replicates", "1"]) == 2


def test_attackers_and_who_measures_them_cost_time() -> None:
    shape = Shape(1000, (5,), 3, 0.4, 0.3, 2)
    honest: dict[str, Any] = {
        "architecture": {"kind": "mlp", "hidden": [8]},
        "protocol": {
            "kind": "averaging", "rounds": 40, "batch_size": 8, "selected": 5,
            "local_epochs": 2,
        },
        "participants": 10,
    }  # fmt: skip
    adversary = {
        "kind": "backdoor", "attackers": 2, "rounds": [], "share": None,
        "method": {"kind": "replacement"}, "tested": 100, "draws": 0,
        "training": {"epochs": 10, "batch_size": 8},
    }  # fmt: skip

    def steps(**changes: Any) -> float:
        spec = {**honest, "adversary": {**adversary, **changes}}
        return work.collaborate(spec, shape).seconds["loop.step"]

    asleep, once, always = steps(), steps(rounds=[3]), steps(rounds=None)
    # once: both, 10 epochs of 200 records; by lot one of them in a round
    assert once - asleep == 250
    assert always - asleep == 40 * 125
    assert steps(rounds=None, method={"kind": "poisoning"}) - asleep == 40 * 125
    # each has a fifth of all
    assert steps(rounds=[3], share=0.2) - asleep == 500
    found = work.inference(
        {"kind": "backdoors.evaluate"},
        {**honest, "adversary": adversary}, shape, 3,
    )  # fmt: skip
    assert found.seconds == {"attack.job": 1}
