"""``whatelse train``: blocks, resuming after a kill, and what makes progress stale."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from core_samples import dataset, train_block, train_spec
from whatelse.records import read_json
from whatelse.training import command, progress
from whatelse.training.blocks import load_block


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dataset(tmp_path_factory.mktemp("data") / "toy")


class Killed(Exception):
    """Stands for SIGKILL in the middle of a block."""


def count_calls(monkeypatch: pytest.MonkeyPatch, *, fail_at: int = -1) -> list[Any]:
    """Record the models of each call of the trainer; fail at one of the calls."""
    calls: list[Any] = []
    real = command.train

    def train(*args: Any, streams: Any, **more: Any) -> Any:
        if len(calls) == fail_at:
            raise Killed
        calls.append([name[-1] for name in streams])
        return real(*args, streams=streams, **more)

    monkeypatch.setattr(command, "train", train)
    return calls


def files(folder: Path) -> dict[str, bytes]:
    """What is the same between two identical runs."""
    outside = {"telemetry.json", "history.jsonl"}
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in outside}


def test_a_block_is_whole_and_says_what_it_is(tmp_path: Path, data: Path) -> None:
    assert train_block(tmp_path, data, "0:3") == 0
    block = load_block(tmp_path / "b")
    assert block.plan.models.tolist() == [0, 1, 2]
    assert block.plan.train.sum(1).tolist() == [20] * 3
    record = read_json(tmp_path / "b" / "record.json")
    assert record["spec"]["models"] == [0, 3]
    assert record["spec"]["members"] == 20
    assert set(record["outputs"]) == {"models.safetensors", "plan.npz", "model.json"}
    described = read_json(tmp_path / "b" / "model.json")
    # 6 features, 7 units, 3 classes
    assert described["parameters"] == 6 * 7 + 7 + 7 * 3 + 3
    telemetry = read_json(tmp_path / "b" / "telemetry.json")
    assert (telemetry["trained"], telemetry["resumed"]) == (3, 0)
    assert telemetry["strategy"] == "stacked"
    history = [
        json.loads(line)
        for line in (tmp_path / "b" / "history.jsonl").read_text().splitlines()
    ]
    assert {(h["model"], h["epoch"]) for h in history} == {
        (model, epoch) for model in range(3) for epoch in range(1, 5)
    }


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_model_17_is_the_same_in_any_block(
    tmp_path: Path, data: Path, strategy: str
) -> None:
    packs = {"alone": "17:18", "five": "15:20", "fifty": "0:50"}
    for name, models in packs.items():
        train_block(tmp_path, data, models, "--strategy", strategy, name=name)
    blocks = {name: load_block(tmp_path / name) for name in packs}
    for name, value in blocks["alone"].parameters.items():
        assert torch.equal(value[0], blocks["five"].parameters[name][2])
        assert torch.equal(value[0], blocks["fifty"].parameters[name][17])
    assert (blocks["alone"].plan.train[0] == blocks["fifty"].plan.train[17]).all()


def test_two_runs_are_the_same_bytes_and_another_seed_is_not(
    tmp_path: Path, data: Path
) -> None:
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        train_block(tmp_path, data, "0:2", spec=train_spec(seed=seed), name=name)
    one, two, other = (files(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one["models.safetensors"] != other["models.safetensors"]
    assert one["plan.npz"] != other["plan.npz"]


def test_a_killed_block_resumes_from_its_finished_models(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = ("--strategy", "loop")
    train_block(tmp_path, data, "0:5", *loop, name="undisturbed")
    with monkeypatch.context() as patch:
        count_calls(patch, fail_at=2)
        with pytest.raises(Killed):
            train_block(tmp_path, data, "0:5", *loop)
    assert not (tmp_path / "b").exists()
    with monkeypatch.context() as patch:
        calls = count_calls(patch)
        assert train_block(tmp_path, data, "0:5", *loop) == 0
    assert calls == [[2], [3], [4]]
    assert files(tmp_path / "b") == files(tmp_path / "undisturbed")
    telemetry = read_json(tmp_path / "b" / "telemetry.json")
    assert (telemetry["trained"], telemetry["resumed"]) == (3, 2)


def test_a_stack_that_resumes_is_the_same_bytes(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while models were being kept: some are finished, some are not."""
    train_block(tmp_path, data, "0:5", name="undisturbed")
    real, kept = progress.save_tensors, []

    def save(path: Path, tensors: Any) -> None:
        if len(kept) == 3:
            raise Killed
        kept.append(path)
        real(path, tensors)

    with monkeypatch.context() as patch:
        patch.setattr(progress, "save_tensors", save)
        with pytest.raises(Killed):
            train_block(tmp_path, data, "0:5")
    with monkeypatch.context() as patch:
        calls = count_calls(patch)
        train_block(tmp_path, data, "0:5")
    assert calls == [[3, 4]]
    assert files(tmp_path / "b") == files(tmp_path / "undisturbed")


