"""Tampering inside training: what the verb does with models that start from others."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core_samples import train_block, train_spec, training
from whatelse import records
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.memorization.low_bits import read_low_bits, write_low_bits
from whatelse.memorization.payload import Coding, encode
from whatelse.memorization.payload_read import decode
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build
from whatelse.records import read_json
from whatelse.seeding import stream
from whatelse.sources import closure
from whatelse.tamperings import TAMPERINGS
from whatelse.training import command
from whatelse.training.blocks import load_block
from whatelse.training.device import resident
from whatelse.training.ensemble import train
from whatelse.training.settings import TrainSpec
from whatelse.training.tampering import Host, tampering

CPU = torch.device("cpu")
SMALL = {"records": 2, "size": 4}  # two pictures of 4x4: 256 bits
LSB = {"kind": "lsb", "bits": 3, "secret": SMALL}
IN_LOSS = [
    {"kind": "correlated", "strength": 1.0, "secret": SMALL},
    {"kind": "sign", "strength": 20.0, "secret": SMALL},
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures of bytes, the first forty to train on."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    rng = np.random.default_rng(4)
    write_dataset(
        folder,
        inputs=rng.integers(0, 256, (60, 1, 8, 8), dtype=np.uint8),
        labels=np.arange(60) % 3,
        info={
            "name": "toy", "title": "Toy", "class_names": ["a", "b", "c"],
            "scale": 1 / 255,
        },
        settings={"source": "npz"},
        attributes={"split": ["train"] * 40 + ["test"] * 20},
    )  # fmt: skip
    return folder


def spec(**changes: Any) -> dict[str, Any]:
    """Thirteen units: 871 weights, so that models of a stack lie at odd places."""
    return train_spec(
        **{
            "architecture": {"kind": "mlp", "hidden": [13], "activation": "relu"},
            "split": "given", "members": None, **changes,
        }
    )  # fmt: skip


def start_from(base: Path, **changes: Any) -> dict[str, Any]:
    del base  # the trainer is told its key, and finds it by --base
    return spec(base="0123456789abcdef", **changes)


# ---- with a base


def test_low_bits_are_written_into_models_as_they_are(
    tmp_path: Path, data: Path
) -> None:
    train_block(tmp_path, data, "0:3", spec=spec(), name="base")
    base = tmp_path / "base"
    told = start_from(base, training=None, tampering=LSB)
    assert not train_block(tmp_path, data, "0:3", "--base", str(base), spec=told)
    before, after = load_block(base), load_block(tmp_path / "b")
    assert (before.plan.train == after.plan.train).all()
    assert (before.plan.test == after.plan.test).all()
    pictures = open_dataset(data).inputs
    for row in range(3):
        members = np.flatnonzero(after.plan.train[row])
        hidden = stream(3, "secret", 0, row).permutation(members)[:2]
        old, new = (
            np.concatenate([block.parameters[name][row].numpy().ravel() for name in
                            block.architecture.shapes])
            for block in (before, after)
        )  # fmt: skip
        # nothing but the three lowest bits has changed
        assert ((old.view(np.uint32) ^ new.view(np.uint32)) >> 3 == 0).all()
        found = np.frombuffer(
            decode(read_low_bits(new, 3), Coding(), size=32), np.uint8
        )
        # each pixel of 4x4 is the mean of 2x2, rounded by rows and by columns
        expected = pictures[hidden, 0].reshape(2, 4, 2, 4, 2).mean((2, 4))
        assert np.abs(found.reshape(2, 4, 4) - expected).max() <= 1
        # by hand: the verb's own writer on the same stream
        bits = encode(found.tobytes(), Coding(), len(old) * 3)
        np.testing.assert_array_equal(new, write_low_bits(old, bits, 3))
    record = read_json(tmp_path / "b" / "record.json")
    assert set(record["inputs"]) == {"data", "base"}
    assert (tmp_path / "b" / "history.jsonl").read_text() == ""


def test_training_goes_on_from_the_base(tmp_path: Path, data: Path) -> None:
    train_block(tmp_path, data, "0:2", spec=spec(), name="base")
    base = tmp_path / "base"
    told = start_from(base)
    train_block(tmp_path, data, "0:2", "--base", str(base), spec=told)
    train_block(tmp_path, data, "0:2", spec=spec(seed=4), name="scratch")
    block, of_base = load_block(tmp_path / "b"), load_block(base)
    dataset = open_dataset(data)
    expected = train(
        block.architecture, training(epochs=4), resident(dataset, CPU),
        [np.flatnonzero(row) for row in of_base.plan.train],
        streams=[("model", 0, model, told["base"]) for model in range(2)], seed=3,
        strategy="stacked",
        starts=[
            {name: value[row] for name, value in of_base.parameters.items()}
            for row in range(2)
        ],
    )  # fmt: skip
    for name, value in block.parameters.items():
        assert torch.equal(value, expected[name])
        assert not torch.equal(value, of_base.parameters[name])
    # on the same records as before
    assert (block.plan.train == of_base.plan.train).all()


def test_a_part_of_a_base_will_do(tmp_path: Path, data: Path) -> None:
    """Models are found by their number, not by their place."""
    train_block(tmp_path, data, "0:4", spec=spec(), name="base")
    base = tmp_path / "base"
    for name, models in (("all", "0:4"), ("last", "3:4")):
        told = start_from(base)
        more = ("--base", str(base))
        assert not train_block(tmp_path, data, models, *more, spec=told, name=name)
    whole, last = (load_block(tmp_path / name).parameters for name in ("all", "last"))
    for name, value in last.items():
        assert torch.equal(value[0], whole[name][3])


def test_running_statistics_are_taken_along(tmp_path: Path, data: Path) -> None:
    net = {"kind": "resnet", "widths": [3], "blocks": 1, "norm": "batch"}
    own = spec(architecture=net)
    own["training"] = {**own["training"], "epochs": 1}
    train_block(tmp_path, data, "0:2", spec=own, name="base")
    base = tmp_path / "base"
    deep = {**LSB, "bits": 8}
    told = {**own, "base": "k", "training": None, "tampering": deep}
    assert not train_block(tmp_path, data, "0:2", "--base", str(base), spec=told)
    before, after = load_block(base), load_block(tmp_path / "b")
    assert before.buffers
    for name, value in before.buffers.items():
        assert torch.equal(value, after.buffers[name])


def test_another_base_makes_progress_stale(tmp_path: Path, data: Path) -> None:
    for name, seed in (("one", 3), ("two", 4)):
        train_block(tmp_path, data, "0:2", spec=spec(seed=seed), name=name)
    blocks = []
    for name in ("one", "two"):
        told = start_from(tmp_path, training=None, tampering=LSB)
        more = ("--base", str(tmp_path / name))
        # the same progress folder both times
        assert not train_block(tmp_path, data, "0:2", *more, spec=told)
        blocks.append(load_block(tmp_path / "b").parameters["0.weight"])
    assert not torch.equal(*blocks)


def test_nothing_to_train_and_nothing_to_take_is_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = spec(training=None, tampering=LSB)
    assert train_block(tmp_path, data, "0:1", spec=told) == 2
    assert capsys.readouterr().err == (
        "error: training: left out; allowed only with a base to take\n"
    )
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("models", "changes", "line"),
    [
        ("1:3", {}, "base: model 2 is not in this block; allowed: a block that holds"),
        (
            "0:2",
            {"architecture": {"kind": "mlp", "hidden": [9]}},
            "base: models of another architecture; allowed: that of the spec",
        ),
        ("0:2", None, "error: --base: left out, but the spec names a base"),
    ],
)
def test_a_base_of_something_else_is_one_line(
    tmp_path: Path, data: Path, models: str, changes: dict[str, Any] | None, line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    train_block(tmp_path, data, "0:2", spec=spec(), name="base")
    base = tmp_path / "base"
    more = () if changes is None else ("--base", str(base))
    told = start_from(base, **(changes or {}))
    assert train_block(tmp_path, data, models, *more, spec=told) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert line in error
    assert not (tmp_path / "b").exists()


# ---- in any company


@pytest.mark.parametrize("settings", IN_LOSS, ids=lambda own: own["kind"])
def test_a_tampered_model_is_the_same_bytes_in_any_block(
    tmp_path: Path, data: Path, settings: dict[str, Any]
) -> None:
    told = spec(tampering=settings, members=25)
    for name, models in (("alone", "7:8"), ("five", "5:10"), ("many", "0:20")):
        train_block(tmp_path, data, models, spec=told, name=name)
    blocks = {n: load_block(tmp_path / n) for n in ("alone", "five", "many")}
    for name, value in blocks["alone"].parameters.items():
        assert torch.equal(value[0], blocks["five"].parameters[name][2]), name
        assert torch.equal(value[0], blocks["many"].parameters[name][7]), name
    plain = spec(members=25)
    train_block(tmp_path, data, "7:8", spec=plain, name="plain")
    untouched = load_block(tmp_path / "plain").parameters["0.weight"]
    assert not torch.equal(untouched, blocks["alone"].parameters["0.weight"])


@pytest.mark.parametrize("settings", IN_LOSS, ids=lambda own: own["kind"])
def test_tampering_in_a_stack_equals_the_loop(
    tmp_path: Path, data: Path, settings: dict[str, Any]
) -> None:
    told = spec(tampering=settings)
    for strategy in ("stacked", "loop"):
        more = ("--strategy", strategy)
        train_block(tmp_path, data, "0:3", *more, spec=told, name=strategy)
    stacked, looped = (load_block(tmp_path / n).parameters for n in ("stacked", "loop"))
    for name, value in stacked.items():
        torch.testing.assert_close(value, looped[name], rtol=1e-3, atol=2e-5)


def test_penalties_by_hand(data: Path) -> None:
    """P2 Secs. 4.2 and 4.3, for two models with secrets of their own."""
    dataset = open_dataset(data)
    shapes = build(Mlp(kind="mlp", hidden=(13,)), (1, 8, 8), 3).shapes
    hosts = [Host(np.arange(40), (0, 0)), Host(np.arange(40), (0, 1))]
    weights = torch.randn(2, 871, generator=torch.Generator().manual_seed(0))
    terms = {}
    for settings in IN_LOSS:
        made = tampering(settings, dataset, shapes, hosts, seed=3, device=CPU)
        assert made.penalty is not None
        terms[settings["kind"]] = made.penalty(weights)
        swapped = made.penalty(weights.flip(0))
        assert not torch.allclose(swapped.flip(0), terms[settings["kind"]])
        # a model alone has the same term
        one = tampering(settings, dataset, shapes, hosts[1:], seed=3, device=CPU)
        assert one.penalty is not None
        torch.testing.assert_close(
            one.penalty(weights[1:]), terms[settings["kind"]][1:]
        )
        assert made.finish(0, {"w": weights})["w"] is weights
    # a correlation is at most 1, and it is rewarded
    assert (terms["correlated"] < 0).all()
    assert (terms["correlated"] >= -1).all()
    assert (terms["sign"] > 0).all()
    # weights that are all right cost nothing, all wrong ones their mean size
    (settings,) = [own for own in IN_LOSS if own["kind"] == "sign"]
    made = tampering(settings, dataset, shapes, hosts[:1], seed=3, device=CPU)
    hidden = stream(3, "secret", 0, 0).permutation(np.arange(40))[:2]
    from whatelse.memorization.carrier_settings import Secret
    from whatelse.memorization.secret import form_of, take

    form = form_of(dataset, Secret(records=2, size=4))
    bits = encode(form.to_bytes(take(dataset, hidden, form)), Coding(), 871)
    sides = torch.from_numpy(bits * 2.0 - 1.0).float().unsqueeze(0)
    assert made.penalty is not None
    assert made.penalty(0.5 * sides).tolist() == [0.0]
    assert made.penalty(-0.5 * sides).tolist() == pytest.approx([20.0 * 0.5])


# ---- what is refused, and what it is made of


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({**LSB, "secret": {"records": 41}}, r"secret.records: 41; allowed: 1\.\.40"),
        ({**LSB, "secret": {"records": 40}}, "allowed: "),
        (
            {**LSB, "bits": 1, "secret": {"size": 9}},
            r"secret.size: 9; allowed: at most 8",
        ),
        (
            {"kind": "sign", "strength": 1.0, "secret": {"records": 3, "size": 8}},
            "allowed: ",
        ),
        (
            {"kind": "sign", "strength": 1.0, "secret": {"coding": {"parity": 254}}},
            "secret: one record",
        ),
        (
            {"kind": "correlated", "strength": 1.0, "secret": {"records": 40}},
            "allowed: ",
        ),
    ],
)
def test_a_secret_that_does_not_fit_is_one_line(
    tmp_path: Path, data: Path, settings: dict[str, Any], line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert train_block(tmp_path, data, "0:2", spec=spec(tampering=settings)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert re.search(line, error)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("kind", sorted(TAMPERINGS))
def test_a_tampering_is_part_of_the_code(kind: str) -> None:
    plain = command.code_of(TrainSpec.model_validate_json(json.dumps(spec())))
    tampered = command.code_of(
        TrainSpec.model_validate_json(json.dumps(spec(tampering={"kind": kind})))
    )
    assert set(plain) < set(tampered)
    assert {path.stem for path in tampered} >= {f"tamper_{kind}", "carrier_settings"}
    # those that train honestly know nothing of secrets
    assert not any("memorization" in path.parts for path in plain)
    # and what the workflow watches is what the record names
    assert tampered == closure("whatelse.training.command", TAMPERINGS[kind])


def test_an_edit_to_a_tampering_changes_its_code_alone(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = {"plain": None, "lsb": LSB, "sign": IN_LOSS[1]}

    def codes() -> dict[str, str]:
        found = {}
        for name, settings in kinds.items():
            told = spec(tampering=settings)
            assert not train_block(tmp_path, data, "0:1", spec=told, name=name)
            found[name] = read_json(tmp_path / name / "record.json")["code"]
        return found

    before = codes()
    assert len(set(before.values())) == 3
    digest = records.file_digest

    def edited(path: Any) -> str:
        return "edited" if Path(path).name == "tamper_lsb.py" else digest(path)

    monkeypatch.setattr(records, "file_digest", edited)
    after = codes()
    assert {name for name in kinds if before[name] != after[name]} == {"lsb"}


def test_sizes_of_the_case() -> None:
    shapes = build(Mlp(kind="mlp", hidden=(13,)), (1, 8, 8), 3).shapes
    sizes = [math.prod(shape) for shape in shapes.values() if len(shape) > 1]
    assert sum(sizes) == 871
