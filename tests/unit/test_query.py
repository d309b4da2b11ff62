"""``whatelse query``: who is asked about what, and what comes back."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core_samples import dataset, query_block, random_data, train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.models.features import module_of
from whatelse.models.outputs import CONTROL, OUTPUTS, TARGET, load_outputs
from whatelse.models.settings import Cnn, Mlp, Resnet
from whatelse.models.signals import load_signals
from whatelse.models.stacked import build, initial
from whatelse.records import read_json
from whatelse.training import query
from whatelse.training.blocks import Block, load_block
from whatelse.training.device import resident
from whatelse.training.plan import Plan


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("query")
    dataset(place / "data")
    assert train_block(place, place / "data", "0:4") == 0
    assert train_block(place, place / "data", "4:6", name="second") == 0
    return place


def test_every_model_is_asked_about_its_own_records(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data")])
    block, data = load_block(place / "b"), open_dataset(place / "data")
    for row in range(4):
        own = outputs.of(outputs.model == row)
        np.testing.assert_array_equal(own.record, np.flatnonzero(block.plan.test[row]))
        np.testing.assert_array_equal(own.member, block.plan.train[row, own.record])
        np.testing.assert_array_equal(own.label, data.labels[own.record])
        assert own.member.sum() == 20
        assert len(own.member) == 40
        # the answer is the softmax of that model's logits, written out
        hidden = torch.tanh(
            torch.from_numpy(data.inputs[own.record])
            @ block.parameters["0.weight"][row].T
            + block.parameters["0.bias"][row]
        )
        logits = (
            hidden @ block.parameters["1.weight"][row].T
            + block.parameters["1.bias"][row]
        )
        np.testing.assert_allclose(
            own.probabilities, torch.softmax(logits, 1).numpy(), atol=1e-6
        )


def test_the_control_is_a_shadow_asked_about_the_targets_records(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data")])
    control = outputs.of(outputs.model == CONTROL)
    target = outputs.of(outputs.model == TARGET)
    np.testing.assert_array_equal(control.record, target.record)
    np.testing.assert_array_equal(control.member, target.member)
    block = load_block(place / "b")
    assert not block.plan.train[1, control.record].any()
    assert not np.allclose(control.probabilities, target.probabilities, atol=0.01)


def test_blocks_without_the_target_have_no_control(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data", "second")])
    assert np.unique(outputs.model).tolist() == [4, 5]


def test_a_target_alone_has_no_control(place: Path, tmp_path: Path) -> None:
    data = place / "data"
    spec = train_spec(members=60)  # half of all records: no shadow could be had
    assert train_block(tmp_path, data, "0:1", spec=spec) == 0
    outputs = load_outputs([query_block(tmp_path, data)])
    assert np.unique(outputs.model).tolist() == [TARGET]
    assert (outputs.member.sum(), len(outputs.member)) == (60, 120)


def test_members_are_surer_of_themselves(place: Path) -> None:
    """The columns are not swapped: an overfit model knows its members better."""
    outputs = load_outputs([query_block(place, place / "data")])
    own = outputs.of(outputs.model >= TARGET)
    assert own.log_probability[own.member].mean() > (
        own.log_probability[~own.member].mean()
    )


def test_answers_do_not_depend_on_the_block(place: Path) -> None:
    assert train_block(place, place / "data", "1:2", name="single") == 0
    alone = load_outputs([query_block(place, place / "data", "single")])
    packed = load_outputs([query_block(place, place / "data")])
    same = packed.of(packed.model == 1)
    np.testing.assert_array_equal(alone.probabilities, same.probabilities)
    np.testing.assert_array_equal(alone.record, same.record)


def test_large_questions_are_asked_in_parts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_outputs([query_block(place, place / "data")])
    monkeypatch.setattr(query, "_ROWS_AT_ONCE", 7)
    parts = load_outputs([query_block(place, place / "data")])
    np.testing.assert_array_equal(whole.record, parts.record)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=1e-6)


def test_queries_are_counted_and_capped_a_model(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = query_block(place, place / "data", max_queries=40)
    assert read_json(out / "record.json")["queries"] == 5 * 40
    spec = '{"kind": "label", "max_queries": 39}'
    code = main(
        [
            "query", "--spec", spec, "--data", str(place / "data"),
            "--block", str(place / "b"), "--out", str(place / "capped"),
            "--device", "cpu",
        ]
    )  # fmt: skip
    assert code == 2
    assert "40 queries asked; allowed: 39" in capsys.readouterr().err
    assert not (place / "capped").exists()


def test_released_labels_are_one_hot(place: Path) -> None:
    full = load_outputs([query_block(place, place / "data")])
    label = load_outputs([query_block(place, place / "data", kind="label")])
    assert set(np.unique(label.probabilities)) == {0.0, 1.0}
    np.testing.assert_array_equal(
        label.probabilities.argmax(1), full.probabilities.argmax(1)
    )


def test_another_data_set_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dataset(tmp_path / "other", num_records=121)
    code = main(
        [
            "query", "--spec", '{"kind": "label"}', "--data", str(other),
            "--block", str(place / "b"), "--out", str(tmp_path / "o"),
            "--device", "cpu",
        ]
    )  # fmt: skip
    assert code == 2
    assert "120 records" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


# ---- signals


HALVES = train_spec(split="halves", members=40)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("halves")
    dataset(place / "data")
    for models, name in (("0:1", "target"), ("1:3", "first"), ("3:5", "second")):
        assert train_block(place, place / "data", models, name=name, spec=HALVES) == 0
    return place


def ask(place: Path, name: str, **spec: Any) -> int:
    given = {"kind": "signals", "release": {"kind": "probabilities"}, **spec}
    return main(
        [
            "query", "--spec", json.dumps(given), "--data", str(place / "data"),
            "--block", str(place / name), "--out", str(place / f"{name}-signals"),
            "--device", "cpu",
        ]
    )  # fmt: skip


def test_signals_tell_of_every_model_and_record(halves: Path) -> None:
    for name in ("first", "second"):
        assert ask(halves, name) == 0
    places = [halves / "first-signals", halves / "second-signals"]
    margin = load_signals(places, "margin")
    chance = load_signals(places, "log_probability")
    assert margin.model.tolist() == [1, 2, 3, 4]
    assert margin.values.shape == (4, 120, 1)
    assert margin.values.dtype == np.float32
    assert margin.pool.sum() == 80
    np.testing.assert_array_equal(margin.train.sum(0), np.where(margin.pool, 2, 0))
    block, data = load_block(halves / "second"), open_dataset(halves / "data")
    inputs = torch.from_numpy(np.array(data.inputs))
    hidden = torch.tanh(
        inputs @ block.parameters["0.weight"][1].T + block.parameters["0.bias"][1]
    )
    logits = hidden @ block.parameters["1.weight"][1].T + block.parameters["1.bias"][1]
    probabilities = torch.softmax(logits.double(), 1).detach().numpy()
    true = probabilities[np.arange(120), data.labels]
    np.testing.assert_allclose(
        margin.values[3, :, 0], np.log(true / (1 - true)), atol=1e-4
    )
    np.testing.assert_allclose(chance.values[3, :, 0], np.log(true), atol=1e-5)
    np.testing.assert_array_equal(
        margin.correct[3], probabilities.argmax(1) == data.labels
    )
    assert read_json(places[0] / "record.json")["queries"] == 240
    assert margin.of(slice(2)).model.tolist() == [1, 2]


def test_a_sure_models_margin_is_not_cut_at_the_rounding_of_one() -> None:
    """Float32 has log(p / (1 - p)) = inf from 17 on; the others' sum goes on."""
    logits = torch.tensor([[60.0, 0.0, 0.0]], dtype=torch.float64)
    answer = query.Oracle(query.Probabilities()).answer(logits)
    assert query._signals(answer, torch.tensor([0]), 1e-300)[0] == pytest.approx(
        60 - np.log(2), abs=1e-9
    )


