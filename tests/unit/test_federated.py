"""Collaborative learning against the papers' algorithms, written out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.nn import functional

from whatelse.errors import UserError
from whatelse.measures.privacy import epsilon
from whatelse.models.settings import Cnn, Mlp, Resnet
from whatelse.models.stacked import Architecture, build, initial
from whatelse.seeding import stream
from whatelse.training import program as programs
from whatelse.training.ensemble import TrainingData, train
from whatelse.training.federated import collaborate
from whatelse.training.federated_settings import Averaging, Gradients, Privacy
from whatelse.training.participants import Honest, Scene, endless
from whatelse.training.program import Dropout, Program, Rows, Vectors
from whatelse.training.settings import Sgd, TrainingSettings
from whatelse.training.submissions import sendable

SEED = 11
SHARED = Gradients(kind="gradients", iterations=5, batch_size=4, learning_rate=0.1)
AVERAGED = Averaging(kind="averaging", rounds=3, batch_size=4, learning_rate=0.1)


def records(*shape: int) -> TrainingData:
    rng = np.random.default_rng(0)
    inputs = rng.random((60, *shape), dtype=np.float32)
    labels = rng.integers(0, 3, 60)
    return TrainingData(torch.from_numpy(inputs), torch.from_numpy(labels))


MLP = build(Mlp(kind="mlp", hidden=(8,)), (6,), 3)
CNN = build(Cnn(kind="cnn", channels=(4,), hidden=8), (2, 8, 8), 3)
NETS = [(MLP, records(6)), (CNN, records(2, 8, 8))]


def parties(count: int) -> list[Honest]:
    parts = np.array_split(np.arange(60), count)
    return [Honest(own, ("party", n), SEED) for n, own in enumerate(parts)]


class Recorder:
    """Keeps what an observer is shown."""

    def __init__(self, seat: int = 1) -> None:
        self.seat = seat
        self.models: list[Vectors] = []
        self.others: list[Vectors] = []
        self.own: Vectors | None = None

    def look(self, scene: Scene, others: Vectors) -> None:
        self.own = scene.each([np.arange(4)])[0]
        self.models.append({k: v.detach().clone() for k, v in scene.model.items()})
        self.others.append({k: v.clone() for k, v in others.items()})


def by_hand(
    net: Architecture, data: TrainingData, model: Vectors, rows: Rows
) -> Vectors:
    """Return the gradient of the mean loss, through the stacked form."""
    leaves = {k: v.detach().clone().requires_grad_() for k, v in model.items()}
    one = {k: v.unsqueeze(0) for k, v in leaves.items()}
    index = torch.from_numpy(rows)
    logits = net.forward(one, data.gather(index.unsqueeze(0)))[0]
    loss = functional.cross_entropy(logits, data.labels[index])
    found = torch.autograd.grad(loss, list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def close(ours: Vectors, theirs: Vectors) -> None:
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("net", "data"), NETS, ids=["mlp", "cnn"])
def test_shared_gradients_are_algorithm_1(
    net: Architecture, data: TrainingData
) -> None:
    people = parties(3)
    seen = Recorder()
    told: list[int] = []
    fitted = collaborate(
        net, SHARED, data, people, seed=SEED, observer=seen,
        on_round=lambda number, loss: told.append(number),
    )  # fmt: skip
    model: Vectors = initial(net, stream(SEED, "init"))
    for t in range(SHARED.iterations):
        own = [by_hand(net, data, model, person.batch(t, 4)) for person in people]
        close(seen.models[t], model)
        # what the one at seat 1 is shown: the sum of what the others sent
        close(seen.others[t], {k: own[0][k] + own[2][k] for k in model})
        model = {k: v - 0.1 * sum(g[k] for g in own) for k, v in model.items()}
    close(fitted, model)
    assert told == [1, 2, 3, 4, 5]


def test_of_two_the_other_is_seen_exactly() -> None:
    net, data = NETS[0]
    seen = Recorder()
    people = parties(2)
    collaborate(net, SHARED, data, people, seed=SEED, observer=seen)
    for t, (model, others) in enumerate(zip(seen.models, seen.others, strict=True)):
        close(others, by_hand(net, data, model, people[0].batch(t, 4)))


@pytest.mark.parametrize(("net", "data"), NETS, ids=["mlp", "cnn"])
def test_averaging_is_algorithm_2(net: Architecture, data: TrainingData) -> None:
    sizes = [10, 20, 30]
    parts = np.split(np.arange(60), np.cumsum(sizes)[:-1])
    people = [Honest(own, ("party", n), SEED) for n, own in enumerate(parts)]
    seen = Recorder()
    fitted = collaborate(net, AVERAGED, data, people, seed=SEED, observer=seen)
    local = TrainingSettings(
        optimizer=Sgd(kind="sgd", learning_rate=0.1), epochs=1, batch_size=4
    )
    model: Vectors = initial(net, stream(SEED, "init"))
    for number in range(3):
        changes = []
        for n, own in enumerate(parts):
            trained = train(
                net, local, data, [own], streams=[("round", number, n)], seed=SEED,
                strategy="loop", starts=[model],
            )  # fmt: skip
            changes.append({k: trained[k][0] - model[k] for k in model})
        share = [size / 60 for size in sizes]
        close(
            seen.others[number],
            {k: share[0] * changes[0][k] + share[2] * changes[2][k] for k in model},
        )
        model = {
            k: v + sum(s * c[k] for s, c in zip(share, changes, strict=True))
            for k, v in model.items()
        }
    close(fitted, model)


def test_who_looks_changes_nothing() -> None:
    net, data = NETS[0]
    for settings in (SHARED, AVERAGED):
        alone = collaborate(net, settings, data, parties(3), seed=SEED)
        watched = collaborate(
            net, settings, data, parties(3), seed=SEED, observer=Recorder()
        )
        close(watched, alone)


def test_averaging_keeps_running_statistics() -> None:
    """What is asked of a scene's program is asked of the model that everyone has."""
    _, data = NETS[1]
    net = build(Resnet(kind="resnet", widths=(4, 8), blocks=1), (2, 8, 8), 3)
    fitted = collaborate(net, AVERAGED, data, parties(2), seed=SEED)
    program = Program(net, data, fitted)
    rows = torch.arange(60)
    ours = program.module.eval()(program.features(rows))
    one = {k: v.unsqueeze(0) for k, v in fitted.items()}
    theirs = net.forward(
        {k: one[k] for k in net.shapes}, data.gather(rows.unsqueeze(0)),
        buffers={k: one[k] for k in net.buffers},
    )[0]  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_many_records_go_through_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    net, data = NETS[0]
    program = Program(net, data, initial(net, stream(SEED, "init")))
    batches = [np.arange(20), np.arange(20, 25), np.arange(25, 60)]
    whole, loss = program.of_sum(batches)
    monkeypatch.setattr(programs, "_AT_ONCE", 7)
    parts, again = program.of_sum(batches)
    close(parts, whole)
    assert again == pytest.approx(loss)
    each = program.of_each(batches)
    close(whole, {k: sum(own[k] for own in each) for k in whole})


