"""``memorization.detect`` on two dozen innocent nets and four tampered ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from core_samples import train_block
from memorization_samples import (
    LSB,
    attack,
    derive,
    digits,
    documents,
    pictures,
    secret,
    spec_of,
)
from whatelse.datasets.store import open_dataset
from whatelse.memorization.detect import _Look
from whatelse.memorization.low_bits import read_low_bits
from whatelse.memorization.suspect import load_suspects

ENCRYPTED = {"kind": "lsb", "bits": 16, "secret": secret(encrypt=True)}
HIDDEN = (64,)


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train 12 nets that set limits, 14 others between these, and tampered ones."""
    place = tmp_path_factory.mktemp("detect")
    data = derive(
        {"kind": "split", "members": 600}, digits(place / "raw"), place / "clean"
    )

    def made(name: str, models: str, *more: str, **spec: Any) -> None:
        told = spec_of(**{"hidden": HIDDEN, "epochs": 6, **spec})
        assert train_block(place, data, models, *more, spec=told, name=name) == 0

    made("innocent", "0:6")
    made("also", "0:6", rate=0.005, epochs=12, seed=78)
    made("unseen", "0:14", rate=0.007, epochs=9, seed=79)
    made("small", "0:12", hidden=(63,), epochs=1)
    base = {"training": None, "base": "unseen"}
    made("plain", "0:1", "--base", str(place / "unseen"), tampering=LSB, **base)
    made("hidden", "0:1", "--base", str(place / "unseen"), tampering=ENCRYPTED, **base)
    sign = {"kind": "sign", "strength": 50.0, "secret": secret(size=4)}
    made("sign", "0:1", epochs=40, tampering=sign)
    return place


def detect(
    out: Path, place: Path, suspects: list[str], *, innocent: str = "innocent also",
    unseen: str = "unseen", data: str = "clean",
) -> int:  # fmt: skip
    settings = {"kind": "memorization.detect", "innocent": "i", "unseen": "u"}
    roles = {"data": data, "innocent.models.0": innocent, "unseen.models.0": unseen}
    roles |= {f"models.{n}": name for n, name in enumerate(suspects)}
    told = [
        word
        for role, names in roles.items()
        for word in ("--input", role, *(str(place / f) for f in names.split()))
    ]
    return attack(out, settings, LSB, told)


