"""Nets for records of words: against PyTorch's modules, in training, in files."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from core_samples import train_block, train_spec, training
from whatelse import records
from whatelse.datasets.store import INFO, open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.models.features import layers_of, module_of
from whatelse.models.settings import Gru, Lstm, Mlp, TextCnn
from whatelse.models.stacked import Architecture, build, initial
from whatelse.models.text import EMBEDDING, MaxOverTime
from whatelse.properties.pooling import pooled
from whatelse.properties.probing import features_of
from whatelse.training.blocks import describe, load_block
from whatelse.training.ensemble import (
    Stack,
    TrainingData,
    choose_strategy,
    padded_batch,
    train,
)
from whatelse.training.program import Program

LENGTH, WORDS, CLASSES = 7, 20, 3
CPU = torch.device("cpu")
ADAM = {"kind": "adam", "learning_rate": 0.01}
SGD = {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}
SETTINGS = [
    TextCnn(kind="text-cnn", embedding=6, windows=(2, 3), filters=4),
    TextCnn(kind="text-cnn", embedding=5, windows=(7, 1, 1), filters=3, hidden=4),
    Gru(kind="gru", embedding=5, hidden=6),
    Lstm(kind="lstm", embedding=5, hidden=6, layers=1, tied=False),
    Lstm(kind="lstm", embedding=6, hidden=6),
]
NAMES = ["text-cnn", "text-cnn-dense", "gru", "lstm", "lstm-tied"]
EACH = pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
UNTIED = pytest.mark.parametrize("settings", SETTINGS[:-1], ids=NAMES[:-1])
GRU, TIED = SETTINGS[2], SETTINGS[-1]


def of(settings: Any) -> Architecture:
    # the classes of a tied net are the words and the filler
    classes = WORDS + 1 if settings is TIED else CLASSES
    return build(settings, (LENGTH,), classes, words=WORDS)


def texts(count: int, seed: int = 0, most: int = WORDS) -> torch.Tensor:
    """Records of 0 to LENGTH words, padded at the end."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(1, most + 1, (count, LENGTH))
    for number, row in enumerate(rows):
        row[number % (LENGTH + 1) :] = 0
    return torch.tensor(rows, dtype=torch.int32)


def records_of(count: int = 40, most: int = WORDS) -> TrainingData:
    return TrainingData(texts(count, most=most), torch.arange(count) % CLASSES)


def stack_of(architecture: Architecture, size: int) -> dict[str, torch.Tensor]:
    models = [initial(architecture, np.random.default_rng(i)) for i in range(size)]
    return {name: torch.stack([m[name] for m in models]) for name in models[0]}