def test_only_the_largest_values_are_shared() -> None:
    net, data = NETS[0]
    seen = Recorder()
    few = SHARED.model_copy(update={"shared": 0.25, "iterations": 1})
    people = parties(2)
    collaborate(net, few, data, people, seed=SEED, observer=seen)
    whole = by_hand(net, data, seen.models[0], people[0].batch(0, 4))
    flat = torch.cat([v.flatten() for v in whole.values()])
    sent = torch.cat([v.flatten() for v in seen.others[0].values()])
    kept = sent != 0
    assert int(kept.sum()) == round(0.25 * len(flat))
    torch.testing.assert_close(sent[kept], flat[kept], rtol=1e-4, atol=1e-6)
    assert flat[kept].abs().min() >= flat[~kept].abs().max()
    # and an adversary's own are made as sparse
    assert seen.own is not None
    assert sum(int((v != 0).sum()) for v in seen.own.values()) == int(kept.sum())


def test_a_share_is_kept_where_most_values_are_equal() -> None:
    """A gradient of maxima is mostly zeros: a threshold would send all of it."""
    update = {"a": torch.tensor([[0.0, -3.0], [2.0, 0.0]]), "b": torch.full((4,), 2.0)}
    for share, expected in (
        (0.125, ([0, -3, 0, 0], [0, 0, 0, 0])),
        (0.5, ([0, -3, 2, 0], [2, 2, 0, 0])),  # of equals the first
        (0.75, ([0, -3, 2, 0], [2, 2, 2, 2])),
    ):
        few = SHARED.model_copy(update={"shared": share})
        sent = sendable(update, few)
        assert sent["a"].flatten().tolist() == expected[0]
        assert sent["b"].tolist() == expected[1]


