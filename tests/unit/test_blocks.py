"""The block store: what is written is read, and what is damaged is refused."""

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from whatelse import records
from whatelse.errors import UserError
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build, initial
from whatelse.training.blocks import (
    MODEL,
    MODELS,
    PLAN,
    load_block,
    load_tensors,
    save_block,
    save_tensors,
)
from whatelse.training.plan import draw_plan

SETTINGS = Mlp(kind="mlp", hidden=(5,))
ARCHITECTURE = build(SETTINGS, (4,), 3)
DESCRIPTION = {
    "architecture": SETTINGS.model_dump(mode="json"),
    "input_shape": [4],
    "classes": 3,
}
LABELS = np.arange(61) % 3  # odd: the bits of a plan do not fill their last byte


def parameters(size: int = 3) -> dict[str, torch.Tensor]:
    models = [initial(ARCHITECTURE, np.random.default_rng(i)) for i in range(size)]
    return {name: torch.stack([m[name] for m in models]) for name in models[0]}


@pytest.fixture
def block(tmp_path: Path) -> Path:
    plan = draw_plan(
        LABELS, range(4, 7), members=9, non_members=None, seed=1, replicate=0
    )
    written = save_block(
        tmp_path / "b", description=DESCRIPTION, plan=plan, parameters=parameters()
    )
    assert sorted(written) == sorted(p.name for p in (tmp_path / "b").iterdir())
    return tmp_path / "b"


def test_round_trip(block: Path) -> None:
    loaded = load_block(block)
    for name, value in parameters().items():
        assert torch.equal(loaded.parameters[name], value)
    plan = draw_plan(
        LABELS, range(4, 7), members=9, non_members=None, seed=1, replicate=0
    )
    np.testing.assert_array_equal(loaded.plan.models, plan.models)
    np.testing.assert_array_equal(loaded.plan.train, plan.train)
    np.testing.assert_array_equal(loaded.plan.test, plan.test)
    assert loaded.plan.train.dtype == np.bool_
    assert loaded.architecture.shapes == ARCHITECTURE.shapes


def test_the_same_block_is_the_same_bytes(block: Path, tmp_path: Path) -> None:
    loaded = load_block(block)
    save_block(
        tmp_path / "again",
        description=DESCRIPTION,
        plan=loaded.plan,
        parameters=loaded.parameters,
    )
    for name in (MODELS, PLAN, MODEL):
        assert (tmp_path / "again" / name).read_bytes() == (block / name).read_bytes()


@pytest.mark.parametrize("name", [MODELS, PLAN, MODEL])
@pytest.mark.parametrize("keep", [0, 20, 0.5, -1])
def test_a_truncated_file_is_refused(block: Path, name: str, keep: float) -> None:
    whole = (block / name).read_bytes()
    size = int(keep * len(whole)) if 0 < keep < 1 else int(keep)
    if name == MODEL and size == -1:
        size = -2  # the last byte is a newline
    (block / name).write_bytes(whole[:size])
    with pytest.raises(UserError):
        load_block(block)


@pytest.mark.parametrize("name", [MODELS, PLAN, MODEL])
def test_a_missing_file_is_named(block: Path, name: str) -> None:
    (block / name).unlink()
    with pytest.raises(UserError, match=str(block)):
        load_block(block)


def test_a_pickle_is_never_opened(block: Path) -> None:
    torch.save(parameters(), block / MODELS)
    with pytest.raises(UserError, match="not a safetensors file"):
        load_block(block)
    np.savez(block / PLAN, models=np.array([{}], dtype=object), records=1)
    save_tensors(block / MODELS, parameters())
    with pytest.raises(UserError, match="not a block of models"):
        load_block(block)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({**parameters(), "0.weight": torch.zeros(3, 4, 5)}, "0.weight is .3, 4, 5."),
        (parameters(2), r"0.weight is \(2, 5, 4\), not \(3, 5, 4\)"),
        ({"0.weight": torch.zeros(3, 5, 4)}, "0.bias is nothing"),
    ],
)
def test_tensors_of_other_shapes_are_refused(
    block: Path, changed: dict[str, torch.Tensor], message: str
) -> None:
    save_file(changed, block / MODELS)
    with pytest.raises(UserError, match=message):
        load_block(block)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"architecture": {"kind": "gnn"}, "input_shape": [4], "classes": 3},
        {**DESCRIPTION, "input_shape": None},
        [1, 2],
    ],
)
def test_a_description_that_makes_no_model_is_refused(block: Path, changed: Any) -> None:  # fmt: skip  # noqa: E501
    records.write_json(block / MODEL, changed)
    with pytest.raises(UserError, match="not a block of models"):
        load_block(block)


def test_a_plan_of_other_models_is_refused(block: Path) -> None:
    with np.load(block / PLAN) as stored:
        arrays = dict(stored)
    np.savez(block / PLAN, **{**arrays, "models": np.arange(5)})
    with pytest.raises(UserError):
        load_block(block)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    """A limit on file sizes stands for the disk: the write fails halfway."""
    large = {"w": torch.zeros(100_000)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(UserError, match="cannot write here"):
            save_tensors(tmp_path / "full" / "w.safetensors", large)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "full").iterdir()) == []
    save_tensors(tmp_path / "full" / "w.safetensors", large)
    assert torch.equal(
        load_tensors(tmp_path / "full" / "w.safetensors")["w"], large["w"]
    )