@EACH
def test_each_model_of_a_stack_answers_and_learns_like_its_module(settings: Any) -> None:  # fmt: skip  # noqa: E501
    architecture = of(settings)
    leaves = {n: v.requires_grad_() for n, v in stack_of(architecture, 3).items()}
    # one record in 8 has no word
    inputs_SBL = texts(3 * 16).view(3, 16, LENGTH).float()
    logits_SBC = architecture.forward(leaves, inputs_SBL)
    assert logits_SBC.shape == (3, 16, architecture.shapes["output.bias"][0])
    weights = torch.randn(logits_SBC.shape, generator=torch.Generator().manual_seed(0))
    found = torch.autograd.grad((logits_SBC * weights).sum(), list(leaves.values()))
    for i in range(3):
        module = module_of(architecture, {n: v[i].detach() for n, v in leaves.items()})
        logits_BC = module(inputs_SBL[i])
        torch.testing.assert_close(logits_SBC[i], logits_BC, rtol=1e-5, atol=1e-5)
        own = torch.autograd.grad((logits_BC * weights[i]).sum(), module.parameters())
        for name, mine, theirs in zip(leaves, found, own, strict=True):
            torch.testing.assert_close(
                mine[i], theirs, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


@EACH
def test_gradients_are_those_of_differences(settings: Any) -> None:
    """The embedding brings a backward pass of its own."""
    architecture = of(settings)
    leaves = [v.double().requires_grad_() for v in stack_of(architecture, 2).values()]
    inputs_SBL = texts(6).view(2, 3, LENGTH).double()

    def forward(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(architecture.shapes, values, strict=True))
        return architecture.forward(named, inputs_SBL)

    torch.autograd.gradcheck(forward, leaves)


@UNTIED
def test_words_that_are_not_there_have_rows_of_zeros(settings: Any) -> None:
    """Exactly: P3 tells members by the rows that are not."""
    architecture = of(settings)
    model = initial(architecture, np.random.default_rng(0))
    data = records_of(LENGTH + 2, most=9)
    batch = np.array([3, 4, 5])
    there = torch.zeros(WORDS + 1, dtype=torch.bool)
    there[data.inputs[batch].flatten().unique().long()] = True
    assert 0 < there[1:].sum() < WORDS
    plain = Program(architecture, data, model).of_each([batch])[0][EMBEDDING]
    stack = Stack(architecture, training(), data, [model, model])
    # as in training: padded by records whose share is zero
    index_SB = torch.tensor([[3, 4, 5, 6, 8], [6, 6, 6, 7, 7]])
    shares_SB = torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0, 0], [0.2] * 5])
    for _ in range(2):  # places are written anew
        losses_S = stack.losses(index_SB, shares_SB, full=False)
        (stacked, *_) = torch.autograd.grad(losses_S.sum(), [*stack.leaves.values()])
    for rows in (plain, stacked[0]):
        assert (rows[~there] == 0).all()
    # a convolution's largest answer may be elsewhere, a state hangs on all words
    assert (plain[there] != 0).any(1).sum() > (there.sum() / 2)
    torch.testing.assert_close(stacked[0], plain, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", [ADAM, SGD])
@EACH
def test_a_stack_equals_the_loop(settings: Any, optimizer: dict[str, Any]) -> None:
    architecture, data = of(settings), records_of()
    members = [np.random.default_rng(i).permutation(40)[: 17 - i] for i in range(3)]
    stacked, looped, again, alone = (
        train(
            architecture, training(optimizer=optimizer), data, members[first:],
            streams=[("m", i) for i in range(first, 3)], seed=1, strategy=strategy,
        )
        for strategy, first in (
            ("stacked", 0), ("loop", 0), ("stacked", 0), ("stacked", 2),
        )
    )  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(stacked[name], looped[name], rtol=1e-3, atol=2e-5)
        assert torch.equal(stacked[name], again[name])
        if settings.kind != "text-cnn":  # trained by the loop on a CPU, as LSTMs are
            assert torch.equal(stacked[name][2], alone[name][0])


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
@UNTIED
def test_training_learns(settings: Any, strategy: Any) -> None:
    """The class of a record is one of its words."""
    architecture = of(settings)
    inputs = texts(80).clamp(min=4)
    labels = torch.arange(80) % CLASSES
    inputs[torch.arange(80), torch.arange(80) % LENGTH] = labels.int() + 1
    data = TrainingData(inputs, labels)
    fitted = train(
        architecture, training(epochs=60), data, [np.arange(80)], streams=[("m",)],
        seed=0, strategy=strategy,
    )  # fmt: skip
    logits = architecture.forward(fitted, inputs[None].float())[0]
    assert (logits.argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
@EACH
def test_mixed_precision_stays_near(settings: Any, strategy: Any) -> None:
    architecture, data = of(settings), records_of()
    found = [
        train(
            architecture, training(precision=precision), data, [np.arange(40)],
            streams=[("m",)], seed=0, strategy=strategy,
        )
        for precision in ("float32", "mixed")
    ]  # fmt: skip
    for name in architecture.shapes:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=0, atol=0.1)


def test_the_state_is_that_after_the_last_word() -> None:
    """What follows it changes nothing; the words before it do."""
    architecture = of(GRU)
    model = initial(architecture, np.random.default_rng(0))
    gru = nn.GRU(5, 6, batch_first=True)
    named = dict(zip(gru.state_dict(), list(model.values())[1:5], strict=True))
    gru.load_state_dict(named)
    record = torch.tensor([4, 9, 2, 0, 0, 0, 0])
    states, _ = gru(model[EMBEDDING][record[:3]][None])
    expected = functional.linear(
        states[0, -1], model["output.weight"], model["output.bias"]
    )
    parameters = {name: value[None] for name, value in model.items()}
    found = architecture.forward(parameters, record[None, None].float())[0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@EACH
def test_shapes_by_hand(settings: Any) -> None:
    architecture = of(settings)
    assert next(iter(architecture.shapes.items())) == (
        EMBEDDING, (WORDS + 1, settings.embedding),
    )  # fmt: skip
    assert architecture.buffers == {}
    assert architecture.start == "uniform"
    module = architecture.module()
    assert [tuple(p.shape) for p in module.parameters()] == [
        *architecture.shapes.values()
    ]
    assert len(module) == 2
    hidden = module[:-1](texts(5).float())
    last = architecture.shapes.get("output.weight", (0, settings.embedding))[1]
    assert hidden.shape == (5, last)
    assert module[-1](hidden).shape == (5, *architecture.shapes["output.bias"])
    assert isinstance(module[-1], nn.Linear) == (settings is not TIED)


def test_the_published_nets() -> None:
    """P3 Sec. V-A and Table 1: FourSquare's 30,000 locations, Yelp's 5,000 words."""
    check_ins = build(
        TextCnn(kind="text-cnn", hidden=128), (100,), 2, words=30_000
    ).shapes
    convolutions = 100 * (3 + 4 + 5) * 320 + 300
    total = sum(math.prod(shape) for shape in check_ins.values())
    assert total == 30_001 * 320 + convolutions + 128 * 301 + 2 * 129
    reviews = build(Gru(kind="gru"), (200,), 2, words=5_000).shapes
    total = sum(math.prod(shape) for shape in reviews.values())
    assert total == 5_001 * 100 + 384 * (100 + 128 + 2) + 2 * 129
    # Bagdasaryan et al.: 10 million parameters
    posts = build(Lstm(kind="lstm"), (64,), 50_001, words=50_000).shapes
    total = sum(math.prod(shape) for shape in posts.values())
    assert total == 50_001 * 201 + 2 * 800 * (200 + 200 + 2)


def test_initial_embeddings_stay_within_one_over_the_root_of_their_size() -> None:
    drawn = initial(of(SETTINGS[0]), np.random.default_rng(0))
    bound = 1 / math.sqrt(6)
    assert 0.9 * bound < drawn[EMBEDDING].abs().max() <= bound


def test_auto_stacks_what_is_faster_stacked() -> None:
    words, recurrent, long = of(SETTINGS[0]), of(GRU), of(TIED)
    assert choose_strategy(words, CPU) == "loop"
    assert choose_strategy(recurrent, CPU) == "stacked"
    assert choose_strategy(long, CPU) == "loop"
    for architecture in (words, recurrent, long):
        assert choose_strategy(architecture, torch.device("cuda")) == "stacked"


def test_the_rows_of_an_embedding_are_no_width() -> None:
    architecture = build(
        Gru(kind="gru", embedding=32, hidden=32), (16,), 16, words=4_322
    )
    assert padded_batch(architecture, 5, 16) == 5


@pytest.mark.parametrize(
    ("settings", "shape", "words", "line"),
    [
        (Gru(kind="gru"), (7,), None, "architecture.kind: gru needs records of words, "
         "shape (length,), with a vocabulary; the data set has no vocabulary"),
        (TextCnn(kind="text-cnn"), (3, 8, 8), 9, "architecture.kind: text-cnn needs "
         "records of words, shape (length,), with a vocabulary; the data set has shape "
         "(3, 8, 8)"),
        (TextCnn(kind="text-cnn"), (4,), 9, "architecture.windows: 5; allowed: at most "
         "4, the words of a record"),
        (Lstm(kind="lstm"), (7,), None, "architecture.kind: lstm needs records of "
         "words, shape (length,), with a vocabulary; the data set has no vocabulary"),
        (Lstm(kind="lstm"), (7,), 9, "architecture.tied: true with 2 classes; allowed: "
         "classes that are the next word, 10 with the filler, such as of blogs-words, "
         "or tied: false"),
    ],
)  # fmt: skip
def test_records_that_do_not_fit_are_refused(
    settings: Any, shape: tuple[int, ...], words: int | None, line: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(settings, shape, 2, words=words)
    assert str(caught.value) == line


# ---- what is looked at


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SETTINGS[0], {"0.activation": 8, "1": 3}),
        (SETTINGS[1], {"0.activation": 9, "0.after": 4, "1": 3}),
        (GRU, {"0.last": 6, "1": 3}),
        (SETTINGS[3], {"0.last": 6, "1": 3}),
        (TIED, {"0.last": 6, "1": 21}),
    ],
)
def test_layers_are_seen(settings: Any, expected: dict[str, int]) -> None:
    architecture = of(settings)
    module = module_of(architecture, initial(architecture, np.random.default_rng(0)))
    assert list(layers_of(module)) == list(expected)
    inputs = texts(9).float()
    found = features_of(module, inputs)
    assert {name: own.shape for name, own in found.items()} == {
        name: (9, width) for name, width in expected.items()
    }
    hidden = list(found.values())[-2]
    np.testing.assert_allclose(hidden, module[:-1](inputs).detach(), rtol=1e-5)