def test_a_participant_may_send_anything() -> None:
    net, data = NETS[0]
    honest, loud = parties(2), parties(2)
    loud[0] = dataclasses.replace(
        loud[0], submit=lambda update, scene: {k: 10 * v for k, v in update.items()}
    )
    for settings in (
        SHARED.model_copy(update={"iterations": 1}),
        AVERAGED.model_copy(update={"rounds": 1}),
    ):
        plain, changed = Recorder(), Recorder()
        collaborate(net, settings, data, honest, seed=SEED, observer=plain)
        collaborate(net, settings, data, loud, seed=SEED, observer=changed)
        close(changed.others[0], {k: 10 * v for k, v in plain.others[0].items()})


def test_some_are_selected_for_a_round() -> None:
    net, data = NETS[0]
    few = AVERAGED.model_copy(update={"selected": 2, "rounds": 8})
    seen = Recorder(seat=0)
    collaborate(net, few, data, parties(4), seed=SEED, observer=seen)
    # alone with one other, or with two others: shares differ, and all take turns
    assert len({round(float(v["0.bias"].norm()), 9) for v in seen.others}) == 8


def test_orders_are_endless() -> None:
    rows = np.arange(100, 107)
    whole = endless(rows, 0, 21, SEED, ("a",))
    for part in np.split(whole, 3):
        assert sorted(part) == rows.tolist()
    assert endless(rows, 5, 10, SEED, ("a",)).tolist() == whole[5:15].tolist()
    assert endless(rows, 0, 21, SEED, ("b",)).tolist() != whole.tolist()


def test_weight_decay_adds_every_participants_share_of_the_weights() -> None:
    net, data = NETS[0]
    decayed = SHARED.model_copy(update={"weight_decay": 0.25, "iterations": 1})
    plain, seen = Recorder(), Recorder()
    plainly = SHARED.model_copy(update={"iterations": 1})
    collaborate(net, plainly, data, parties(3), seed=SEED, observer=plain)
    collaborate(net, decayed, data, parties(3), seed=SEED, observer=seen)
    model = seen.models[0]
    close(
        seen.others[0],
        {k: v + 2 * 0.25 * model[k] for k, v in plain.others[0].items()},
    )


def test_dropout_leaves_values_out_in_training_alone() -> None:
    net, data = NETS[1]
    dropped = SHARED.model_copy(update={"dropout": 0.5})
    fitted = collaborate(net, dropped, data, parties(2), seed=SEED)
    again = collaborate(net, dropped, data, parties(2), seed=SEED)
    assert all(torch.equal(fitted[k], again[k]) for k in fitted)
    # who looks draws from a stream of its own
    seen = collaborate(net, dropped, data, parties(2), seed=SEED, observer=Recorder())
    close(seen, fitted)
    plain = collaborate(net, SHARED, data, parties(2), seed=SEED)
    assert not torch.equal(plain["conv0.weight"], fitted["conv0.weight"])
    dropout = Dropout(0.5, torch.Generator().manual_seed(0))
    program = Program(net, data, plain, dropout=dropout)
    whole = Program(net, data, plain)
    answers: list[torch.Tensor] = []
    for own in (program, whole):
        pooling = own.module[1]  # type: ignore[index]
        pooling.register_forward_hook(lambda *given: answers.append(given[2]))
        own.module(own.features(torch.arange(40)))
    values, expected = answers
    left = values != 0
    assert left.float().mean().item() == pytest.approx(0.5, abs=0.02)
    torch.testing.assert_close(values[left], 2 * expected[left])
    rows = torch.arange(10)
    asked = program.module.eval()(program.features(rows))
    torch.testing.assert_close(asked, whole.module.eval()(whole.features(rows)))


