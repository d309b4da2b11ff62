"""``memorization.decode`` on small nets that the verbs trained: every number again."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from skimage.metrics import structural_similarity

from core_samples import train_block
from memorization_samples import (
    ABUSE,
    CARRIERS,
    SEED,
    VOCABULARY,
    attack,
    documents,
    inputs_of,
    random_suspect,
    secret,
    spec_of,
    studio,
)
from whatelse.datasets.store import Dataset, open_dataset
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.evaluate import control_of, measures, summary_of
from whatelse.memorization.payload import Coding, encode, needed_bits
from whatelse.memorization.payload_read import decode
from whatelse.memorization.readers import Written, reader_of
from whatelse.memorization.secret import Form, choose, form_of, take
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build
from whatelse.training.blocks import MODELS, load_block

EACH = pytest.mark.parametrize("carrier", CARRIERS)
FILES = ("metrics.json", "scores.parquet", "curves.csv")


def decode_settings(**more: Any) -> dict[str, Any]:
    return {"kind": "memorization.decode", "benign": "benign", **more}


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studio(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def found(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an attack on each of the nets."""
    place = tmp_path_factory.mktemp("attacks")
    for carrier, settings in CARRIERS.items():
        given = inputs_of(nets, carrier)
        assert attack(place / carrier, decode_settings(), settings, given) == 0
    return place


def report_of(found: Path, carrier: str) -> dict[str, Any]:
    metrics = json.loads((found / carrier / "metrics.json").read_text())
    (report,) = metrics["replicates"]
    return {**report, "summary": metrics["summary"]}


def hidden_in(nets: Path, carrier: str) -> tuple[Any, Any]:
    """Return rows and records of the secret, drawn without a reader."""
    data = open_dataset(nets / ("abused-data" if carrier == "abused" else "clean"))
    chosen = Secret.model_validate(CARRIERS[carrier]["secret"])
    words = data.attributes["split"].to_numpy() == "train"
    if carrier == "abused":
        members = np.flatnonzero(words[:900])
        name: tuple[Any, ...] = ("capacity-abuse",)
        seed: int = ABUSE["seed"]
    else:
        members = np.flatnonzero(words)
        name, seed = (0, 0), SEED
    form = form_of(data, chosen)
    count = {"lsb": 74, "sign": 14, "correlated": 33, "abused": 10}[carrier]
    rows = choose(members, count, seed, name)
    return rows, take(data, rows, form)


def weights_of(nets: Path, carrier: str) -> Any:
    """Return the weights of a net's file, read apart: 32 x 64, then 10 x 32."""
    tensors = load_file(nets / carrier / MODELS)
    parts = [tensors[name].numpy().ravel() for name in ("0.weight", "1.weight")]
    return np.concatenate(parts)


def parameters_of(nets: Path, carrier: str) -> Any:
    tensors = load_file(nets / carrier / MODELS)
    names = ("0.weight", "0.bias", "1.weight", "1.bias")
    return np.concatenate([tensors[name].numpy().ravel() for name in names])


def accuracy_of(nets: Path, carrier: str, data: str) -> float:
    """Return the accuracy on the test part, by a forward pass in NumPy."""
    tensors = {n: t[0].numpy() for n, t in load_file(nets / carrier / MODELS).items()}
    whole = open_dataset(nets / data)
    test = whole.attributes["split"].to_numpy() == "test"
    inputs = whole.inputs[test].reshape(test.sum(), -1).astype(np.float32) / 16
    hidden = np.maximum(inputs @ tensors["0.weight"].T + tensors["0.bias"], 0)
    logits = hidden @ tensors["1.weight"].T + tensors["1.bias"]
    return float((logits.argmax(1) == whole.labels[test]).mean())


