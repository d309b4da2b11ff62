"""Attributes told from representations, taken out of them, and put back."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from core_samples import train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import write_dataset
from whatelse.errors import UserError
from whatelse.properties.censoring import (
    classifier,
    cut,
    fit,
    perceptron,
    put_back,
    represent,
)
from whatelse.properties.settings import Fitting
from whatelse.records import read_json
from whatelse.seeding import stream
from whatelse.training.blocks import load_tensors, save_tensors

QUICK = {"learning_rate": 0.005, "epochs": 40, "batch_size": 64}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net for the sum of two features; a colour is the sign of one of them.

    A kind is drawn by lot.
    """
    folder = tmp_path_factory.mktemp("representations")
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((1200, 5)).astype(np.float32)
    write_dataset(
        folder / "data",
        inputs=inputs,
        labels=(inputs[:, 0] + inputs[:, 1] > 0).astype(np.int64),
        info={"name": "toy", "title": "Toy", "class_names": ["minus", "plus"]},
        settings={"source": "npz"},
        attributes={
            "colour": np.digitize(inputs[:, 2], [-0.5, 0.5]).astype(str).tolist(),
            "lot": rng.integers(0, 2, 1200).astype(str).tolist(),
            "rare": ["yes"] + ["no"] * 1199,
        },
    )
    spec = train_spec(
        architecture={"kind": "mlp", "hidden": [16], "activation": "relu"},
        members=500,
        training={
            "optimizer": {"kind": "adam", "learning_rate": 0.01}, "epochs": 15,
            "batch_size": 50,
        },
    )  # fmt: skip
    assert train_block(folder, folder / "data", "0:1", spec=spec, name="net") == 0
    return folder


def attack(place: Path, out: Path, **settings: Any) -> int:
    told = {
        "kind": "properties.representation", "attribute": "colour", "fitting": QUICK,
        "attacker": {**QUICK, "epochs": 20}, **settings,
    }  # fmt: skip
    spec = {"study": "s", "name": "a", "grid": {}, "seed": 3, "settings": told}
    words = ["--input", "models.0", str(place / "net")]
    words += ["--input", "data", str(place / "data"), "--out", str(out)]
    return main(["attack", "--spec", json.dumps(spec), *words])


def means(out: Path) -> dict[str, float]:
    metrics = read_json(out / "metrics.json")
    return {name: own["mean"] for name, own in metrics["summary"].items()}


def test_a_plain_net_tells_more_than_its_task(place: Path, tmp_path: Path) -> None:
    assert attack(place, tmp_path) == 0
    found = means(tmp_path)
    assert found["test_accuracy"] > 0.9
    assert found["attribute_accuracy"] > found["attribute_majority"] + 0.25
    assert "decensored_accuracy" not in found
    (report,) = read_json(tmp_path / "metrics.json")["replicates"]
    assert report["controls"]["positive"]["auc"]["value"] > 0.9
    assert report["controls"]["negative"]["p_value"] > 0.001
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    right = (scores["value"] == scores["told"]).mean()
    assert right == pytest.approx(found["attribute_accuracy"])


def test_what_nothing_tells_is_not_told(place: Path, tmp_path: Path) -> None:
    assert attack(place, tmp_path, attribute="lot") == 0
    assert abs(means(tmp_path)["attribute_accuracy"] - 0.5) < 0.12


@pytest.mark.parametrize(
    "defence",
    [
        {"kind": "adversarial", "gamma": 1.0},
        {"kind": "information", "beta": 0.05, "reconstruction": 0.0},
    ],
    ids=["adversarial", "information"],
)
def test_censoring_takes_the_attribute_out(
    place: Path, tmp_path: Path, defence: dict[str, Any]
) -> None:
    assert attack(place, tmp_path / "plain") == 0
    assert attack(place, tmp_path / "censored", defence=defence) == 0
    plain, found = means(tmp_path / "plain"), means(tmp_path / "censored")
    assert found["test_accuracy"] > 0.85
    assert found["attribute_accuracy"] < plain["attribute_accuracy"] - 0.15
    assert 0.2 < found["decensored_accuracy"] <= plain["attribute_accuracy"] + 0.05


