"""The ensemble trainer: the same models in any company, and PyTorch's numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from core_samples import random_data, training
from whatelse.models.settings import Cnn, Mlp
from whatelse.models.stacked import build, initial
from whatelse.seeding import stream
from whatelse.training.ensemble import (
    TrainingData,
    choose_strategy,
    learning_rate,
    padded_batch,
    train,
)
from whatelse.training.settings import TrainingSettings

CPU = torch.device("cpu")
ADAM = {"kind": "adam", "learning_rate": 0.01}
SGD = {"kind": "sgd", "learning_rate": 0.1}


def members_of(models: range | list[int], num_records: int, size: int) -> Any:
    """Ragged: model i has `size` records or a few fewer, whoever is beside it."""
    return [
        stream(9, "members", i).permutation(num_records)[: size - i % 5] for i in models
    ]


def fit(
    settings: TrainingSettings,
    models: range | list[int],
    *,
    data: TrainingData,
    architecture: Any,
    size: int = 30,
    strategy: Any = "stacked",
    seed: int = 1,
    on_epoch: Any = None,
) -> dict[str, torch.Tensor]:
    return train(
        architecture,
        settings,
        data,
        members_of(models, len(data.labels), size),
        streams=[("model", 0, i) for i in models],
        seed=seed,
        strategy=strategy,
        on_epoch=on_epoch,
    )


@pytest.mark.parametrize("hidden", [(), (16,), (7,), (128,), (13, 5)])
@pytest.mark.parametrize("optimizer", [ADAM, {**SGD, "momentum": 0.9}])
@pytest.mark.parametrize(("batch_size", "num_features"), [(8, 12), (7, 9), (33, 64)])
def test_model_17_is_the_same_bytes_alone_and_in_packs_of_5_and_50(
    hidden: tuple[int, ...],
    optimizer: dict[str, Any],
    batch_size: int,
    num_features: int,
) -> None:
    data = random_data(90, (num_features,), 3)
    architecture = build(Mlp(kind="mlp", hidden=hidden), (num_features,), 3)
    settings = training(optimizer=optimizer, batch_size=batch_size, l2=1e-3)
    packs = [[17], [3, 40, 17, 2, 9], range(50)]
    alone, five, fifty = (
        fit(settings, pack, data=data, architecture=architecture) for pack in packs
    )
    for name in architecture.shapes:
        assert torch.equal(alone[name][0], five[name][2]), name
        assert torch.equal(alone[name][0], fifty[name][17]), name
    # the packs hold different models, not copies of one
    assert not torch.equal(fifty["0.weight"][17], fifty["0.weight"][16])


def test_larger_models_beside_it_change_no_byte() -> None:
    """The longest model of a pack sets the number of steps; the others wait."""
    data = random_data(90, (9,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(11,)), (9,), 3)
    own = np.arange(10)

    def run(*more: int) -> torch.Tensor:
        members = [own, *[np.arange(size) for size in more]]
        streams = [("m", i) for i in range(len(members))]
        fitted = train(
            architecture, training(), data, members,
            streams=streams, seed=1, strategy="stacked",
        )  # fmt: skip
        return fitted["0.weight"][0]

    assert torch.equal(run(), run(90, 3, 57))


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "constant"},
        {"kind": "cosine"},
        {"kind": "steps", "at": [1, 3], "factor": 0.5},
        {"kind": "inverse-time", "decay": 0.3},
    ],
    ids=lambda schedule: schedule["kind"],
)
@pytest.mark.parametrize(
    "optimizer",
    [ADAM, SGD, {**SGD, "momentum": 0.9}, {**SGD, "momentum": 0.8, "nesterov": True}],
    ids=["adam", "sgd", "momentum", "nesterov"],
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_stack_equals_the_loop(
    schedule: dict[str, Any], optimizer: dict[str, Any], activation: Any
) -> None:
    data = random_data(60, (9,), 3)
    architecture = build(
        Mlp(kind="mlp", hidden=(11, 6), activation=activation), (9,), 3
    )
    settings = training(optimizer=optimizer, schedule=schedule, epochs=4, l2=1e-3)
    losses: dict[str, list[Any]] = {"stacked": [], "loop": []}

    def keeper(strategy: str) -> Any:
        return lambda _, loss: losses[strategy].append(loss)

    stacked, looped = (
        fit(
            settings, range(4), data=data, architecture=architecture, size=29,
            strategy=strategy, on_epoch=keeper(strategy),
        )
        for strategy in ("stacked", "loop")
    )  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(stacked[name], looped[name], rtol=1e-3, atol=2e-5)
    # the loop tells one model at a time, the stack all of them
    np.testing.assert_allclose(
        np.stack(losses["stacked"]).T.ravel(), np.ravel(losses["loop"]), rtol=1e-4
    )


@pytest.mark.parametrize("optimizer", [ADAM, {**SGD, "momentum": 0.9}])
@pytest.mark.parametrize("channels", [(4,), (4, 3)])
def test_a_stack_of_cnns_equals_the_loop(
    optimizer: dict[str, Any], channels: tuple[int, ...]
) -> None:
    data = random_data(24, (3, 8, 9), 3)
    settings = Cnn(kind="cnn", channels=channels, hidden=6, activation="relu")
    architecture = build(settings, (3, 8, 9), 3)
    stacked, looped = (
        fit(
            training(optimizer=optimizer, epochs=2), range(3), data=data,
            architecture=architecture, size=17, strategy=strategy,
        )
        for strategy in ("stacked", "loop")
    )  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(stacked[name], looped[name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
@pytest.mark.parametrize(
    "optimizer", [ADAM, {**SGD, "momentum": 0.9, "nesterov": True}]
)
def test_one_step_is_the_step_of_pytorch(strategy: Any, optimizer: Any) -> None:
    """One full batch, written out with torch.nn and torch.optim."""
    data = random_data(20, (5,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(4,)), (5,), 3)
    own = np.arange(20)
    settings = training(optimizer=optimizer, epochs=1, batch_size=20, l2=0.02)
    fitted = train(
        architecture, settings, data, [own], streams=[("m", 4)], seed=2,
        strategy=strategy,
    )  # fmt: skip

    start = initial(architecture, stream(2, "m", 4, "init"))
    leaves = [value.clone().requires_grad_() for value in start.values()]
    hidden = torch.tanh(data.inputs @ leaves[0].T + leaves[1])
    loss = functional.cross_entropy(hidden @ leaves[2].T + leaves[3], data.labels)
    # P1 Sec. IX: the penalty is lambda times the sum of squares
    (loss + 0.02 * sum((leaf**2).sum() for leaf in leaves)).backward()
    rate = optimizer["learning_rate"]
    plain = (
        torch.optim.Adam(leaves, rate)
        if optimizer["kind"] == "adam"
        else torch.optim.SGD(leaves, rate, momentum=0.9, nesterov=True)
    )
    plain.step()
    for name, leaf in zip(architecture.shapes, leaves, strict=True):
        torch.testing.assert_close(fitted[name][0], leaf.detach(), rtol=1e-4, atol=1e-6)


def test_every_record_is_seen_once_an_epoch() -> None:
    """The mean of the last, smaller batch is over its own records."""
    data = random_data(10, (3,), 2)
    architecture = build(Mlp(kind="mlp", hidden=()), (3,), 2)
    settings = training(
        optimizer={"kind": "sgd", "learning_rate": 1e-6}, epochs=1, batch_size=4
    )
    seen: list[Any] = []
    own = np.array([0, 2, 3, 5, 8, 9])
    train(
        architecture, settings, data, [own], streams=[("m",)], seed=0,
        strategy="stacked", on_epoch=lambda epoch, loss: seen.append((epoch, loss)),
    )  # fmt: skip
    start = initial(architecture, stream(0, "m", "init"))
    losses = functional.cross_entropy(
        data.inputs @ start["0.weight"].T + start["0.bias"], data.labels,
        reduction="none",
    )  # fmt: skip
    order = stream(0, "m", "batches", 0).permutation(own)
    assert sorted(order) == own.tolist()
    expected = (losses[order[:4]].mean() + losses[order[4:]].mean()) / 2
    assert seen[0][0] == 1
    assert seen[0][1] == pytest.approx([expected.item()], rel=1e-4)


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_training_learns(strategy: Any) -> None:
    data = random_data(60, (9,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(16,)), (9,), 3)
    fitted = train(
        architecture, training(epochs=60), data, [np.arange(60)],
        streams=[("m",)], seed=0, strategy=strategy,
    )  # fmt: skip
    logits = architecture.forward(fitted, data.inputs.unsqueeze(0))[0]
    assert (logits.argmax(1) == data.labels).float().mean() > 0.95


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_the_seed_and_the_stream_make_the_model(strategy: Any) -> None:
    data = random_data(60, (9,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(5,)), (9,), 3)

    def weights(seed: int, model: int) -> torch.Tensor:
        return fit(
            training(), [model], data=data, architecture=architecture, seed=seed,
            strategy=strategy,
        )["0.weight"]  # fmt: skip

    assert torch.equal(weights(1, 5), weights(1, 5))
    assert not torch.equal(weights(1, 5), weights(2, 5))
    assert not torch.equal(weights(1, 5), weights(1, 10))


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
@pytest.mark.parametrize(
    "settings", [Mlp(kind="mlp", hidden=(5,)), Cnn(kind="cnn", channels=(2,), hidden=3)]
)
def test_no_global_generator_is_touched(strategy: Any, settings: Any) -> None:
    shape = (1, 4, 4) if isinstance(settings, Cnn) else (9,)
    data = random_data(40, shape, 3)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    fit(
        training(), range(2), data=data, architecture=build(settings, shape, 3),
        strategy=strategy,
    )  # fmt: skip
    assert torch.equal(torch_before, torch.get_rng_state())
    numpy_after = np.random.get_state()  # noqa: NPY002
    assert numpy_before[2:] == numpy_after[2:]
    np.testing.assert_array_equal(numpy_before[1], numpy_after[1])


def test_bytes_are_scaled_as_they_are_gathered() -> None:
    raw = torch.arange(12, dtype=torch.uint8).reshape(2, 2, 3)
    data = TrainingData(
        raw, torch.zeros(2, dtype=torch.int64), 0.5, torch.tensor([[1.0], [-1.0]])
    )
    taken = data.gather(torch.tensor([[1, 0], [1, 1]]))
    assert taken.shape == (2, 2, 2, 3)
    # record 1 is 6..8, 9..11: halved, then +1 in the first channel, -1 in the second
    assert taken[1, 0].tolist() == [[4.0, 4.5, 5.0], [3.5, 4.0, 4.5]]
    assert raw[1, 0].tolist() == [6, 7, 8]


def test_learning_rates_by_hand() -> None:
    def rates(**schedule: Any) -> list[float]:
        settings = training(optimizer=SGD, schedule=schedule, epochs=4)
        return [learning_rate(settings, epoch) for epoch in range(4)]

    assert rates(kind="constant") == [0.1] * 4
    assert rates(kind="steps", at=[1, 3], factor=0.5) == pytest.approx(
        [0.1, 0.05, 0.05, 0.025]
    )
    assert rates(kind="inverse-time", decay=1.0) == pytest.approx(
        [0.1, 0.05, 0.1 / 3, 0.025]
    )
    root = math.sqrt(0.5)
    assert rates(kind="cosine") == pytest.approx(
        [0.1, 0.05 * (1 + root), 0.05, 0.05 * (1 - root)]
    )


@pytest.mark.parametrize(
    ("hidden", "num_features", "num_classes", "batch", "expected"),
    [
        ((128,), 64, 10, 32, 32),  # 128 and 64 fill lines at any width; 10 at 8
        ((128,), 64, 10, 33, 40),
        ((128,), 446, 30, 96, 96),
        ((37,), 64, 16, 1, 32),  # an odd hidden width: whole unrolled vectors
        ((), 16, 16, 5, 5),  # all lines are full
        ((), 3, 16, 5, 16),  # odd features: whole lines
    ],
)
def test_padded_widths_by_hand(
    hidden: tuple[int, ...],
    num_features: int,
    num_classes: int,
    batch: int,
    expected: int,
) -> None:
    settings = Mlp(kind="mlp", hidden=hidden)
    architecture = build(settings, (num_features,), num_classes)
    assert padded_batch(architecture, batch, num_features) == expected


def test_auto_asks_for_the_architecture_and_the_device() -> None:
    mlp = build(Mlp(kind="mlp"), (9,), 3)
    cnn = build(Cnn(kind="cnn"), (3, 8, 8), 3)
    assert choose_strategy(mlp, CPU) == "stacked"
    assert choose_strategy(cnn, CPU) == "loop"
    assert choose_strategy(cnn, torch.device("cuda")) == "stacked"
