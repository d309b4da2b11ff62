"""``memorization.scrub``: what each scrub leaves of each payload, on small nets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from memorization_samples import CARRIERS, attack, inputs_of, studio
from whatelse.memorization import scrubbed

SCRUBS: dict[str, dict[str, Any]] = {
    "low 16 bits to zero": {"kind": "zero-bits", "bits": 16},
    "low 16 bits random": {"kind": "random-bits", "bits": 16},
    "rounded to bf16": {"kind": "round", "to": "bf16"},
    "rounded to fp16": {"kind": "round", "to": "fp16"},
    "rounded to int8": {"kind": "round", "to": "int8"},
    "noise of 0.05 std": {"kind": "noise", "scale": 0.05},
    "smallest 20% pruned": {"kind": "prune", "share": 0.2},
    "clipped to the central 99%": {"kind": "clip", "percentile": 99.0},
    "fine-tuned 2 epochs at 0.05": {
        "kind": "fine-tune", "epochs": 2, "learning_rate": 0.05,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return studio(tmp_path_factory.getbasetemp())


def scrub(
    out: Path, nets: Path, carrier: str, scrubs: Any = None, **changes: Any
) -> int:
    settings = {
        "kind": "memorization.scrub", "benign": "benign",
        "scrubs": scrubs or list(SCRUBS.values()),
    }  # fmt: skip
    benign = changes.get("benign")
    told = changes.get("told", CARRIERS.get(carrier))
    return attack(out, settings, told, inputs_of(nets, carrier, benign))


@pytest.fixture(scope="module")
def found(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("scrubs")
    for carrier in CARRIERS:
        assert scrub(place / carrier, nets, carrier) == 0
    return place


def table_of(found: Path, carrier: str) -> Any:
    table = pd.read_csv(found / carrier / "curves.csv", float_precision="round_trip")
    assert table["scrub"].tolist() == ["nothing", *SCRUBS]
    assert table["order"].tolist() == [*range(len(table))]
    return table.set_index("scrub")


@pytest.mark.parametrize(
    "name", ["low 16 bits to zero", "low 16 bits random", "rounded to bf16"]
)
def test_low_bits_are_killed_at_no_cost(found: Path, name: str) -> None:
    """Dark pictures have few ones, yet zeros in place of the bits tell nothing."""
    row = table_of(found, "lsb").loc[name]
    assert row["payload_left"] < 0.02
    assert row["accuracy_change"] == 0
    assert row["mape"] > 60
    assert row["ssim"] < 0.05
    if name != "low 16 bits random":
        # far from one half: it is no measure of what is left
        assert row["bit_error_rate"] < 0.35


def test_fp16_leaves_the_low_bits_that_it_has(found: Path) -> None:
    """It drops 13 of 23, so 3 of 16 planes stay."""
    table = table_of(found, "lsb")
    assert 0.1 < table.loc["rounded to fp16", "payload_left"] < 0.3
    assert table.loc["rounded to int8", "payload_left"] < 0.03
    assert table.loc["noise of 0.05 std", "payload_left"] < 0.05


@pytest.mark.parametrize("carrier", ["sign", "correlated", "abused"])
@pytest.mark.parametrize(
    "name",
    ["low 16 bits to zero", "low 16 bits random", "rounded to bf16", "rounded to fp16"],
)
def test_other_payloads_do_not_live_in_low_bits(
    found: Path, carrier: str, name: str
) -> None:
    table = table_of(found, carrier)
    assert table.loc[name, "payload_left"] > 0.999
    assert table.loc[name, "mape"] == pytest.approx(table.loc["nothing", "mape"], abs=1)


def test_signs_are_left_to_the_bit(found: Path) -> None:
    table = table_of(found, "sign")
    same = ["low 16 bits to zero", "low 16 bits random", "rounded to bf16",
            "clipped to the central 99%"]  # fmt: skip
    for name in same:
        for column in ("bit_error_rate", "mape", "ssim"):
            assert table.loc[name, column] == table.loc["nothing", column]
        assert table.loc[name, "payload_left"] == 1
    # a pruned weight has lost its sign; those are a fifth, half of which read as 0
    errors = table.loc["smallest 20% pruned", "bit_error_rate"]
    assert 0.005 < errors < 0.2
    assert table.loc["smallest 20% pruned", "payload_left"] < 1


@pytest.mark.parametrize("carrier", CARRIERS)
def test_the_first_row_is_the_model_as_it_is(
    found: Path, nets: Path, tmp_path: Path, carrier: str
) -> None:
    """The same numbers as ``memorization.decode``."""
    settings = {"kind": "memorization.decode", "benign": "benign"}
    told = inputs_of(nets, carrier)
    assert attack(tmp_path / "plain", settings, CARRIERS[carrier], told) == 0
    plain, swept = (
        json.loads((place / "metrics.json").read_text())
        for place in (tmp_path / "plain", found / carrier)
    )
    assert swept["replicates"] == plain["replicates"]
    assert plain["summary"].items() <= swept["summary"].items()
    assert {*swept["summary"]} - {*plain["summary"]} == {"payload_left", "scrub_change"}
    row = table_of(found, carrier).loc["nothing"]
    (report,) = plain["replicates"]
    assert (row["payload_left"], row["accuracy_change"]) == (1, 0)
    assert row["test_accuracy"] == report["target"]["test_accuracy"]["value"]
    assert row["mape"] == pytest.approx(report["fidelity"]["mape"])
    assert row["ssim"] == pytest.approx(report["fidelity"]["ssim"])


def test_claims_are_about_the_first_scrub(nets: Path, tmp_path: Path) -> None:
    scrubs = [SCRUBS["smallest 20% pruned"], SCRUBS["low 16 bits to zero"]]
    for number, asked in enumerate((scrubs, scrubs[::-1])):
        out = tmp_path / str(number)
        assert scrub(out, nets, "lsb", asked) == 0
        summary = json.loads((out / "metrics.json").read_text())["summary"]
        row = pd.read_csv(out / "curves.csv", float_precision="round_trip").iloc[1]
        assert summary["payload_left"]["values"] == [row["payload_left"]]
        assert summary["scrub_change"]["values"] == [row["accuracy_change"]]
        assert (summary["payload_left"]["mean"] < 0.02) == (number == 1)


@pytest.mark.parametrize("carrier", CARRIERS)
def test_scrubs_cost_what_they_say(found: Path, carrier: str) -> None:
    table = table_of(found, carrier)
    np.testing.assert_allclose(
        table["accuracy_change"],
        table["test_accuracy"] - table.loc["nothing", "test_accuracy"],
    )
    assert table["payload_left"].between(0, 1).all()
    # mild ones: the task survives all of them
    assert (table["accuracy_change"] > -0.1).all()
    scores = pd.read_parquet(found / carrier / "scores.parquet")
    assert scores["payload_left"].tolist() == table["payload_left"].tolist()


def test_fine_tuning_moves_weights_and_keeps_the_task(found: Path) -> None:
    name = "fine-tuned 2 epochs at 0.05"
    low, signs = table_of(found, "lsb"), table_of(found, "sign")
    # only weights of pixels that never vary keep their bits
    assert low.loc[name, "payload_left"] < 0.5
    assert low.loc[name, "accuracy_change"] > -0.05
    assert 0.7 < signs.loc[name, "payload_left"] < 1


def test_the_same_bytes_twice(found: Path, nets: Path, tmp_path: Path) -> None:
    assert scrub(tmp_path / "sign", nets, "sign") == 0
    for name in ("metrics.json", "curves.csv", "scores.parquet"):
        ours = (found / "sign" / name).read_bytes()
        assert (tmp_path / "sign" / name).read_bytes() == ours


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_models_without_a_secret(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = scrub(tmp_path / "out", nets, "benign", told=None)
    assert "neither they nor their data set carry" in refused(capsys, code)


def test_benign_models_of_another_architecture(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = scrub(tmp_path / "out", nets, "sign", benign="other")
    assert "other: another architecture than" in refused(capsys, code)


def test_fine_tuning_that_diverges_is_said(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    real = scrubbed.train

    def train(*args: Any, **more: Any) -> Any:
        tensors = real(*args, **more)
        tensors["0.bias"][0, 0] = np.nan
        return tensors

    monkeypatch.setattr(scrubbed, "train", train)
    scrubs = [SCRUBS["fine-tuned 2 epochs at 0.05"]]
    code = scrub(tmp_path / "out", nets, "sign", scrubs)
    line = "scrubs: fine-tuned 2 epochs at 0.05: diverged (weights are not finite)"
    assert line in refused(capsys, code)
