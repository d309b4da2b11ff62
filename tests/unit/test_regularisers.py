"""Dropout and early stopping: the same in stack and loop, in any company."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from core_samples import dataset, random_data, train_block, train_spec, training
from whatelse.errors import UserError
from whatelse.models.settings import Cnn, Gru, Mlp
from whatelse.models.stacked import build
from whatelse.training.blocks import load_block
from whatelse.training.dropout import draw_kept, droppable
from whatelse.training.ensemble import train
from whatelse.training.plan import draw_plan, hold_back
from whatelse.training.settings import EarlyStopping, TrainSpec
from whatelse.training.stopping import Stopper

STOP = {"share": 0.2, "patience": 2}
BOTH = [
    {"dropout": 0.5},
    {"early_stopping": STOP, "epochs": 30},
    {"dropout": 0.3, "early_stopping": STOP, "epochs": 30},
]


def fit(models: list[int], strategy: Any, *, shape: Any = (9,), **changes: Any) -> Any:
    """Ragged models, each with records that it is stopped by."""
    data = random_data(60, shape, 3)
    settings = Mlp(kind="mlp", hidden=(11, 6))
    if len(shape) == 3:
        settings = Cnn(kind="cnn", channels=(4,), hidden=7)
    dealt = [np.random.default_rng(model).permutation(60) for model in models]
    return train(
        build(settings, shape, 3),
        training(**changes),
        data,
        [own[: 29 - model % 4] for own, model in zip(dealt, models, strict=True)],
        held_back=[
            own[29 : 40 + model % 3] for own, model in zip(dealt, models, strict=True)
        ],
        streams=[("m", model) for model in models],
        seed=1,
        strategy=strategy,
    )


@pytest.mark.parametrize("changes", BOTH, ids=["dropout", "stopping", "both"])
@pytest.mark.parametrize("shape", [(9,), (1, 6, 6)], ids=["mlp", "cnn"])
def test_the_stack_equals_the_loop(changes: dict[str, Any], shape: Any) -> None:
    stacked, looped = (
        fit([0, 1, 2], strategy, shape=shape, **changes)
        for strategy in ("stacked", "loop")
    )
    plain = fit([0, 1, 2], "stacked", shape=shape, epochs=changes.get("epochs", 3))
    for name in stacked:
        torch.testing.assert_close(stacked[name], looped[name], rtol=1e-3, atol=2e-5)
        assert not torch.equal(stacked[name], plain[name])


@pytest.mark.parametrize("changes", BOTH, ids=["dropout", "stopping", "both"])
def test_a_model_is_the_same_bytes_in_any_company(changes: dict[str, Any]) -> None:
    alone = fit([3], "stacked", **changes)
    company = fit([5, 3, 8, 1], "stacked", **changes)
    for name in alone:
        assert torch.equal(alone[name][0], company[name][1]), name


def test_dropout_keeps_the_mean_and_leaves_out_its_share() -> None:
    settings = training(dropout=0.25, batch_size=100)
    architecture = build(Mlp(kind="mlp", hidden=(30, 20)), (9,), 3)
    kept = draw_kept(settings, architecture, 20, ("m", 1), 1, 0)
    assert kept.shape == (2000, 50)
    assert set(np.unique(kept)) == {np.float32(0), np.float32(4 / 3)}
    assert (kept == 0).mean() == pytest.approx(0.25, abs=0.01)
    other = draw_kept(settings, architecture, 20, ("m", 1), 1, 1)
    assert (kept == other).mean() == pytest.approx(0.25**2 + 0.75**2, abs=0.01)


def test_a_factor_of_a_hidden_unit_by_hand() -> None:
    architecture = build(Mlp(kind="mlp", hidden=(2,)), (1,), 2)
    parameters = {
        "0.weight": torch.tensor([[[1.0], [2.0]]]),
        "0.bias": torch.zeros(1, 2),
        "1.weight": torch.tensor([[[1.0, 10.0], [0.0, 1.0]]]),
        "1.bias": torch.zeros(1, 2),
    }
    inputs, keep = torch.tensor([[[0.5]]]), torch.tensor([[[0.0, 2.0]]])
    found = droppable(architecture).forward(parameters, inputs, keep_SBH=keep)
    second = 2 * np.tanh(1.0)
    np.testing.assert_allclose(found[0, 0], [10 * second, second], rtol=1e-6)


def test_dropout_needs_dense_hidden_layers() -> None:
    data = random_data(20, (9,), 3)
    with pytest.raises(UserError, match="dropout: the net has no hidden layer"):
        train(
            build(Mlp(kind="mlp", hidden=()), (9,), 3), training(dropout=0.5), data,
            [np.arange(9)], streams=[("m",)], seed=1, strategy="stacked",
        )  # fmt: skip
    gru = build(Gru(kind="gru", embedding=4, hidden=5), (6,), 3, words=10)
    with pytest.raises(UserError, match="allowed: 0, or architecture mlp"):
        draw_kept(training(dropout=0.5), gru, 1, ("m",), 1, 0)


# ---- early stopping


def losses(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def test_the_best_epoch_is_kept_and_waiting_ends_by_hand() -> None:
    stopper = Stopper(EarlyStopping(patience=2), [np.arange(1)] * 2)
    epochs = [(3.0, 1.0), (2.0, 1.5), (2.5, 1.2), (2.4, 0.1), (0.1, 0.1)]
    going = []
    for number, epoch in enumerate(epochs):
        now = {"w": torch.full((2, 3), float(number))}
        going.append(stopper.after(losses(*epoch), lambda now=now: now))
    # the first waits after epochs 2 and 3, the second after 1 and 2: its .1 is too late
    assert going == [True, True, True, False, False]
    assert stopper.best["w"][:, 0].tolist() == [1.0, 0.0]


def test_a_model_without_a_number_is_kept_to_be_refused() -> None:
    stopper = Stopper(EarlyStopping(patience=1), [np.arange(1)])
    stopper.after(losses(np.nan), lambda: {"w": torch.ones(1, 1)})
    assert stopper.best["w"].item() == 1.0


def test_it_ends_before_it_learns_noise_by_heart() -> None:
    """Labels that are noise: what is learned of them can only harm."""
    rng = np.random.default_rng(0)
    data = random_data(200, (20,), 3)
    data = type(data)(data.inputs, torch.from_numpy(rng.integers(0, 3, 200)))
    seen: dict[bool, list[float]] = {True: [], False: []}
    half = {"share": 0.5, "patience": 3}
    for stops, curve in seen.items():
        train(
            build(Mlp(kind="mlp", hidden=(64,)), (20,), 3),
            training(epochs=60, early_stopping=half if stops else None),
            data, [np.arange(100)], held_back=[np.arange(100, 200)],
            streams=[("m", 0)], seed=1, strategy="stacked",
            on_epoch=lambda _, loss, curve=curve: curve.append(float(loss[0])),
        )  # fmt: skip
    assert len(seen[True]) < 20
    assert seen[False][-1] < 0.5 * seen[True][-1]
    assert seen[False][: len(seen[True])] == seen[True]


def test_nothing_held_back_is_said() -> None:
    with pytest.raises(UserError, match="early_stopping: no records are held back"):
        train(
            build(Mlp(kind="mlp"), (9,), 3), training(early_stopping=STOP),
            random_data(20, (9,), 3), [np.arange(9)], streams=[("m",)], seed=1,
            strategy="stacked",
        )  # fmt: skip


def test_held_back_records_are_neither_members_nor_non_members() -> None:
    labels = np.repeat(np.arange(4), [400, 200, 100, 100])
    drawn = draw_plan(
        labels, range(3), members=80, non_members=None, seed=1, replicate=0
    )
    plan, held = hold_back(drawn, labels, 0.25, seed=1, replicate=0)
    assert held.sum(1).tolist() == [20, 20, 20]
    assert plan.train.sum(1).tolist() == [60, 60, 60]
    assert (held <= drawn.train).all()
    assert not (held & (plan.train | plan.test)).any()
    assert (plan.test <= drawn.test).all()
    for row in range(3):
        inside = np.bincount(labels[plan.test[row] & plan.train[row]], minlength=4)
        outside = np.bincount(labels[plan.test[row] & ~plan.train[row]], minlength=4)
        np.testing.assert_array_equal(inside, outside)
        by_class = np.bincount(labels[held[row]], minlength=4)
        np.testing.assert_allclose(by_class, [10, 5, 2.5, 2.5], atol=0.6)
    third = draw_plan(
        labels, range(2, 3), members=80, non_members=None, seed=1, replicate=0
    )
    one, alone = hold_back(third, labels, 0.25, seed=1, replicate=0)
    np.testing.assert_array_equal(alone[0], held[2])
    np.testing.assert_array_equal(one.test[0], plan.test[2])


def test_a_block_is_stopped_and_says_whom_it_saw(tmp_path: Path) -> None:
    dataset(tmp_path / "data", num_records=400)
    spec = train_spec(
        members=40, training={**train_spec()["training"], "early_stopping": STOP}
    )
    assert train_block(tmp_path, tmp_path / "data", "0:3", spec=spec) == 0
    plan = load_block(tmp_path / "b").plan
    assert plan.train.sum(1).tolist() == [32, 32, 32]
    assert plan.test.sum(1).tolist() == [64, 64, 64]


@pytest.mark.parametrize("split", ["halves", "coins"])
def test_who_is_in_exactly_is_not_held_back(split: str) -> None:
    with pytest.raises(ValidationError, match="early_stopping: holds records back"):
        TrainSpec.model_validate(
            train_spec(
                split=split,
                training={**train_spec()["training"], "early_stopping": STOP},
            )
        )