def test_de_censoring_does_without_the_victims_own_net(
    place: Path, tmp_path: Path
) -> None:
    """A victim whose net was lost: the attacker trained one of its own."""
    shutil.copytree(place / "net", tmp_path / "net")
    (tmp_path / "data").symlink_to(place / "data")
    weights = tmp_path / "net" / "models.safetensors"
    lost = {k: torch.zeros_like(v) for k, v in load_tensors(weights).items()}
    save_tensors(weights, lost)
    told = {"defence": {"kind": "adversarial"}, "fitting": {**QUICK, "epochs": 2}}
    assert attack(place, tmp_path / "first", **told) == 0
    assert attack(tmp_path, tmp_path / "second", **told) == 0
    assert means(tmp_path / "first") == means(tmp_path / "second")


def test_a_net_that_learned_nothing_tells_too(place: Path, tmp_path: Path) -> None:
    assert attack(place, tmp_path, defence={"kind": "random-weights"}) == 0
    found = means(tmp_path)
    assert found["attribute_accuracy"] > found["attribute_majority"] + 0.2
    assert found["test_accuracy"] < 0.8


def test_results_repeat(place: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        told = {"defence": {"kind": "adversarial"}, "fitting": {**QUICK, "epochs": 2}}
        assert attack(place, tmp_path / name, **told) == 0
    first, second = (tmp_path / n / "metrics.json" for n in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()


def test_what_was_lost_to_a_rotation_is_put_back() -> None:
    rng = np.random.default_rng(0)
    plain = torch.from_numpy(rng.standard_normal((400, 4)).astype(np.float32))
    turn = torch.from_numpy(np.linalg.qr(rng.standard_normal((4, 4)))[0]).float()
    fitting = Fitting(learning_rate=0.01, epochs=60, batch_size=50)
    back = put_back(plain @ turn, plain, fitting, 1, ("x",))
    error = (represent(back, plain @ turn) - plain).square().mean()
    assert error < 0.05


def test_the_attackers_net_learns_what_is_there() -> None:
    rng = np.random.default_rng(0)
    points = torch.from_numpy(rng.standard_normal((300, 4)).astype(np.float32))
    column = (points[:, 0] > 0).numpy().astype(np.int64)
    fitting = Fitting(learning_rate=0.005, epochs=30, batch_size=50)
    net = classifier(points, column, fitting, 1, ("x",))
    assert (net(points).argmax(1).numpy() == column).mean() > 0.95
    again = classifier(points, column, fitting, 1, ("x",))
    assert torch.equal(net(points), again(points))


def test_nets_are_drawn_from_a_stream_and_cut_before_the_end() -> None:
    one, same, other = (
        perceptron((3, 5, 2), stream(1, name)) for name in ("a", "a", "b")
    )
    assert [type(part) for part in one] == [nn.Linear, nn.ReLU, nn.Linear]
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    encoder = cut(one)
    points = torch.randn(4, 3)
    assert torch.equal(encoder.head(encoder.body(points)), one(points))
    with pytest.raises(UserError, match="not a sequence of layers"):
        cut(nn.Linear(3, 2))
    before = one[0].weight.clone()
    fit(one, lambda rows: one(points[rows]).square().mean(), 4, Fitting(), 1, ("x",))
    assert not torch.equal(one[0].weight, before)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"attribute": "size"}, "attribute: 'size': no attribute of toy; allowed:"),
        ({"attribute": "rare"}, "not all values in both"),
    ],
)
def test_bad_input_is_one_line(
    place: Path, tmp_path: Path, settings: dict[str, Any], line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert attack(place, tmp_path / "out", **settings) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
