"""Language models: the loss after each word, clipped gradients, in federation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from core_samples import train_block, train_spec, training
from whatelse import records
from whatelse.datasets.store import write_dataset
from whatelse.datasets.vocabulary import UNKNOWN
from whatelse.errors import UserError
from whatelse.models.features import module_of
from whatelse.models.settings import Gru, Lstm, Mlp
from whatelse.models.stacked import Architecture, build, initial
from whatelse.models.text import LanguageModel, StackedLstm
from whatelse.seeding import stream
from whatelse.training.blocks import load_block
from whatelse.training.ensemble import Stack, TrainingData, train
from whatelse.training.federated import collaborate
from whatelse.training.federated_settings import Averaging
from whatelse.training.next_word import language_model, mean_losses, targets_of
from whatelse.training.participants import Honest

LENGTH, WORDS = 6, 15
ADAM = {"kind": "adam", "learning_rate": 0.01}
SGD = {"kind": "sgd", "learning_rate": 1.0, "momentum": 0.9}
EACH = pytest.mark.parametrize(
    "settings",
    [
        Lstm(kind="lstm", embedding=5, hidden=4, tied=False),
        Lstm(kind="lstm", embedding=4, hidden=4, layers=1),
        Lstm(kind="lstm", embedding=4, hidden=4, layers=3),
    ],
    ids=["untied", "tied", "deep"],
)


def of(settings: Lstm) -> StackedLstm:
    return language_model(build(settings, (LENGTH,), WORDS + 1, words=WORDS))


def data_of(count: int = 40, seed: int = 0) -> TrainingData:
    """Windows of 1 to LENGTH words, some of them unknown ones."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, WORDS + 1, (count, LENGTH))
    for number, row in enumerate(rows):
        row[1 + number % LENGTH :] = 0
    return TrainingData(
        torch.tensor(rows, dtype=torch.uint16),
        torch.from_numpy(rng.integers(1, WORDS + 1, count)),
    )


def stack_of(architecture: Architecture, size: int) -> dict[str, Tensor]:
    models = [initial(architecture, np.random.default_rng(i)) for i in range(size)]
    return {name: torch.stack([m[name] for m in models]) for name in models[0]}


def test_targets_by_hand() -> None:
    words = torch.tensor([[4, 7, UNKNOWN, 9], [5, 6, 0, 0], [3, 0, 0, 0]])
    labels = torch.tensor([8, 2, UNKNOWN])
    # the next word, the label after the last one; nothing before unknown words
    assert targets_of(words, labels).tolist() == [
        [7, 0, 9, 8], [6, 2, 0, 0], [0, 0, 0, 0],
    ]  # fmt: skip
    # of a stack, and as batches give them
    stacked = targets_of(words.float()[None], labels[None])
    assert torch.equal(stacked[0], targets_of(words, labels))


def test_the_mean_is_over_all_targets_of_a_batch() -> None:
    logits = torch.randn(2, 3, 4, 9, generator=torch.Generator().manual_seed(0))
    words = torch.tensor([[4, 7, 1, 8], [5, 6, 0, 0], [3, 0, 0, 0]])
    targets = targets_of(words, torch.tensor([8, 2, 1])).expand(2, 3, 4)
    shares = torch.tensor([[1 / 2, 1 / 2, 0], [1 / 3, 1 / 3, 1 / 3]])
    found = mean_losses(logits, targets, shares)
    places = [(0, 0, 7), (0, 2, 8), (0, 3, 8), (1, 0, 6), (1, 1, 2)]
    for model in range(2):
        terms = [-logits[model, b, t].log_softmax(0)[word] for b, t, word in places]
        torch.testing.assert_close(found[model], torch.stack(terms).mean())
    # as the logits of a stack lie
    again = logits.transpose(1, 2).contiguous().transpose(1, 2)
    torch.testing.assert_close(mean_losses(again, targets, shares), found)
    # a batch that has nothing to say
    none = torch.zeros_like(targets)
    assert mean_losses(logits, none, shares).tolist() == [0, 0]
    assert mean_losses(logits, targets, torch.zeros_like(shares)).tolist() == [0, 0]