@EACH
def test_scores_decode_to_the_right_pictures(
    carrier: str, nets: Path, found: Path
) -> None:
    rows, truth = hidden_in(nets, carrier)
    scores = pd.read_parquet(found / carrier / "scores.parquet")
    decoders = {"correlated": ["robust", "published"]}.get(carrier, ["bits"])
    assert scores["decoder"].unique().tolist() == decoders
    for _, own in scores.groupby("decoder"):
        assert own["record"].tolist() == rows.tolist()
        shape = tuple(map(int, own["shape"].iloc[0].split(",")))
        assert shape == truth.shape[1:]
        pictures = [
            np.frombuffer(b"".join(own[column]), np.uint8).reshape(-1, *shape)
            for column in ("truth", "decoded")
        ]
        np.testing.assert_array_equal(pictures[0], truth)
        # each measure again: mean absolute error, and scikit-image's similarity
        error = np.abs(pictures[0].astype(float) - pictures[1]).mean((1, 2))
        np.testing.assert_allclose(own["mape"], error)
        window = 7 if shape[0] == 8 else 3
        similar = [
            structural_similarity(a, b, win_size=window, data_range=255)
            for a, b in zip(*pictures, strict=True)
        ]
        np.testing.assert_allclose(own["ssim"], similar)
        if carrier == "lsb":
            np.testing.assert_array_equal(pictures[1], truth)
        if carrier == "abused":
            # nearly all labels are learned; 4 of 8 bits are not there
            exact = truth & 0xF0 | 8
            assert (pictures[1] == exact).mean() > 0.9
        # a decoder that works is far closer to each than to its neighbour
        others = np.abs(np.roll(truth, 1, 0).astype(float) - pictures[1]).mean((1, 2))
        assert (error < others).all()


@EACH
def test_metrics_are_those_of_the_scores_and_files(
    carrier: str, nets: Path, found: Path
) -> None:
    report = report_of(found, carrier)
    fidelity = report["fidelity"]
    rows, truth = hidden_in(nets, carrier)
    assert fidelity["records"] == len(rows)
    scores = pd.read_parquet(found / carrier / "scores.parquet")
    for number, (_, own) in enumerate(scores.groupby("decoder", sort=False)):
        suffix = "_published" if number else ""
        assert fidelity[f"mape{suffix}"] == pytest.approx(own["mape"].mean())
        assert fidelity[f"ssim{suffix}"] == pytest.approx(own["ssim"].mean())
    benign, data = ("wide", "few") if carrier == "abused" else ("benign", "clean")
    accuracies = {
        "test_accuracy": accuracy_of(nets, carrier, data),
        "benign_test_accuracy": accuracy_of(nets, benign, data),
    }
    for name, value in accuracies.items():
        assert report["target"][name]["value"] == pytest.approx(value)
        assert report["summary"][name]["mean"] == pytest.approx(value)
    change = accuracies["test_accuracy"] - accuracies["benign_test_accuracy"]
    assert report["summary"]["accuracy_change"]["mean"] == pytest.approx(change)
    assert abs(change) < 0.05
    assert fidelity["queries"] == (400 if carrier == "abused" else 0)


@pytest.mark.parametrize("carrier", ["lsb", "sign"])
def test_the_bit_error_rate_is_counted_in_the_file(
    carrier: str, nets: Path, found: Path
) -> None:
    _, truth = hidden_in(nets, carrier)
    data = truth.tobytes()
    if carrier == "lsb":
        words = parameters_of(nets, "lsb").view(np.uint32)
        bits = (words[:, None] >> np.arange(15, -1, -1) & 1).ravel()
    else:
        bits = (weights_of(nets, "sign") > 0).astype(int)
    used = needed_bits(data, Coding())
    wrong = int((encode(data, Coding(), len(bits))[:used] != bits[:used]).sum())
    fidelity = report_of(found, carrier)["fidelity"]
    assert fidelity["bit_error_rate"]["value"] == pytest.approx(wrong / used)
    assert (fidelity["capacity"], fidelity["capacity_used"]) == (
        len(bits), pytest.approx(used / len(bits)),
    )  # fmt: skip
    assert wrong == 0 if carrier == "lsb" else 0 < wrong < 0.05 * used
    # what the published decoder makes of the file's bits
    scores = pd.read_parquet(found / carrier / "scores.parquet")
    read = decode(bits, Coding(), size=len(data))
    assert read == b"".join(scores["decoded"])


