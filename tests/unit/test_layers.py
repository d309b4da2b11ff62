"""Layers of a net: what they are, what probes find in them, the verb's attack."""

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from core_samples import train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.models.features import layers_of, module_of, pooled_to
from whatelse.models.settings import Resnet
from whatelse.models.stacked import build
from whatelse.properties.layers import _numbers
from whatelse.properties.probing import (
    components,
    convolutional,
    features_of,
    halves,
    map_of,
    probe,
)
from whatelse.records import read_json
from whatelse.training.blocks import load_block, save_tensors

COLOUR = {"attribute": "colour", "values": ["red"]}
SHAPES = {"attribute": "shape", "values": ["round"]}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net for the first feature's sign, on records whose sign of the second is red.

    A shape is drawn by lot: nothing tells it.
    """
    folder = tmp_path_factory.mktemp("layers")
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((600, 6)).astype(np.float32)
    write_dataset(
        folder / "data",
        inputs=inputs,
        labels=(inputs[:, 0] > 0).astype(np.int64),
        info={"name": "toy", "title": "Toy", "class_names": ["minus", "plus"]},
        settings={"source": "npz"},
        attributes={
            "colour": np.where(inputs[:, 1] > 0, "red", "blue").tolist(),
            "shape": np.where(rng.random(600) < 0.5, "round", "square").tolist(),
        },
    )
    spec = train_spec(
        architecture={"kind": "mlp", "hidden": [16, 8], "activation": "relu"},
        members=200,
    )
    assert train_block(folder, folder / "data", "0:1", spec=spec, name="net") == 0
    return folder


def attack(place: Path, out: Path, wanted: dict[str, Any], **settings: Any) -> int:
    told = {
        "kind": "properties.layers", "property": wanted, "records": 200, "mapped": 60,
    }  # fmt: skip
    spec = {
        "study": "s", "name": "a", "grid": {}, "seed": 3,
        "settings": {**told, **settings},
    }  # fmt: skip
    words = ["--input", "models.0", str(place / "net")]
    words += ["--input", "data", str(place / "data"), "--out", str(out)]
    return main(["attack", "--spec", json.dumps(spec), *words])


def test_layers_are_activations_and_the_end() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4),
        nn.Tanh(), nn.Linear(4, 3),
    )  # fmt: skip
    assert list(layers_of(net)) == ["2", "5", "6"]
    assert list(layers_of(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)))) == [
        "0",
        "1",
    ]
    with pytest.raises(UserError, match="no layer with parameters"):
        layers_of(nn.Sequential(nn.ReLU()))
    block = build(Resnet(kind="resnet", widths=(4, 8), blocks=1), (1, 8, 8), 2)
    assert len(layers_of(block.module())) == 1 + 2 * 2 + 1
    images = torch.randn(5, 1, 6, 6)
    found = features_of(net, images)
    assert {name: own.shape for name, own in found.items()} == {
        "2": (5, 8), "5": (5, 4), "6": (5, 3)
    }  # fmt: skip
    expected = net(images).detach().numpy()
    np.testing.assert_allclose(found["6"], expected, rtol=1e-5)


class Twice(nn.Module):
    """Uses one activation two times."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.relu = nn.ReLU()

    def forward(self, records: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.relu(self.second(self.relu(self.first(records))))
        return found


def test_a_layer_that_is_used_twice_is_two() -> None:
    found = features_of(Twice(), torch.randn(600, 3))
    assert {name: own.shape for name, own in found.items()} == {
        "relu": (600, 4), "second": (600, 2), "relu#2": (600, 2)
    }  # fmt: skip


def test_images_are_averaged_until_they_fit() -> None:
    whole = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    assert pooled_to(whole, 3 * 64).shape == (2, 192)
    small = pooled_to(whole, 3 * 16)
    assert small.shape == (2, 48)
    assert small[0, 0] == whole[0, 0, :2, :2].mean()
    assert pooled_to(whole, 2).shape == (2, 3)


def test_convolutional_layers_alone_are_averaged() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 4), nn.Tanh(),
        nn.Linear(4, 3),
    )  # fmt: skip
    assert convolutional(net, torch.randn(1, 1, 6, 6)) == {"1"}
    found = pd.DataFrame(
        [
            {
                "model": "trained", "depth": depth, "layer": layer,
                "convolutional": layer == "1", "column": column,
                "linear": 0.9 - depth / 10, "neighbours": 0.8, "majority": 0.5,
            }
            for depth, layer in enumerate(("1", "4", "5"))
            for column in ("task", "property")
        ]
    )  # fmt: skip
    assert _numbers(found)["property_probe"] == pytest.approx(0.9)
    dense = found.assign(convolutional=False)
    assert _numbers(dense)["property_probe"] == pytest.approx(0.85)