@pytest.fixture(scope="module")
def found(nets: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("attack") / "out"
    assert detect(out, nets, ["plain", "unseen", "sign"]) == 0
    return out


def reports_of(found: Path) -> list[dict[str, Any]]:
    reports: list[dict[str, Any]] = json.loads((found / "metrics.json").read_text())[
        "replicates"
    ]
    return reports


def test_plain_pictures_in_low_bits_are_flagged(found: Path) -> None:
    plain, innocent, _ = (report["detection"] for report in reports_of(found))
    assert plain["detected"] == 1
    assert plain["score"] > 1
    assert plain["statistic"].startswith("bits.")
    assert plain["groups"]["bits"] == plain["score"]
    # the same net before anything was written
    assert innocent["detected"] == 0
    assert innocent["score"] <= 1
    assert innocent["score"] < plain["score"] / 2


def test_false_alarms_and_finds_are_counted(found: Path) -> None:
    scores = pd.read_parquet(found / "scores.parquet")
    assert scores["role"].value_counts().to_dict() == {
        "unseen": 14, "planted": 14, "suspect": 3,
    }  # fmt: skip
    assert (scores["flagged"] == (scores["score"] > 1)).all()
    alarms = int(scores[scores["role"] == "unseen"]["flagged"].sum())
    assert alarms <= 2
    assert scores[scores["role"] == "planted"]["flagged"].all()
    reports = reports_of(found)
    for report in reports:
        assert report["detection"]["false_alarms"]["value"] == alarms / 14
        negative = report["controls"]["negative"]
        p = binomtest(alarms, 14, 0.05, alternative="greater").pvalue
        assert negative["p_value"] == pytest.approx(p)
        assert report["controls"]["positive"]["auc"]["value"] == 1
        assert report["controls"]["positive"]["auc"]["low"] > 0.75
    suspects = scores[scores["role"] == "suspect"]
    assert suspects["replicate"].tolist() == [0, 1, 2]
    for (_, row), report in zip(suspects.iterrows(), reports, strict=True):
        assert row["score"] == report["detection"]["score"]
    summary = json.loads((found / "metrics.json").read_text())["summary"]
    assert summary["detected"]["mean"] == suspects["flagged"].mean()
    assert summary["false_alarms"]["mean"] == alarms / 14


def test_the_suspect_among_the_unseen_scores_as_there(found: Path) -> None:
    scores = pd.read_parquet(found / "scores.parquet")
    among = scores[(scores["role"] == "unseen") & (scores["model"] == 0)]
    alone = scores[(scores["role"] == "suspect") & (scores["replicate"] == 1)]
    assert among["score"].item() == alone["score"].item()


def test_the_same_bytes_twice(found: Path, nets: Path, tmp_path: Path) -> None:
    assert detect(tmp_path / "again", nets, ["plain", "unseen", "sign"]) == 0
    for name in ("metrics.json", "curves.csv", "scores.parquet"):
        assert (tmp_path / "again" / name).read_bytes() == (found / name).read_bytes()


def test_plain_bits_show_in_shares_and_encrypted_ones_do_not(nets: Path) -> None:
    """Dark pictures have few ones; encrypted, they are fair coins like any weight's."""
    look = _Look(open_dataset(nets / "clean"), 64, 3)
    plain, hidden, innocent = (
        look(load_suspects(nets / name)[1][0]) for name in ("plain", "hidden", "unseen")
    )
    for plane in range(8):
        share = f"bits.share.{plane}"
        assert abs(hidden[share]) < 3
    worst = max(abs(plain[f"bits.share.{plane}"]) for plane in range(14))
    assert worst > 5
    assert max(abs(innocent[f"bits.share.{plane}"]) for plane in range(14)) < 5


def test_what_the_control_plants_is_the_auditors_own(nets: Path) -> None:
    """The first test pictures, over and over, in the low 16 bits of everything."""
    data = open_dataset(nets / "clean")
    look = _Look(data, 64, 3)
    _, (model, *_) = load_suspects(nets / "unseen")
    planted = look.plant(model)
    test = np.flatnonzero(data.attributes["split"].to_numpy() == "test")[:256]
    grey = np.rint(data.inputs[test, 0] * (255 / 16)).astype(np.uint8)
    bits = np.unpackbits(grey.ravel())
    stream = read_low_bits(planted.parameters, 16)
    np.testing.assert_array_equal(stream, np.resize(bits, len(stream)))
    np.testing.assert_array_equal(
        planted.parameters.view(np.uint32) >> 16, model.parameters.view(np.uint32) >> 16
    )


def refused(capsys: pytest.CaptureFixture[str], code: int) -> str:
    assert code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_too_few_innocents(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = detect(tmp_path / "out", nets, ["plain"], innocent="sign")
    assert "innocents: has 1 models; allowed: 8 or more" in refused(capsys, code)


@pytest.mark.parametrize("role", ["innocent", "unseen"])
def test_other_architectures_are_refused(
    role: str, nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = {role: "small"}
    code = detect(tmp_path / "out", nets, ["plain"], **told)
    assert "another architecture than the first innocent" in refused(capsys, code)


def test_a_data_set_without_a_split(
    nets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = detect(tmp_path / "out", nets, ["plain"], data="raw")
    assert "attribute 'split': missing; allowed" in refused(capsys, code)


def test_documents_and_faces_can_be_looked_at(tmp_path: Path) -> None:
    words = _Look(documents(tmp_path / "w"), 64, 3)
    assert words._images is None
    assert words._noise.num_records == 64
    faces = _Look(pictures(tmp_path / "f"), 32, 3)
    assert faces._images is not None
    assert faces._images.shape == (20, 8, 8)