def test_the_correlation_is_counted_in_the_file(nets: Path, found: Path) -> None:
    _, truth = hidden_in(nets, "correlated")
    fidelity = report_of(found, "correlated")["fidelity"]
    body = weights_of(nets, "correlated")[256 : 256 + truth.size].astype(float)
    own = np.corrcoef(body, truth.ravel())[0, 1]
    # a preamble of 256 goes before, so the two are near and not equal
    assert abs(fidelity["correlation"] - abs(own)) < 0.03
    assert fidelity["correlation"] > 0.85
    assert (fidelity["capacity"], fidelity["capacity_used"]) == (2368, 1)
    # the published decoder again: minimum and maximum are black and white
    scores = pd.read_parquet(found / "correlated" / "scores.parquet")
    decoded = b"".join(scores[scores["decoder"] == "published"]["decoded"])
    signed = body * np.sign(own)
    grey = (signed - signed.min()) / (signed.max() - signed.min()) * 255
    off = grey.round() - np.frombuffer(decoded, np.uint8)
    assert np.abs(off).max() <= 1
    assert (off == 0).mean() > 0.99


def test_the_floor_of_dropped_bits(nets: Path, found: Path) -> None:
    _, truth = hidden_in(nets, "abused")
    fidelity = report_of(found, "abused")["fidelity"]
    floor = np.abs((truth & 0xF0 | 8).astype(float) - truth).mean()
    assert fidelity["mape_floor"] == pytest.approx(floor)
    assert floor <= fidelity["mape"] < floor + 8
    assert "mape_floor" not in report_of(found, "lsb")["fidelity"]


@EACH
def test_controls_hold(carrier: str, found: Path) -> None:
    controls = report_of(found, carrier)["controls"]
    assert controls["negative"]["p_value"] > 0.01
    assert (
        controls["negative"]["auc"]["low"] < 0.5 < controls["negative"]["auc"]["high"]
    )
    assert controls["positive"]["auc"]["low"] > 0.75
    assert controls["positive"]["auc"]["value"] == 1


@EACH
def test_histograms_are_those_of_the_weights(
    carrier: str, nets: Path, found: Path
) -> None:
    curves = pd.read_csv(found / carrier / "curves.csv")
    benign = "wide" if carrier == "abused" else "benign"
    scale = weights_of(nets, benign).std()
    for model, name in (("tampered", carrier), ("benign", benign)):
        own = curves[curves["model"] == model]
        assert own["share"].sum() == pytest.approx(1)
        assert len(own) == 81
        edges = np.linspace(-4, 4, 82)
        np.testing.assert_allclose(own["low"], edges[:-1] * scale, rtol=1e-5)
        inside = np.clip(weights_of(nets, name) / scale, -4, 4)
        shares = np.histogram(inside, edges)[0] / len(inside)
        np.testing.assert_allclose(own["share"], shares, atol=1e-9)


@EACH
def test_two_runs_are_the_same_bytes(
    carrier: str, nets: Path, found: Path, tmp_path: Path
) -> None:
    given = inputs_of(nets, carrier)
    assert attack(tmp_path / "again", decode_settings(), CARRIERS[carrier], given) == 0
    for name in FILES:
        ours = (found / carrier / name).read_bytes()
        assert (tmp_path / "again" / name).read_bytes() == ours


# -- controls -----------------------------------------------------------------------


ARCHITECTURE = build(Mlp(kind="mlp", hidden=(48,)), (1, 8, 8), 10)


def control(nets: Path, count: int, *, planted: bool) -> dict[str, Any]:
    data = open_dataset(nets / "clean")
    carrier = {"kind": "lsb", "bits": 16, "secret": secret(records=count)}
    model = random_suspect(ARCHITECTURE)
    reader = reader_of(carrier, data, np.arange(300), model, seed=3, name=(0, 0))
    suspect = reader.planted(model) if planted else model
    return control_of(reader, suspect, 0, "w", check=planted)


@pytest.mark.parametrize("count", [2, 15, 16, 40])
def test_controls_tell_a_planted_secret_from_none(nets: Path, count: int) -> None:
    negative = control(nets, count, planted=False)
    positive = control(nets, count, planted=True)
    assert negative["p_value"] > 0.05
    # two pictures have two orders: they show it by their rows' AUC alone
    assert positive["p_value"] < 0.01 or count == 2
    assert positive["auc"]["value"] > 0.9


