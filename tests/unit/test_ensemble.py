"""The ensemble trainer: the same models in any company, and PyTorch's numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from core_samples import random_data, training
from whatelse.models.layers import stacked_weights, weight_names
from whatelse.models.settings import Cnn, Mlp, Resnet
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
        {"kind": "one-cycle"},
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
    cosine = [0.1, 0.05 * (1 + root), 0.05, 0.05 * (1 - root)]
    assert rates(kind="cosine") == pytest.approx(cosine)
    # a tenth, half way up, the top after half of the epochs, half way down
    assert rates(kind="one-cycle", rise=0.5) == pytest.approx([0.01, 0.055, 0.1, 0.05])
    # nothing to rise over: half a cosine
    assert rates(kind="one-cycle", rise=0.0) == pytest.approx(cosine)
    # three quarters up; 0.25, 0.5 and 0.75 fall behind .3 of the epochs
    assert rates(kind="one-cycle")[:2] == pytest.approx(
        [0.01, 0.01 + 0.09 * 0.25 / 0.3]
    )
    assert rates(kind="one-cycle")[3] == pytest.approx(
        0.05 * (1 + math.cos(math.pi * 0.45 / 0.7))
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


# ---- hinge loss


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_the_hinge_is_the_mean_over_classes(strategy: Any) -> None:
    """One linear machine a class, against all others."""
    data = random_data(20, (5,), 4)
    architecture = build(Mlp(kind="mlp", hidden=()), (5,), 4)
    seen: list[Any] = []
    settings = training(
        optimizer=SGD, epochs=1, batch_size=20, loss="hinge", l2=0.02
    )  # fmt: skip
    fitted = train(
        architecture, settings, data, [np.arange(20)], streams=[("m", 4)], seed=2,
        strategy=strategy, on_epoch=lambda _, loss: seen.append(loss),
    )  # fmt: skip
    start = initial(architecture, stream(2, "m", 4, "init"))
    leaves = [value.clone().requires_grad_() for value in start.values()]
    scores = data.inputs @ leaves[0].T + leaves[1]
    total = torch.zeros(())
    for score, label in zip(scores, data.labels, strict=True):
        for other in range(4):
            side = 1.0 if other == label else -1.0
            total = total + torch.clamp(1 - side * score[other], min=0) / (4 * 20)
    assert seen[0] == pytest.approx([total.item()], rel=1e-5)
    (total + 0.02 * sum((leaf**2).sum() for leaf in leaves)).backward()
    torch.optim.SGD(leaves, 0.1).step()
    for name, leaf in zip(architecture.shapes, leaves, strict=True):
        torch.testing.assert_close(fitted[name][0], leaf.detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", [ADAM, {**SGD, "momentum": 0.9}])
def test_a_stack_of_hinges_equals_the_loop(optimizer: dict[str, Any]) -> None:
    data = random_data(60, (9,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(6,), activation="relu"), (9,), 3)
    stacked, looped = (
        fit(
            training(optimizer=optimizer, epochs=4, loss="hinge"), range(4), data=data,
            architecture=architecture, strategy=strategy,
        )
        for strategy in ("stacked", "loop")
    )  # fmt: skip
    plain = fit(
        training(optimizer=optimizer, epochs=4), range(4), data=data,
        architecture=architecture,
    )  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(stacked[name], looped[name], rtol=1e-3, atol=2e-5)
        assert not torch.allclose(stacked[name], plain[name], atol=1e-3)


# ---- what models start from


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_a_given_start_is_where_training_starts(strategy: Any) -> None:
    data = random_data(60, (9,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(5,)), (9,), 3)
    own = members_of(range(3), 60, 30)
    names = [("model", 0, i) for i in range(3)]

    def run(starts: Any) -> dict[str, torch.Tensor]:
        return train(
            architecture, training(), data, own, streams=names, seed=1,
            strategy=strategy, starts=starts,
        )  # fmt: skip

    drawn = [initial(architecture, stream(1, *name, "init")) for name in names]
    before = [{name: value.clone() for name, value in own.items()} for own in drawn]
    left_out, given = run(None), run(drawn)
    others = run([drawn[0], drawn[2], drawn[2]])
    for name in architecture.shapes:
        assert torch.equal(left_out[name], given[name])
        assert torch.equal(given[name][[0, 2]], others[name][[0, 2]])
        assert not torch.equal(given[name][1], others[name][1])
        # what was given is not trained itself
        for mine, kept in zip(drawn, before, strict=True):
            assert torch.equal(mine[name], kept[name])


def test_running_statistics_start_where_they_are_given() -> None:
    data = random_data(24, (3, 6, 6), 3)
    settings = Resnet(kind="resnet", widths=(3,), blocks=1, norm="batch")
    architecture = build(settings, (3, 6, 6), 3)
    assert architecture.buffers
    starts = []
    for i in range(2):
        own = initial(architecture, stream(3, i))
        moved = {name: own[name] + i for name in architecture.buffers}
        starts.append(own | moved)
    fitted = {
        strategy: train(
            architecture, training(epochs=1, batch_size=24), data, [np.arange(24)] * 2,
            streams=[("m", 0), ("m", 1)], seed=0, strategy=strategy, starts=starts,
        )
        for strategy in ("stacked", "loop")
    }  # fmt: skip
    alone = train(
        architecture, training(epochs=1, batch_size=24), data, [np.arange(24)],
        streams=[("m", 1)], seed=0, strategy="stacked",
        starts=[initial(architecture, stream(3, 1))],
    )  # fmt: skip
    for name in (*architecture.shapes, *architecture.buffers):
        torch.testing.assert_close(
            fitted["stacked"][name], fitted["loop"][name], rtol=1e-3, atol=2e-5
        )
    for name in architecture.buffers:
        # one step with PyTorch's momentum of .1: .9 of the start is left
        torch.testing.assert_close(
            fitted["stacked"][name][1] - alone[name][0],
            torch.full_like(alone[name][0], 0.9), rtol=1e-4, atol=1e-5,
        )  # fmt: skip


# ---- penalties


def test_weights_lie_side_by_side_the_largest_first() -> None:
    architecture = build(Mlp(kind="mlp", hidden=(4, 5)), (2,), 3)
    sizes = {"0.weight": 8, "1.weight": 20, "2.weight": 15}
    assert weight_names(architecture.shapes) == ["1.weight", "2.weight", "0.weight"]
    stack = {
        name: torch.full((2, *shape), float(i))
        for i, (name, shape) in enumerate(architecture.shapes.items())
    }
    numbers = {"0.weight": 0.0, "1.weight": 2.0, "2.weight": 4.0}  # biases between
    expected = [
        numbers[name]
        for name in ("1.weight", "2.weight", "0.weight")
        for _ in range(sizes[name])
    ]
    assert stacked_weights(stack).tolist() == [expected] * 2
    # equals stay in their order
    assert weight_names({"b": (2, 3), "c": (6,), "a": (3, 2)}) == ["b", "a"]


def pull(weights_SW: torch.Tensor) -> torch.Tensor:
    """Weights are drawn to numbers that tell their places apart."""
    places = torch.linspace(-1, 1, weights_SW.shape[1])
    return 2 * ((weights_SW - places) ** 2).mean(1)


@pytest.mark.parametrize("optimizer", [ADAM, {**SGD, "momentum": 0.9}])
@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        (Mlp(kind="mlp", hidden=(7,)), (9,)),
        # filters of channels that lie last must not change the order of weights
        (Cnn(kind="cnn", channels=(4, 3), hidden=6, padding="valid"), (3, 12, 11)),
    ],
)
def test_a_penalty_is_the_same_in_stack_and_loop(
    optimizer: dict[str, Any], settings: Any, shape: tuple[int, ...]
) -> None:
    data = random_data(24, shape, 3)
    architecture = build(settings, shape, 3)
    losses: dict[str, list[Any]] = {"stacked": [], "loop": []}
    fitted = {
        strategy: train(
            architecture, training(optimizer=optimizer, epochs=3), data,
            members_of(range(3), 24, 17), streams=[("m", i) for i in range(3)], seed=1,
            strategy=strategy, penalty=pull,
            on_epoch=lambda _, loss, own=losses[strategy]: own.append(loss),
        )
        for strategy in ("stacked", "loop")
    }  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(
            fitted["stacked"][name], fitted["loop"][name], rtol=1e-3, atol=2e-5
        )
    # the loss that is told is the task's alone: below log(3) or near it, not above 2
    np.testing.assert_allclose(
        np.stack(losses["stacked"]).T.ravel(), np.ravel(losses["loop"]), rtol=1e-3
    )


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_one_step_with_a_penalty_by_hand(strategy: Any) -> None:
    data = random_data(20, (5,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(4,)), (5,), 3)
    seen: list[Any] = []
    fitted = train(
        architecture, training(optimizer=SGD, epochs=1, batch_size=20), data,
        [np.arange(20)], streams=[("m", 4)], seed=2, strategy=strategy, penalty=pull,
        on_epoch=lambda _, loss: seen.append(loss),
    )  # fmt: skip
    start = initial(architecture, stream(2, "m", 4, "init"))
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    hidden = torch.tanh(data.inputs @ leaves["0.weight"].T + leaves["0.bias"])
    logits = hidden @ leaves["1.weight"].T + leaves["1.bias"]
    loss = functional.cross_entropy(logits, data.labels)
    # 4 x 5 numbers, then 3 x 4; biases are let alone
    flat = torch.cat([leaves["0.weight"].flatten(), leaves["1.weight"].flatten()])
    (loss + 2 * ((flat - torch.linspace(-1, 1, 32)) ** 2).sum() / 32).backward()
    torch.optim.SGD(list(leaves.values()), 0.1).step()
    for name, leaf in leaves.items():
        torch.testing.assert_close(fitted[name][0], leaf.detach(), rtol=1e-4, atol=1e-6)
    assert seen[0] == pytest.approx([loss.item()], rel=1e-5)


def test_models_do_not_mix_in_a_penalty() -> None:
    """What the others of a stack are penalised with is nothing to a model."""
    data = random_data(60, (9,), 3)
    architecture = build(Mlp(kind="mlp", hidden=(5,)), (9,), 3)

    def run(*strengths: float) -> dict[str, torch.Tensor]:
        def penalty(weights_SW: torch.Tensor) -> torch.Tensor:
            return (weights_SW**2).mean(1) * torch.tensor(strengths)

        return train(
            architecture, training(), data, members_of(range(3), 60, 30),
            streams=[("m", i) for i in range(3)], seed=1, strategy="stacked",
            penalty=penalty,
        )  # fmt: skip

    mild, odd = run(1.0, 1.0, 1.0), run(1.0, 50.0, 1.0)
    for name in architecture.shapes:
        assert torch.equal(mild[name][[0, 2]], odd[name][[0, 2]])
        assert not torch.equal(mild[name][1], odd[name][1])


def test_a_net_of_convolutions_is_handed_over_as_it_is_stored() -> None:
    """Inside the loop on a CPU channels lie last; files have them first."""
    data = random_data(24, (3, 8, 9), 3)
    settings = Cnn(kind="cnn", channels=(4, 3), hidden=6)
    architecture = build(settings, (3, 8, 9), 3)
    fitted = fit(
        training(epochs=1), range(2), data=data, architecture=architecture, size=17,
        strategy="loop",
    )  # fmt: skip
    assert {name: value.shape[1:] for name, value in fitted.items()} == (
        architecture.shapes
    )
    for value in fitted.values():
        assert value.is_contiguous()
        assert value[0].is_contiguous()