def test_the_largest_answers_are_one_module() -> None:
    module = of(SETTINGS[0]).module()
    (largest,) = (own for own in module.modules() if isinstance(own, MaxOverTime))
    answers = torch.tensor([[[1.0, 3.0, 2.0]]]), torch.tensor([[[5.0, -1.0]]])
    assert largest(*answers).tolist() == [[3, 5]]


def test_filters_over_words_are_pooled_like_those_of_images() -> None:
    update = {
        "embedding.weight": torch.tensor([[0.0, 0.0], [2.0, -3.0]]),
        "conv0.weight": torch.tensor([[[1.0, -5.0], [2.0, 0.0]]]),
        "conv0.bias": torch.tensor([9.0]),
    }
    assert pooled(update, 8).tolist() == [0, 0, 2, 3, 1, 5, 2, 0]
    assert pooled(update, 6).tolist() == [0, 3, 5, 2]
    assert pooled(update, 3).tolist() == [3, 5]


# ---- files


def word_records(folder: Path) -> Path:
    """Write a data set of words; its vocabulary goes into its description."""
    labels = np.arange(60) % CLASSES
    write_dataset(
        folder, inputs=texts(60).float().numpy(), labels=labels,
        info={"name": "t", "title": "T", "class_names": ["a", "b", "c"]},
        settings={"source": "npz"},
    )  # fmt: skip
    info = records.read_json(folder / INFO)
    words = [f"w{number}" for number in range(1, WORDS + 1)]
    records.write_json(folder / INFO, {**info, "vocabulary": words})
    return folder