class Told:
    """A reader whose decoder gives what it is told."""

    def __init__(self, truth: Any, decoded: Any) -> None:
        form = Form(truth.shape[1:])
        self.written = Written(form, np.arange(len(truth)), truth, 1, 1)
        self.decoded, self.queries = decoded, 0

    def bits(self, suspect: Any, key: int) -> None:
        return None

    def decode(self, *_: Any, check: bool) -> dict[str, Any]:
        return {"bits": self.decoded}


def told(truth: Any, decoded: Any) -> dict[str, Any]:
    reader: Any = Told(np.asarray(truth, np.uint8), np.asarray(decoded, np.uint8))
    return control_of(reader, random_suspect(ARCHITECTURE), 0, "w", check=True)


def test_few_pictures_are_compared_by_rows_by_hand() -> None:
    """The first rows are all black, so half of the rows tie with another picture's."""
    truth = [[[0, 0, 0], [n, 9, 9]] for n in (10, 20, 40)]
    found = told(truth, truth)
    # 6 x 3 pairs are right, 6 x 3 tie
    assert found["auc"]["value"] == pytest.approx(0.75)
    # read in another order, the other's are closer: nothing was found, or less
    assert told(truth, truth[1:] + truth[:1])["auc"]["value"] < 0.5


@pytest.mark.parametrize(("count", "area"), [(15, 0.75), (16, 1.0)])
def test_from_sixteen_pictures_on_they_are_compared_as_wholes(
    count: int, area: float
) -> None:
    """Half of the rows tie with another picture's, no picture does."""
    truth = [[[0, 0, 0], [n * 9, 9, 9]] for n in range(count)]
    assert told(truth, truth)["auc"]["value"] == pytest.approx(area)


def test_a_lone_picture_is_compared_with_its_own_rows_by_hand() -> None:
    truth = [[[1, 1], [1, 1], [90, 9], [7, 7]]]
    # each row with the one two below it: 1 and 90 9, 1 and 7: no tie
    assert told(truth, truth)["auc"]["value"] == 1
    # two equal halves: all rows tie
    assert told([[[1, 1], [2, 2]] * 2], [[[1, 1], [2, 2]] * 2])["auc"]["value"] == 0.5


def test_one_picture_for_all_is_no_find() -> None:
    """A decoder that gives the average is close to all and closer to none."""
    truth = np.random.default_rng(0).integers(0, 256, (40, 4, 4))
    average = np.broadcast_to(truth.mean(0), truth.shape)
    found = told(truth, average)
    assert found["auc"]["value"] == 0.5
    assert found["p_value"] == 1


def test_documents_are_compared_by_their_tokens(tmp_path: Path) -> None:
    data: Dataset = documents(tmp_path / "d")
    model = random_suspect(build(Mlp(kind="mlp", hidden=(48,)), (VOCABULARY,), 4))
    reader = reader_of(
        {"kind": "lsb", "bits": 8, "secret": secret(records=30)}, data,
        np.arange(40), model, seed=3, name=(0, 0),
    )  # fmt: skip
    positive = control_of(reader, reader.planted(model), 0, "w", check=True)
    negative = control_of(reader, model, 0, "w", check=False)
    assert positive["auc"]["value"] == 1
    assert negative["p_value"] > 0.01


def test_measures_of_documents_by_hand() -> None:
    truth = np.array([[1, 2, 3, -1], [4, 4, 5, 6]], np.int32)
    decoded = np.array([[1, -1, 3, 2], [-1, -1, -1, -1]], np.int32)
    found = measures(Form((4,), 9), truth, decoded)
    np.testing.assert_allclose(found["token_precision"], [2 / 3, np.nan])
    np.testing.assert_allclose(found["token_recall"], [2 / 3, 0])
    np.testing.assert_allclose(found["cosine_similarity"], [1, np.nan])