def test_one_layer_that_tells_nothing_shows_in_the_least_gain() -> None:
    """A mean over layers would hide it."""
    told = {
        # by layer: linear and neighbours, of the trained net and with random weights
        "1": (0.95, 0.90, 0.70, 0.60),
        "2": (0.45, 0.80, 0.40, 0.85),
        "3": (0.95, 0.85, 0.60, 0.50),
        "4": (0.10, 0.10, 0.90, 0.90),  # the output, which is not asked
    }
    found = pd.DataFrame(
        [
            {
                "model": model, "depth": depth, "layer": layer,
                "convolutional": layer != "4", "column": column,
                "linear": values[place] if column == "property" else 0.2,
                "neighbours": values[place + 1], "majority": 0.5,
            }
            for depth, (layer, values) in enumerate(told.items())
            for model, place in (("trained", 0), ("random weights", 2))
            for column in ("task", "property")
        ]
    )  # fmt: skip
    numbers = _numbers(found)
    assert numbers["property_probe"] > numbers["property_majority"] + 0.25
    assert {
        name: pytest.approx(value)
        for name, value in numbers.items()
        if name.startswith("property_gain")
    } == {
        "property_gain": -0.05, "property_gain_random": 0.05,
        "property_gain_neighbours": 0.3, "property_gain_neighbours_random": -0.05,
    }  # fmt: skip