def test_a_block_that_snakemake_deleted_trains_nothing_again(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its last file, before Snakemake knew: it deletes the outputs."""
    train_block(tmp_path, data, "0:3")
    before = files(tmp_path / "b")
    shutil.rmtree(tmp_path / "b")
    calls = count_calls(monkeypatch)
    train_block(tmp_path, data, "0:3")
    assert calls == []
    assert files(tmp_path / "b") == before


def test_a_block_killed_before_its_record_trains_nothing_again(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_block(tmp_path, data, "0:3", name="undisturbed")

    def die(*args: Any, **more: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(command.records, "write_record", die)
        with pytest.raises(Killed):
            train_block(tmp_path, data, "0:3")
    assert not (tmp_path / "b" / "record.json").exists()
    with monkeypatch.context() as patch:
        calls = count_calls(patch)
        train_block(tmp_path, data, "0:3")
    assert calls == []
    assert files(tmp_path / "b") == files(tmp_path / "undisturbed")


@pytest.mark.parametrize("stale", ["spec", "data", "code", "versions"])
def test_progress_of_something_else_is_thrown_away(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    spec, at_hand = train_spec(), data
    if stale == "spec":
        spec = train_spec(seed=4)
    if stale == "data":
        at_hand = dataset(tmp_path / "other", num_records=121)
    train_block(tmp_path, at_hand, "0:3", "--strategy", "loop", spec=spec, name="fresh")
    with monkeypatch.context() as patch:
        count_calls(patch, fail_at=2)
        with pytest.raises(Killed):
            train_block(tmp_path, data, "0:3", "--strategy", "loop")
    with monkeypatch.context() as patch:
        if stale == "code":
            patch.setattr(command.records, "files_digest", lambda paths: "edited")
        if stale == "versions":
            patch.setattr(command.records, "versions", lambda: {"torch": "0.1"})
        calls = count_calls(patch)
        train_block(tmp_path, at_hand, "0:3", "--strategy", "loop", spec=spec)
    assert calls == [[0], [1], [2]]
    block, fresh = files(tmp_path / "b"), files(tmp_path / "fresh")
    assert block["models.safetensors"] == fresh["models.safetensors"]


def test_blocks_ahead_are_trained_along_and_change_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, packed = tmp_path / "alone", tmp_path / "packed"
    blocks = {"first": ("0:2", 0), "second": ("2:4", 0), "other": ("0:2", 1)}
    ahead = json.dumps(
        [
            {
                "replicate": blocks[name][1],
                "models": blocks[name][0],
                "progress": str(packed / f"{name}-progress"),
            }
            for name in ("second", "other")
        ]
    )
    for name, (models, replicate) in blocks.items():
        spec = train_spec(replicate=replicate)
        train_block(alone, data, models, spec=spec, name=name)
    calls = count_calls(monkeypatch)
    for name, (models, replicate) in blocks.items():
        more = ("--ahead", ahead) if name == "first" else ()
        spec = train_spec(replicate=replicate)
        train_block(packed, data, models, *more, spec=spec, name=name)
        assert files(packed / name) == files(alone / name)
    assert calls == [[0, 1, 2, 3, 0, 1]]
    telemetry = read_json(packed / "first" / "telemetry.json")
    assert (telemetry["trained"], telemetry["ahead"]) == (2, 4)
    # one model after the other has nothing to gain
    train_block(alone, data, "0:1", "--strategy", "loop", "--ahead", ahead, name="loop")
    assert calls[1:] == [[0]]


def test_half_written_models_are_no_progress(tmp_path: Path, data: Path) -> None:
    """A kill leaves temporary files; their names are not those of models."""
    train_block(tmp_path, data, "0:2", name="undisturbed")
    progress = tmp_path / "b-progress"
    progress.mkdir()
    (progress / ".123.tmp.model_1.safetensors").write_bytes(b"half")
    train_block(tmp_path, data, "0:2")
    assert files(tmp_path / "b") == files(tmp_path / "undisturbed")


def test_a_block_in_work_shows_its_curves(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = train_spec()
    spec["training"] = {**spec["training"], "epochs": 200}
    with monkeypatch.context() as patch:
        patch.setattr(
            progress, "save_tensors", lambda *_: (_ for _ in ()).throw(Killed)
        )
        with pytest.raises(Killed):
            train_block(tmp_path, data, "0:2", spec=spec)
    lines = (tmp_path / "b-progress" / "history.jsonl").read_text().splitlines()
    epochs = [json.loads(line)["epoch"] for line in lines if '"model": 1' in line]
    assert epochs == [1, *range(4, 201, 4)]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"members": 31}, "members: 31 training .*allowed: members up to 30"),
        ({"members": "20"}, "--spec: members: Input should be a valid integer"),
        ({"member": 20}, "--spec: member: unknown key"),
        (
            {"architecture": {"kind": "cnn"}},
            "architecture.kind: cnn needs image records",
        ),
    ],
)
def test_bad_specs_leave_nothing_behind(
    tmp_path: Path,
    data: Path,
    spec: dict[str, Any],
    line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train_block(tmp_path, data, "0:2", spec=train_spec(**spec)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(f"error: {line}", error)
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_model_is_named(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = train_spec()
    spec["architecture"] = {"kind": "mlp", "hidden": [7], "activation": "relu"}
    spec["training"] = {
        "optimizer": {"kind": "sgd", "learning_rate": 1000.0, "momentum": 0.99},
        "epochs": 100,
        "l2": 1.0,
    }
    assert train_block(tmp_path, data, "0:2", spec=spec) == 2
    assert "learning_rate: model 0 of replicate 0 diverged" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_no_gpu_is_said(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert train_block(tmp_path, data, "0:2", "--device", "cuda") == 2
    assert "cuda is not available here; allowed: auto, cpu" in capsys.readouterr().err


def test_a_missing_data_set_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train_block(tmp_path, tmp_path / "none", "0:2") == 2
    assert "not a whole data set" in capsys.readouterr().err