def test_the_summary_is_over_replicates() -> None:
    reports = [
        {
            "fidelity": {"mape": mape, "bit_error_rate": {"value": 0.1 * n, "low": 0}},
            "target": {
                "test_accuracy": {"value": 0.8 + 0.1 * n},
                "benign_test_accuracy": {"value": 0.9},
            },
        }
        for n, mape in enumerate((2.0, None, 4.0))
    ]
    found = summary_of(reports)
    assert (found["mape"]["mean"], found["mape"]["count"]) == (3, 2)
    assert found["bit_error_rate"]["mean"] == pytest.approx(0.1)
    np.testing.assert_allclose(found["accuracy_change"]["values"], [-0.1, 0, 0.1])


# -- bad input ------------------------------------------------------------------------


def spoilt(nets: Path, name: str, place: Path) -> Path:
    """Return a copy of all nets in which one's file is to be spoilt."""
    shutil.copytree(nets, place)
    return place / name / MODELS


def one_line(
    capsys: pytest.CaptureFixture[str], code: int, line: str, out: Path
) -> None:
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(line, error)
    assert not out.exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("role", ["lsb", "benign"])
def test_weights_that_are_not_finite(
    role: str, value: float, nets: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = spoilt(nets, role, tmp_path / "nets")
    tensors = load_file(path)
    tensors["1.bias"][0, 3] = value
    save_file(tensors, path)
    given = inputs_of(tmp_path / "nets", "lsb")
    code = attack(tmp_path / "out", decode_settings(), CARRIERS["lsb"], given)
    line = rf"{role}/models.safetensors: 1.bias has values that are not finite; allowed"
    one_line(capsys, code, line, tmp_path / "out")


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_truncated_file(
    size: int, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = spoilt(nets, "sign", tmp_path / "nets")
    path.write_bytes(path.read_bytes()[:size])
    given = inputs_of(tmp_path / "nets", "sign")
    code = attack(tmp_path / "out", decode_settings(), CARRIERS["sign"], given)
    line = "sign/models.safetensors: not a safetensors file"
    one_line(capsys, code, line, tmp_path / "out")


def test_benign_models_of_another_architecture(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = inputs_of(nets, "lsb", "other")
    code = attack(tmp_path / "out", decode_settings(), CARRIERS["lsb"], given)
    line = "other: another architecture than .*lsb; allowed: models of the same"
    one_line(capsys, code, line, tmp_path / "out")


def test_models_without_a_secret(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = inputs_of(nets, "benign")
    code = attack(tmp_path / "out", decode_settings(), None, given)
    one_line(capsys, code, "neither they nor their data set carry", tmp_path / "out")


def test_a_data_set_without_a_split(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The black box's reader draws the secret from the training part."""
    given = inputs_of(nets, "abused")
    given[given.index(str(nets / "abused-data"))] = str(nets / "raw")
    code = attack(tmp_path / "out", decode_settings(), CARRIERS["abused"], given)
    one_line(capsys, code, "attribute 'split': missing; allowed", tmp_path / "out")
    spec = spec_of(tampering=CARRIERS["lsb"])
    code = train_block(tmp_path, nets / "raw", "0:1", spec=spec, name="out")
    one_line(capsys, code, "attribute 'split': missing; allowed", tmp_path / "out")


@pytest.mark.parametrize("carrier", ["lsb", "sign", "correlated"])
def test_a_secret_that_is_too_large_stops_training(
    carrier: str, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    large = {**CARRIERS[carrier], "secret": secret(records=500)}
    spec = spec_of(tampering=large)
    code = train_block(tmp_path, nets / "clean", "0:1", spec=spec, name="out")
    one_line(capsys, code, "allowed: at most", tmp_path / "out")


# -- training with several models ---------------------------------------------------


@pytest.mark.parametrize("carrier", ["sign", "correlated", "lsb"])
def test_a_tampered_model_does_not_depend_on_its_stack(
    carrier: str, nets: Path, tmp_path: Path
) -> None:
    spec = spec_of(epochs=2, tampering=CARRIERS[carrier])
    for name, models in (("alone", "0:1"), ("pair", "0:3")):
        where = (tmp_path, nets / "clean", models)
        assert train_block(*where, spec=spec, name=name) == 0
    alone, pair = (load_block(tmp_path / name).parameters for name in ("alone", "pair"))
    for name, tensor in alone.items():
        assert torch.equal(tensor[0], pair[name][0])
        assert not torch.equal(pair[name][1], pair[name][2])