def test_a_label_alone_gives_two_finite_signals(halves: Path) -> None:
    assert ask(halves, "target", release={"kind": "label"}) == 0
    found = load_signals([halves / "target-signals"], "margin")
    size = float(np.log(1e12))
    np.testing.assert_allclose(
        found.values[0, :, 0], np.where(found.correct[0], size, -size), rtol=1e-6
    )


def test_what_is_right_is_told_of_every_query(halves: Path) -> None:
    assert ask(halves, "first") == 0
    found = load_signals([halves / "first-signals"], "right")
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values[..., 0], found.correct)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        (Mlp(kind="mlp", hidden=(7, 5)), (6,)),
        (Mlp(kind="mlp", hidden=()), (6,)),
        (Cnn(kind="cnn", channels=(3,), hidden=4, activation="relu"), (1, 6, 6)),
        (Resnet(kind="resnet", widths=(4, 8), blocks=1), (3, 8, 8)),
    ],
    ids=["mlp", "logistic", "cnn", "resnet"],
)
def test_gradient_norms_are_those_of_one_record_at_a_time(
    architecture: Any, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = random_data(23, shape, 3)
    built = build(architecture, shape, 3)
    models = [initial(built, np.random.default_rng(k)) for k in range(2)]
    stacked = {name: torch.stack([m[name] for m in models]) for name in models[0]}
    block = Block(
        built, {name: stacked[name] for name in built.shapes},
        {name: stacked[name] for name in built.buffers},
        Plan(np.arange(2), np.zeros((2, 23), bool), np.zeros((2, 23), bool)),
    )  # fmt: skip
    # several chunks, the last of them short
    size = sum(stacked[name][0].numel() for name in built.shapes)
    monkeypatch.setattr(query, "_GRADIENTS", 5 * size)
    found = query.gradient_norms(block, 1, data)
    module = module_of(built, models[1]).eval()
    for record in range(23):
        module.zero_grad()
        answer = module(data.inputs[record : record + 1])
        label = data.labels[record : record + 1]
        torch.nn.functional.cross_entropy(answer.double(), label).backward()
        lengths = [float(own.grad.norm()) for own in module.parameters()]
        squares = sum(length**2 for length in lengths)
        assert found[record] == pytest.approx(squares**0.5, rel=1e-5)


def test_gradients_are_kept_as_minus_their_log(halves: Path) -> None:
    assert ask(halves, "first") == 0
    with pytest.raises(UserError, match="cannot be read"):
        load_signals([halves / "first-signals"], "gradient_norm")
    assert ask(halves, "first", gradients=True) == 0
    found = load_signals([halves / "first-signals"], "gradient_norm")
    assert found.values.shape == (2, 120, 1)
    block = load_block(halves / "first")
    data = resident(open_dataset(halves / "data"), torch.device("cpu"))
    expected = -np.log(query.gradient_norms(block, 1, data))
    np.testing.assert_allclose(found.values[1, :, 0], expected, rtol=1e-6)


def test_signals_of_other_records_are_not_joined(halves: Path, tmp_path: Path) -> None:
    dataset(tmp_path / "data", num_records=130)
    assert train_block(tmp_path, tmp_path / "data", "1:3", spec=HALVES) == 0
    assert ask(tmp_path, "b") == 0
    assert ask(halves, "first") == 0
    with pytest.raises(UserError, match="about other records than .*of one family$"):
        load_signals([halves / "first-signals", tmp_path / "b-signals"], "margin")
    (tmp_path / "b-signals" / OUTPUTS).write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read"):
        load_signals([tmp_path / "b-signals"], "margin")


def test_images_are_asked_about_in_several_ways(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    write_dataset(
        tmp_path / "data", inputs=rng.random((40, 1, 5, 5), dtype=np.float32),
        labels=np.arange(40) % 2, info={
            "name": "toy", "title": "Toy", "class_names": ["a", "b"],
        }, settings={"source": "npz"},
    )  # fmt: skip
    net = {"kind": "cnn", "channels": [2], "hidden": 4}
    spec = {**HALVES, "architecture": net, "members": None}
    assert train_block(tmp_path, tmp_path / "data", "0:1", spec=spec) == 0
    assert ask(tmp_path, "b", queries={"flip": True, "shift": 1}) == 0
    values = load_signals([tmp_path / "b-signals"], "margin").values
    assert values.shape == (1, 40, 18)
    assert (np.ptp(values, axis=2) > 0).all()
    assert read_json(tmp_path / "b-signals/record.json")["queries"] == 40 * 18
    assert ask(tmp_path, "b") == 0
    alone = load_signals([tmp_path / "b-signals"], "margin").values
    np.testing.assert_array_equal(values[..., :1], alone)
    # the order of `augment`: every move, no move first, and then mirrored
    data = resident(open_dataset(tmp_path / "data"), torch.device("cpu"))
    assert isinstance(data.inputs, torch.Tensor)
    block = load_block(tmp_path / "b")
    moves = [(1, 1), (1, 2), (2, 0), (2, 1), (2, 2), (0, 0), (0, 1), (0, 2), (1, 0)]
    images = [data.inputs, data.inputs.flip(-1)]
    padded = [torch.nn.functional.pad(own, (1, 1, 1, 1)) for own in images]
    for way, (image, (top, left)) in enumerate(itertools.product(padded, moves)):
        # mirrored after the move: what was to the left is to the right then
        start = left if way < 9 else 2 - left
        seen = image[..., top : top + 5, start : start + 5]
        logits = block.architecture.forward(block.parameters, seen.unsqueeze(0))[0]
        margin = logits[:, 0] - logits[:, 1]
        expected = torch.where(data.labels == 0, margin, -margin)
        np.testing.assert_allclose(values[0, :, way], expected, atol=1e-5)


def test_rows_of_numbers_are_not_mirrored(
    halves: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(halves, "target", queries={"flip": True}) == 2
    error = capsys.readouterr().err
    assert "queries: 2 of each record" in error
    assert "allowed: left out, or images" in error
