"""``memorization.low-bits``: every b is exact, and its price is counted again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memorization_samples import SEED, attack, inputs_of, secret, studio
from whatelse.datasets.store import open_dataset
from whatelse.memorization.carrier_settings import Secret
from whatelse.memorization.low_bits import write_low_bits
from whatelse.memorization.payload import Coding, encode
from whatelse.memorization.secret import choose, form_of, take
from whatelse.memorization.suspect import Suspect, load_suspects
from whatelse.memorization.sweep import from_file


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studio(tmp_path_factory.getbasetemp())


def sweep(out: Path, nets: Path, **coding: Any) -> int:
    settings = {"kind": "memorization.low-bits", "secret": secret(**coding)}
    return attack(out, settings, None, inputs_of(nets, "benign"))


@pytest.fixture(scope="module")
def found(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sweep") / "out"
    assert sweep(out, nets) == 0
    return out


def test_every_b_is_exact(found: Path) -> None:
    curves = pd.read_csv(found / "curves.csv")
    assert curves["bits"].tolist() == [*range(1, 28)]
    assert (curves["exact"] == 1).all()
    assert (curves["bit_error_rate"] == 0).all()
    # (2,410 parameters x b - 544) / 512 bits of a picture
    fit = [(2410 * bits - 544) // 512 for bits in range(1, 28)]
    assert curves["records"].tolist() == fit


def accuracy_of(model: Suspect, data: Any) -> float:
    """Return the accuracy on the test part, by a forward pass in NumPy."""
    test = data.attributes["split"].to_numpy() == "test"
    inputs = data.inputs[test].reshape(test.sum(), -1).astype(np.float32) / 16
    weights = {name: tensor.numpy() for name, tensor in model.tensors.items()}
    with np.errstate(all="ignore"):
        hidden = np.maximum(inputs @ weights["0.weight"].T + weights["0.bias"], 0)
        logits = hidden @ weights["1.weight"].T + weights["1.bias"]
    return float((logits.argmax(1) == data.labels[test]).mean())


def test_accuracies_are_those_of_models_with_the_payload(
    found: Path, nets: Path
) -> None:
    curves: Any = pd.read_csv(found / "curves.csv").set_index("bits")
    data = open_dataset(nets / "clean")
    _, (model, *_) = load_suspects(nets / "benign")
    members = np.flatnonzero(data.attributes["split"].to_numpy() == "train")
    form = form_of(data, Secret())
    for bits in (1, 8, 16, 20, 22, 23, 25):
        count = int(curves.loc[bits, "records"])
        rows = choose(members, count, SEED, (0, 0))
        hidden = form.to_bytes(take(data, rows, form))
        stream = encode(hidden, Coding(), 2410 * bits)
        changed = model.with_parameters(write_low_bits(model.parameters, stream, bits))
        got = curves.loc[bits, "test_accuracy"]
        assert got == pytest.approx(accuracy_of(changed, data), abs=0.004)
    report = json.loads((found / "metrics.json").read_text())["replicates"][0]
    before = accuracy_of(model, data)
    assert report["target"]["test_accuracy"]["value"] == pytest.approx(before)
    # low bits are free, exponents are not
    assert curves.loc[16, "test_accuracy"] == pytest.approx(before, abs=0.004)
    assert curves.loc[27, "test_accuracy"] < 0.5


def test_the_largest_lossless_b(found: Path) -> None:
    curves = pd.read_csv(found / "curves.csv")
    metrics = json.loads((found / "metrics.json").read_text())
    (report,) = metrics["replicates"]
    least = report["target"]["test_accuracy"]["value"] - 0.002
    lossless = report["fidelity"]["lossless_bits"]
    kept = curves["test_accuracy"] >= least - 1e-9
    assert kept[:lossless].all()
    assert not kept[lossless]
    assert 12 <= lossless <= 23
    assert metrics["summary"]["lossless_bits"]["mean"] == lossless
    assert report["controls"]["negative"]["p_value"] > 0.01
    assert report["controls"]["positive"]["auc"]["value"] == 1


def test_the_same_bytes_twice(found: Path, nets: Path, tmp_path: Path) -> None:
    assert sweep(tmp_path / "again", nets) == 0
    for name in ("metrics.json", "curves.csv", "scores.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (found / name).read_bytes()


def test_other_codings_are_exact_too(nets: Path, tmp_path: Path) -> None:
    told = {"compress": True, "encrypt": True, "parity": 8, "key": 4, "size": 4}
    assert sweep(tmp_path / "out", nets, **told) == 0
    curves = pd.read_csv(tmp_path / "out" / "curves.csv")
    assert (curves["exact"] == 1).all()


def test_a_secret_too_large_for_one_bit_is_refused(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tmp_path / "out", nets, records=4) == 2
    error = capsys.readouterr().err
    assert "256 bytes need 2,592 bits; allowed: at most 2,410" in error
    assert error.count("\n") == 1


def test_a_model_comes_back_from_its_file_bit_by_bit(nets: Path) -> None:
    """Not even what is no number is changed: 27 bits may make it."""
    _, (model, *_) = load_suspects(nets / "benign")
    words = np.random.default_rng(0).integers(0, 2**32, 2410, dtype=np.uint32)
    odd = model.with_parameters(words.view(np.float32))
    assert not np.isfinite(odd.parameters).all()
    back = from_file(odd)
    np.testing.assert_array_equal(back.parameters.view(np.uint32), words)
    assert list(back.tensors) == list(model.tensors)