@EACH
def test_logits_after_each_word(settings: Lstm) -> None:
    """As of the module; those after the last word are the answer."""
    architecture = of(settings)
    models = stack_of(architecture, 3)
    inputs_SBL = data_of(3 * 12).inputs.view(3, 12, LENGTH).float()
    logits_SBLC = architecture.all_logits(models, inputs_SBL)
    assert logits_SBLC.shape == (3, 12, LENGTH, WORDS + 1)
    answers_SBC = architecture.forward(models, inputs_SBL)
    last_SB = (inputs_SBL > 0).sum(2) - 1
    for i in range(3):
        module = module_of(architecture, {n: v[i] for n, v in models.items()})
        assert isinstance(module, LanguageModel)
        torch.testing.assert_close(
            logits_SBLC[i], module.all_logits(inputs_SBL[i]), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(
            answers_SBC[i], logits_SBLC[i, torch.arange(12), last_SB[i]]
        )
        # a word says nothing of those before it
        changed = inputs_SBL[i].clone()
        changed[:, 3:] = 2
        torch.testing.assert_close(
            module.all_logits(changed)[:, :3], module.all_logits(inputs_SBL[i])[:, :3]
        )


def test_tied_weights_stay_tied() -> None:
    """Made without numbers, then moved: still one tensor for both ends."""
    architecture = of(Lstm(kind="lstm", embedding=4, hidden=4))
    module = module_of(architecture, initial(architecture, np.random.default_rng(0)))
    assert "output.weight" not in architecture.shapes
    hidden = torch.randn(2, 4)
    before = module[1](hidden)
    with torch.no_grad():
        module[0].embedding.weight.mul_(2)
    bias = module[1].bias
    torch.testing.assert_close(module[1](hidden) - bias, 2 * (before - bias))


@EACH
@pytest.mark.parametrize("loss", ["next-word", "cross-entropy"])
def test_gradients_of_a_stack_are_those_of_modules(settings: Lstm, loss: str) -> None:
    """A tied embedding has two gradients, which add up."""
    architecture, data = of(settings), data_of()
    starts = [initial(architecture, np.random.default_rng(i)) for i in range(2)]
    stack = Stack(architecture, training(loss=loss), data, starts)
    index_SB = torch.tensor([[0, 5, 11, 17, 3], [2, 9, 4, 0, 0]])
    shares_SB = torch.tensor([[0.2] * 5, [1 / 3] * 3 + [0, 0]])
    for _ in range(2):  # places are written anew
        losses_S = stack.losses(index_SB, shares_SB, full=False)
        stack._gradients_from(losses_S.sum())
    for i, real in enumerate((5, 3)):
        module = module_of(architecture, starts[i])
        rows = index_SB[i, :real]
        words = data.inputs[rows].long()
        if loss == "next-word":
            targets = targets_of(words, data.labels[rows])
            said = module.all_logits(words)[targets > 0].log_softmax(1)
            value = -said[torch.arange(len(said)), targets[targets > 0]].mean()
        else:
            value = functional.cross_entropy(module(words), data.labels[rows])
        torch.testing.assert_close(losses_S[i], value)
        value.backward()
        named = zip(architecture.shapes, module.parameters(), strict=True)
        for name, parameter in named:
            torch.testing.assert_close(
                stack.places[name][i], parameter.grad, rtol=1e-4, atol=1e-6,
                msg=lambda m, n=name: f"{n}: {m}",
            )  # fmt: skip


@EACH
@pytest.mark.parametrize("loss", ["next-word", "cross-entropy"])
@pytest.mark.parametrize("optimizer", [ADAM, SGD], ids=["adam", "sgd"])
def test_a_stack_equals_the_loop(
    settings: Lstm, optimizer: dict[str, Any], loss: str
) -> None:
    architecture, data = of(settings), data_of()
    members = [np.random.default_rng(i).permutation(40)[: 17 - i] for i in range(3)]
    stacked, looped, again, alone = (
        train(
            architecture, training(optimizer=optimizer, loss=loss, clip_gradient=0.2),
            data, members[first:], streams=[("m", i) for i in range(first, 3)],
            seed=1, strategy=strategy,
        )
        for strategy, first in (
            ("stacked", 0), ("loop", 0), ("stacked", 0), ("stacked", 2),
        )
    )  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(stacked[name], looped[name], rtol=2e-3, atol=5e-5)
        assert torch.equal(stacked[name], again[name])
        assert torch.equal(stacked[name][2], alone[name][0])


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_long_gradients_are_cut(strategy: Any) -> None:
    """One step of SGD is no longer than rate times clip; each model by itself."""
    net = build(Mlp(kind="mlp", hidden=(4,)), (3,), 2)
    inputs = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    inputs[8:] *= 100  # the second model's
    data = TrainingData(inputs, torch.arange(16) % 2)
    start = initial(net, np.random.default_rng(0))
    moves = {}
    for clip in (None, 0.5, 1e-3):
        done = train(
            net, training(optimizer={"kind": "sgd", "learning_rate": 1.0}, epochs=1,
                          clip_gradient=clip),
            data, [np.arange(8), np.arange(8, 16)], streams=[("a",), ("b",)], seed=0,
            strategy=strategy, starts=[start, start],
        )  # fmt: skip
        moves[clip] = torch.stack(
            [
                torch.cat([(done[n][i] - start[n]).flatten() for n in net.shapes])
                for i in range(2)
            ]
        )
    long = moves[None].norm(dim=1)
    assert long[0] < 0.5 < long[1]
    torch.testing.assert_close(moves[0.5][0], moves[None][0])
    torch.testing.assert_close(
        moves[0.5][1], moves[None][1] * (0.5 / long[1]), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        moves[1e-3].norm(dim=1), torch.full((2,), 1e-3), rtol=2e-3, atol=0
    )


@EACH
@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_a_language_is_learned(settings: Lstm, strategy: Any) -> None:
    """Words follow each other in turn; the unknown one is never said."""
    architecture = of(settings)
    starts = np.arange(60)
    turn = np.array([3, 7, 2, UNKNOWN, 9, 5])
    rows = turn[(starts[:, None] + np.arange(LENGTH)) % 6]
    labels = turn[(starts + LENGTH) % 6]
    data = TrainingData(torch.from_numpy(rows.astype(np.uint16)), torch.tensor(labels))
    told: list[float] = []
    fitted = train(
        architecture,
        training(epochs=60, loss="next-word",
                 optimizer={"kind": "adam", "learning_rate": 0.05}),
        data, [starts], streams=[("m",)], seed=0, strategy=strategy,
        on_epoch=lambda _, loss: told.append(float(loss[0])),
    )  # fmt: skip
    assert told[-1] < 0.1 < told[0]
    said = architecture.forward(fitted, data.inputs[None].float())[0].argmax(1)
    known = data.labels != UNKNOWN
    assert (said == data.labels)[known].all()
    assert (said != UNKNOWN).all()


@pytest.mark.parametrize(
    ("settings", "classes"),
    [
        (Gru(kind="gru", embedding=4, hidden=4), WORDS + 1),
        (Lstm(kind="lstm", embedding=4, hidden=4, tied=False), 3),
        (Mlp(kind="mlp"), WORDS + 1),
    ],
)
@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_other_nets_are_refused(settings: Any, classes: int, strategy: Any) -> None:
    architecture = build(settings, (LENGTH,), classes, words=WORDS)
    with pytest.raises(UserError) as caught:
        train(
            architecture, training(loss="next-word"), data_of(), [np.arange(9)],
            streams=[("m",)], seed=0, strategy=strategy,
        )  # fmt: skip
    assert str(caught.value) == (
        "training.loss: next-word; allowed for language models only: architecture lstm "
        "on records whose class is the next word, such as those of blogs-words"
    )


@pytest.mark.parametrize(
    ("model", "given", "message"),
    [
        (Lstm, {"kind": "lstm", "hidden": 128}, "tied: embedding is 200, hidden 128; "),
        (Lstm, {"kind": "lstm", "layers": 0}, "greater than or equal to 1"),
        (Averaging, {"kind": "averaging", "rounds": 1, "loss": "hinge"}, "next-word"),
        (Averaging, {"kind": "averaging", "rounds": 1, "clip_gradient": 0}, "than 0"),
    ],
)
def test_bad_settings(model: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        model.model_validate_json(json.dumps(given))


def test_averaging_trains_language_models() -> None:
    """A round of one participant is their own training."""
    architecture, data = of(Lstm(kind="lstm", embedding=4, hidden=4)), data_of()
    settings = Averaging(
        kind="averaging", rounds=1, batch_size=8, learning_rate=2.0,
        loss="next-word", clip_gradient=0.25,
    )  # fmt: skip
    fitted = collaborate(
        architecture, settings, data, [Honest(np.arange(20), ("p",), 3)], seed=3,
        name=("joint",),
    )  # fmt: skip
    found = {}
    for changes in ({}, {"loss": "cross-entropy"}, {"clip_gradient": None}):
        given = {"loss": "next-word", "clip_gradient": 0.25, **changes}
        optimizer = {"kind": "sgd", "learning_rate": 2.0}
        trained = train(
            architecture, training(optimizer=optimizer, epochs=1, **given), data,
            [np.arange(20)], streams=[("joint", "round", 0, 0)], seed=3,
            strategy="loop", starts=[initial(architecture, stream(3, "joint", "init"))],
        )  # fmt: skip
        found[json.dumps(changes)] = {n: v[0] for n, v in trained.items()}
    for name in architecture.shapes:
        torch.testing.assert_close(fitted[name], found["{}"][name])
    for changes, other in found.items():
        same = all(torch.allclose(fitted[n], other[n], atol=1e-4) for n in other)
        assert same == (changes == "{}")


def test_a_block_of_language_models(tmp_path: Path) -> None:
    """Rare words are classes without records; tied nets are read again."""
    rng = np.random.default_rng(0)
    vocabulary = ["<unk>", "<eos>", *(f"w{number}" for number in range(WORDS - 2))]
    inputs = rng.integers(1, 6, (60, LENGTH)).astype(np.uint16)
    write_dataset(
        tmp_path / "data", inputs=inputs, labels=rng.integers(1, 6, 60),
        info={
            "name": "t", "title": "T", "class_names": ["<none>", *vocabulary],
            "vocabulary": vocabulary,
        },
        settings={"source": "blogs-words"},
    )  # fmt: skip
    settings = Lstm(kind="lstm", embedding=4, hidden=4)
    spec = train_spec(
        architecture=json.loads(settings.model_dump_json()), members=12,
        training=json.loads(training(loss="next-word").model_dump_json()),
    )  # fmt: skip
    assert train_block(tmp_path, tmp_path / "data", "0:2", spec=spec, name="net") == 0
    block = load_block(tmp_path / "net")
    assert block.architecture.shapes == of(settings).shapes
    assert records.read_json(tmp_path / "net" / "model.json")["words"] == WORDS


def test_classes_without_records_are_refused_where_they_are_no_words(
    tmp_path: Path,
) -> None:
    with pytest.raises(UserError, match="labels: class 0 .'a'. has 0 records"):
        write_dataset(
            tmp_path / "data", inputs=np.ones((4, 3), np.uint16), labels=[1, 1, 2, 2],
            info={
                "name": "t", "title": "T", "class_names": ["a", "x", "y"],
                "vocabulary": ["y", "x"],
            },
            settings={"source": "blogs"},
        )  # fmt: skip