def test_a_block_runs_as_a_plain_module(place: Path) -> None:
    block = load_block(place / "net")
    net = module_of(block.architecture, {k: v[0] for k, v in block.parameters.items()})
    records = torch.from_numpy(open_dataset(place / "data").floats(np.arange(7)))
    ours = net(records)
    theirs = block.architecture.forward(block.parameters, records[None])[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_probes_find_what_is_there_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((400, 30)).astype(np.float32)
    told = (features[:, 3] + features[:, 4] > 0).astype(np.int64)
    coin = rng.integers(0, 2, 400)
    fitted = halves(400, 1)
    assert fitted.sum() == 200
    points = components(features, fitted, 1)
    assert probe(points, told, fitted).linear > 0.85
    assert abs(probe(points, coin, fitted).linear - 0.5) < 0.12
    rare = (features[:, 0] > 1.2).astype(np.int64)
    found = probe(points, rare, fitted)
    assert found.majority == pytest.approx((rare[~fitted] == 0).mean())


def test_maps_keep_neighbourhoods_and_repeat() -> None:
    rng = np.random.default_rng(0)
    group = np.arange(60) % 3
    points = (rng.standard_normal((60, 5)) + 12 * group[:, None]).astype(np.float32)
    placed = map_of(points, 1)
    assert (placed == map_of(points, 1)).all()
    for number in range(3):
        own, others = placed[group == number], placed[group != number]
        centre = own.mean(0)
        assert np.linalg.norm(own - centre, axis=1).max() < (
            np.linalg.norm(others - centre, axis=1).min()
        )


def test_a_property_is_found_in_hidden_layers(place: Path, tmp_path: Path) -> None:
    assert attack(place, tmp_path, COLOUR) == 0
    metrics = read_json(tmp_path / "metrics.json")
    summary = {name: own["mean"] for name, own in metrics["summary"].items()}
    assert summary["property_probe"] > summary["property_majority"] + 0.15
    assert (
        0.05
        < summary["property_gain"]
        <= (summary["property_probe"] - summary["property_majority"])
    )
    assert summary["task_probe"] > 0.85
    assert summary["task_correlation"] < 0.2
    (report,) = metrics["replicates"]
    assert report["controls"]["positive"]["auc"]["value"] > 0.9
    assert report["controls"]["negative"]["p_value"] > 0.001
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert len(curves) == 2 * 3 * 2  # nets, layers, task and property
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert len(scores) == 3 * 60
    assert summary["property_majority"] == 0.5  # as many of either kind
    # held out ones alone
    block = load_block(place / "net")
    assert not block.plan.train[0][scores["record"]].any()
    dataset = open_dataset(place / "data")
    red = (dataset.attributes["colour"] == "red").to_numpy()
    assert (scores["has_it"] == red[scores["record"]]).all()


def test_a_property_that_nothing_tells_is_not_found(
    place: Path, tmp_path: Path
) -> None:
    assert attack(place, tmp_path, SHAPES) == 0
    summary = read_json(tmp_path / "metrics.json")["summary"]
    gain = summary["property_probe"]["mean"] - summary["property_majority"]["mean"]
    assert gain < 0.1


def test_bad_input_is_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(place, tmp_path / "out", {"attribute": "x", "values": ["y"]}) == 2
    assert "property.attribute: 'x'" in capsys.readouterr().err
    spec = train_spec(architecture={"kind": "mlp", "hidden": []}, members=200)
    data = place / "data"
    assert train_block(tmp_path, data, "0:1", spec=spec, name="net") == 0
    (tmp_path / "data").symlink_to(data)
    assert attack(tmp_path, tmp_path / "out", COLOUR) == 2
    assert "a net without hidden layers" in capsys.readouterr().err
    small = {"records": 39}
    with pytest.raises(ValueError, match="records"):
        attack(place, tmp_path / "out", COLOUR, **small)
    assert not (tmp_path / "out").exists()


NET = """
import torch
from torch import nn


def make():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))


def wrong():
    return 3


def told(width):
    return make()


def learned():
    net = make()
    with torch.no_grad():
        for part in net.parameters():
            part.fill_(0.5)
    return net


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, records):
        return records * self.scale


def own():
    return nn.Sequential(Own(), nn.ReLU(), nn.Linear(6, 2))


class Asserting(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 2)

    def forward(self, records):
        assert records.shape[1] == 7, "seven columns"
        return self.last(records)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A user's file, weights and records: layer 1 passes a property on."""
    rng = np.random.default_rng(3)
    inputs = rng.standard_normal((300, 6)).astype(np.float32)
    (tmp_path / "net.py").write_text(NET)
    state = {
        "0.weight": torch.zeros(16, 6), "0.bias": torch.zeros(16),
        "2.weight": torch.zeros(2, 16), "2.bias": torch.zeros(2),
    }  # fmt: skip
    state["0.weight"][0, 0], state["0.weight"][1, 1] = 1, 1
    state["2.weight"][1, 0] = 1
    save_tensors(tmp_path / "net.safetensors", state)
    np.savez(
        tmp_path / "data.npz", inputs=inputs, labels=inputs[:, 0] > 0,
        property=inputs[:, 1] > 0,
    )  # fmt: skip
    return tmp_path


def layers(own: Path, net: str = "net.py:make", **files: str) -> int:
    named = {"weights": "net.safetensors", "data": "data.npz", **files}
    words = [w for k, v in named.items() for w in (f"--{k}", str(own / v))]
    return main(["layers", str(own / net), *words])


def test_layers_of_a_net_of_ones_own(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert layers(own) == 0
    said = capsys.readouterr().out
    assert layers(own) == 0
    assert (again := capsys.readouterr()).out == said
    nets, columns, _, first, last, majority = again.out.splitlines()
    assert nets.split()[-4:] == ["trained", "net", "random", "weights"]
    assert columns.split() == ["task", "property"] * 2
    name, *found = first.split()
    assert name == "1"
    assert len(found) == 8
    task, near, told, told_near, *_ = map(float, found)
    assert min(task, near, told, told_near) > 0.85
    name, *found = last.split()
    assert name == "2"
    task, near, told, told_near, *drawn = map(float, found)
    assert min(task, near) > 0.9
    assert drawn[0] < task  # random weights do not know the task
    assert max(told, told_near) < 0.65  # the end knows the task alone
    assert majority.split()[0] == "majority"


def test_the_manuals_example_runs(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    manual = (repository / "config" / "README.md").read_text()
    (code,) = (
        part.removeprefix("python")
        for part in manual.split("```")
        if part.startswith("python") and "def net():" in part
    )
    (line,) = (
        line.split()
        for line in manual.splitlines()
        if line.startswith("    whatelse layers ")
    )
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "mine.py"], check=True)
    assert main(line[1:]) == 0
    first = next(
        row for row in capsys.readouterr().out.splitlines() if row.startswith("  1 ")
    )
    assert float(first.split()[1]) > 0.8  # below five or not
    assert (tmp_path / "sheet" / "figure.png").is_file()


def test_the_sheet_of_a_net_of_ones_own(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert layers(own, out="sheet") == 0
    said = capsys.readouterr().out.splitlines()
    data = pd.read_csv(own / "sheet" / "data.csv")
    table = data.set_index(["model", "layer", "column"])
    for place, (model, column) in enumerate(
        itertools.product(("trained", "random weights"), ("task", "property"))
    ):
        row = table.loc[(model, 1, column)]
        assert said[3].split()[1 + 2 * place : 3 + 2 * place] == [
            f"{row['linear']:.3f}", f"{row['neighbours']:.3f}"
        ]  # fmt: skip
    scores = pd.read_parquet(own / "sheet" / "scores.parquet")
    assert len(scores) == 2 * 300
    for name in ("figure.png", "figure.pdf"):
        assert (own / "sheet" / name).stat().st_size > 10_000


def test_random_weights_are_drawn_though_the_function_loads_a_net(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a function returns may have learned: it is no baseline as it is."""
    found = []
    for function in ("make", "learned"):
        assert layers(own, f"net.py:{function}") == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("def make(:\n", "net.py: SyntaxError: "),
        ("import no_such_module\n", "net.py: ModuleNotFoundError: No module named"),
        ("raise AssertionError\n", "net.py: AssertionError; allowed: a file that"),
    ],
)
def test_a_file_that_does_not_run(
    own: Path, text: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "net.py").write_text(text)
    assert layers(own) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_torch_save_is_told_by_its_name(
    own: Path, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(
        {"0.bias": torch.zeros(16)}, own / "net.pt",
        _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    assert layers(own, weights="net.pt") == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "torch.save" in said
    assert "safetensors.torch.save_file" in said


@pytest.mark.parametrize(
    ("net", "files", "line"),
    [
        ("none.py:make", {}, "no such file; allowed: FILE.py:FUNCTION"),
        ("net.py:told", {}, "missing 1 required positional argument: 'width'; allowed"),
        ("net.py:own", {}, "0 (Own) has weights and no reset_parameters()"),
        ("net.py:Asserting", {}, "(300, 6): AssertionError: seven columns; allowed"),
        ("net.py:other", {}, "has no 'other'"),
        ("net.py:wrong", {}, "returns int; allowed: a torch.nn.Module"),
        ("net.py:make", {"weights": "data.npz"}, "not a safetensors file"),
        (
            "net.py:make",
            {"weights": "short.safetensors"},
            "0.bias: missing, the net has (16,)",
        ),
        ("net.py:make", {"data": "net.safetensors"}, "net.safetensors"),
        ("net.py:make", {"data": "few.npz"}, "inputs, labels, property: 9, 9, 9 rows"),
        ("net.py:make", {"data": "part.npz"}, "allowed: inputs, labels, property"),
        ("net.py:make", {"data": "one.npz"}, "property: one value alone"),
        ("net.py:make", {"data": "wide.npz"}, "inputs of shape (300, 9)"),
        ("net.py:make", {"data": "cut.npz"}, "cut.npz: not an .npz file"),
    ],
)
def test_files_of_ones_own_that_do_not_fit(
    own: Path, net: str, files: dict[str, str], line: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    whole = dict(np.load(own / "data.npz"))
    np.savez(own / "few.npz", **{k: v[:9] for k, v in whole.items()})
    np.savez(own / "part.npz", inputs=whole["inputs"])
    np.savez(own / "wide.npz", **{**whole, "inputs": np.zeros((300, 9))})
    (own / "cut.npz").write_bytes((own / "data.npz").read_bytes()[:900])
    np.savez(own / "one.npz", **{**whole, "property": np.zeros(300)})
    save_tensors(own / "short.safetensors", {"0.weight": torch.zeros(2, 6)})
    assert layers(own, net, **files) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert line in said