@pytest.mark.parametrize("kind", ["gradients", "averaging"])
def test_privacy_clips_and_adds_noise(kind: str) -> None:
    net, data = NETS[0]
    parts = [np.arange(10), np.arange(10, 30), np.arange(30, 60)]
    people = [Honest(own, ("party", n), SEED) for n, own in enumerate(parts)]
    base: Gradients | Averaging = SHARED if kind == "gradients" else AVERAGED
    first = {"iterations": 1} if kind == "gradients" else {"rounds": 1}

    def others(clip: float, noise: float) -> torch.Tensor:
        privacy = Privacy(clip=clip, noise=noise)
        settings = base.model_copy(update={**first, "privacy": privacy})
        seen = Recorder()
        collaborate(net, settings, data, people, seed=SEED, observer=seen)
        return torch.cat([value.flatten() for value in seen.others[0].values()])

    # two unit vectors that are not opposite, each whole or a third; nearly no noise
    weight = 1 if kind == "gradients" else 1 / 3
    length = others(1e-3, 1e-3).norm().item() / (1e-3 * weight)
    assert 0.5 < length <= 2 + 0.02
    # all but noise: 83 numbers
    noise = others(1e-3, 1e3) / weight
    assert noise.std().item() == pytest.approx(1.0, rel=0.25)
    # an update that is short enough is left alone, and counts like a long one
    free = others(1e3, 1e-3)
    assert free.norm() > 0
    assert torch.isfinite(free).all()


def test_epsilon_is_that_of_the_gaussian_mechanism() -> None:
    # Renyi divergence of order a is T a / (2 z^2); the classical conversion is looser
    def classical(noise: float, steps: int, delta: float) -> float:
        orders = 1 + np.arange(1, 100_000) / 100
        found = steps * orders / (2 * noise**2) + np.log(1 / delta) / (orders - 1)
        return float(found.min())

    for noise, steps in ((1.0, 1), (1.0, 100), (50.0, 1000)):
        found = epsilon(noise, 1.0, steps, 1e-3)
        assert 0.6 * classical(noise, steps, 1e-3) < found
        assert found < classical(noise, steps, 1e-3)
    # who seldom takes part is told less of
    assert epsilon(1.0, 0.1, 100, 1e-3) < 0.3 * epsilon(1.0, 1.0, 100, 1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("empty", "participants: 1 has no records"),
        ("norm", "running statistics"),
        ("dropout", "collaboration.dropout: 0.5; allowed: 0"),
        ("private norm", "allowed with privacy: no batch norm"),
        ("selected", "selected: 5; allowed: 1..2"),
    ],
)
def test_bad_input_is_refused(change: str, message: str) -> None:
    net, data = NETS[1]
    people: Sequence[Honest] = parties(2)
    settings: Gradients | Averaging = SHARED
    if change == "empty":
        people = [people[0], Honest(np.array([], dtype=np.int64), ("x",), SEED)]
    elif change == "private norm":
        net = build(Resnet(kind="resnet", widths=(4, 8), blocks=1), (2, 8, 8), 3)
        privacy = Privacy(clip=1.0, noise=1.0)
        settings = AVERAGED.model_copy(update={"privacy": privacy})
    elif change == "norm":
        net = build(Resnet(kind="resnet", widths=(4, 8), blocks=1), (2, 8, 8), 3)
    elif change == "dropout":
        net, data = NETS[0]
        settings = SHARED.model_copy(update={"dropout": 0.5})
    else:
        settings = AVERAGED.model_copy(update={"selected": 5})
    with pytest.raises(UserError, match=message):
        collaborate(net, settings, data, people, seed=SEED)