@UNTIED
def test_a_block_knows_its_words(settings: Any, tmp_path: Path) -> None:
    data = word_records(tmp_path / "data")
    spec = train_spec(
        architecture=json.loads(settings.model_dump_json()), members=12,
    )  # fmt: skip
    assert train_block(tmp_path, data, "0:2", spec=spec, name="net") == 0
    block = load_block(tmp_path / "net")
    assert block.architecture.shapes == of(settings).shapes
    assert records.read_json(tmp_path / "net" / "model.json")["words"] == WORDS
    inputs = torch.from_numpy(open_dataset(data).floats(np.arange(9)))
    module = module_of(block.architecture, block.model(1))
    logits_SBC = block.architecture.forward(block.parameters, inputs.expand(2, -1, -1))
    torch.testing.assert_close(logits_SBC[1], module(inputs), rtol=1e-4, atol=1e-5)


def test_other_nets_are_described_as_before(tmp_path: Path) -> None:
    dataset = open_dataset(word_records(tmp_path / "data"))
    settings = Mlp(kind="mlp")
    told = describe(settings, dataset, build(settings, (LENGTH,), CLASSES))
    assert "words" not in told


def test_a_data_set_without_words_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = word_records(tmp_path / "data")
    info = records.read_json(data / INFO)
    del info["vocabulary"]
    records.write_json(data / INFO, info)
    spec = train_spec(architecture={"kind": "gru"}, members=12)
    assert train_block(tmp_path, data, "0:2", spec=spec, name="net") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "gru needs records of words" in line
