"""A user's own outputs: read in two forms, malformed ones refused in one line."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.models.external import read_external
from whatelse.models.outputs import load_outputs
from whatelse.records import read_json
from whatelse.studies.resolve import load_study

GOOD: dict[str, Any] = {
    "probabilities": np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]),
    "labels": np.array([0, 1, 1, 0]),
    "member": np.array([True, True, False, False]),
}


def npz(path: Path, **changes: Any) -> Path:
    arrays = {n: v for n, v in {**GOOD, **changes}.items() if v is not None}
    np.savez(path, **arrays)
    return path


def parquet(path: Path, **changes: Any) -> Path:
    columns = {
        "probability_0": GOOD["probabilities"][:, 0],
        "probability_1": GOOD["probabilities"][:, 1],
        "label": GOOD["labels"],
        "member": GOOD["member"],
        **changes,
    }
    frame = pd.DataFrame({n: v for n, v in columns.items() if v is not None})
    frame.to_parquet(path)
    return path


@pytest.mark.parametrize("make", [npz, parquet])
def test_both_forms_are_read_alike(tmp_path: Path, make: Any) -> None:
    suffix = ".npz" if make is npz else ".parquet"
    read = read_external(make(tmp_path / f"mine{suffix}"), "Mine")
    np.testing.assert_allclose(read.probabilities, GOOD["probabilities"], rtol=1e-6)
    assert read.label.tolist() == [0, 1, 1, 0]
    assert read.member.tolist() == [True, True, False, False]
    assert read.model.tolist() == [0] * 4
    assert read.about["title"] == "Mine"
    assert (read.about["records"], read.about["classes"]) == (4, 2)


@pytest.mark.parametrize(
    "same",
    [
        {"member": np.array([1, 1, 0, 0])},
        {"member": np.array([1.0, 1.0, 0.0, 0.0])},
        {"labels": np.array([0, 1, 1, 0], dtype=np.uint8)},
        {"labels": np.array([0.0, 1.0, 1.0, 0.0])},
        {"probabilities": GOOD["probabilities"].astype(np.float16)},
        {"extra": np.zeros(7)},
    ],
)
def test_other_types_of_the_same_values(tmp_path: Path, same: dict[str, Any]) -> None:
    read = read_external(npz(tmp_path / "mine.npz", **same), "")
    assert read.label.tolist() == [0, 1, 1, 0]
    assert read.member.tolist() == [True, True, False, False]
    assert read.probabilities.dtype == np.float32


def test_rows_of_shadows_are_told_from_the_target(tmp_path: Path) -> None:
    read = read_external(npz(tmp_path / "m.npz", model=np.array([0, 1, 0, 1])), "")
    assert read.model.tolist() == [0, 1, 0, 1]
    assert read.about["records"] == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": None}, "labels is missing, there are: member, probabilities"),
        ({"member": None}, "member is missing"),
        ({"probabilities": None}, "probabilities is missing"),
        ({"probabilities": np.full(4, 0.5)}, r"shape \(4,\); allowed: \(rows, classes"),
        ({"probabilities": np.ones((4, 1))}, "at least 2 classes"),
        ({"labels": np.zeros(5, dtype=int)}, r"labels: shape \(5,\); allowed: \(4,\)"),
        ({"member": np.ones((4, 1))}, r"member: shape \(4, 1\)"),
        ({"model": np.zeros(3)}, r"model: shape \(3,\)"),
        ({"labels": np.array([0, 1, 2, 0])}, "labels: 2 in row 2; .*0..1"),
        ({"labels": np.array([0, -1, 1, 0])}, "labels: -1 in row 1"),
        ({"labels": np.array([0, 0.5, 1, 0])}, "labels: 0.5 in row 1; .*whole numbers"),
        ({"labels": np.array([0, 1, 1, np.nan])}, "labels: nan in row 3"),
        ({"labels": np.array([0, 1, np.inf, 0])}, "labels: inf in row 2"),
        ({"labels": np.array(["cat", "dog", "dog", "cat"])}, "labels: not numbers"),
        ({"member": np.array([2, 1, 0, 0])}, "member: 2 in row 0; .*0..1"),
        ({"model": np.array([0, -1, 0, 0])}, "model: -1 in row 1"),
        ({"member": np.ones(4)}, "4 members among 4 rows; allowed: at least one"),
        ({"member": np.zeros(4)}, "0 members among 4 rows"),
        ({"model": np.ones(4)}, "0 members among 0 rows"),
        ({"probabilities": np.full((4, 2), np.nan)}, "probabilities: row 0"),
        ({"probabilities": np.array([[np.inf, -np.inf]] * 4)}, "row 0 is .inf, -inf"),
        ({"probabilities": np.array([[3.2, -1.0]] * 4)}, "logits are no probabilities"),
        ({"probabilities": np.array([[0.9, 0.9]] * 4)}, "a sum of at most 1"),
        ({"probabilities": np.array([["a", "b"]] * 4)}, "probabilities: not numbers"),
        ({"labels": np.array([{}] * 4, dtype=object)}, "not an .npz of plain arrays"),
    ],
)
def test_malformed_arrays_are_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = npz(tmp_path / "mine.npz", **changes)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning would be a second line
        with pytest.raises(UserError, match=message) as caught:
            read_external(path, "")
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "labels is missing"),
        ({"probability_1": None}, "at least 2 classes"),
        ({"probability_0": None}, "probabilities is missing"),
        ({"member": [True, None, False, False]}, "member: "),
        ({"label": ["a", "b", "b", "a"]}, "labels: not numbers"),
        ({"probability_0": ["x", "y", "z", "w"]}, "probabilities: not numbers"),
    ],
)
def test_malformed_tables_are_one_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_external(parquet(tmp_path / "mine.parquet", **changes), "")


def damaged(whole: bytes, how: str) -> bytes:
    if how == "bits":
        middle = len(whole) // 3
        return whole[:middle] + bytes(64) + whole[middle + 64 :]
    return {"half": whole[: len(whole) // 2], "empty": b"", "text": b"0,1\n"}[how]


@pytest.mark.parametrize("how", ["half", "empty", "text", "bits"])
@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_npz(tmp_path: Path, how: str, compressed: bool) -> None:
    path = tmp_path / "mine.npz"
    noise = np.random.default_rng(0).random((500, 2)) / 2
    (np.savez_compressed if compressed else np.savez)(path, probabilities=noise)
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(UserError, match="mine.npz: not an .npz of plain arrays"):
        read_external(path, "")


@pytest.mark.parametrize("how", ["half", "empty", "text"])
def test_a_damaged_table(tmp_path: Path, how: str) -> None:
    path = parquet(tmp_path / "mine.parquet")
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(UserError, match="mine.parquet: not a parquet table"):
        read_external(path, "")


def test_one_array_is_no_npz(tmp_path: Path) -> None:
    with open(tmp_path / "mine.npz", "wb") as file:
        np.save(file, GOOD["probabilities"])
    with pytest.raises(UserError, match="one array; allowed: an .npz file"):
        read_external(tmp_path / "mine.npz", "")


@pytest.mark.parametrize("name", ["mine.npz", "mine.parquet"])
def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name}: no such file"):
        read_external(tmp_path / name, "")


def overfit_model(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of scikit-learn's regression; return scores and membership."""
    rng = np.random.default_rng(4)
    features = rng.normal(size=(200, 60))
    labels = (features[:, 0] + rng.normal(size=200) > 0).astype(int)
    member = np.arange(200) < 100
    model = LogisticRegression(C=100).fit(features[member], labels[member])
    probabilities = model.predict_proba(features).astype(np.float32)
    np.savez(path, probabilities=probabilities, labels=labels, member=member)
    return np.log(probabilities[np.arange(200), labels]), member


def test_three_commands_give_the_auc_of_scikit_learn(tmp_path: Path) -> None:
    """audit writes the study; its steps then find what scikit-learn computes."""
    scores, member = overfit_model(tmp_path / "mine.npz")
    study = tmp_path / "my-audit.yaml"
    assert main(["audit", str(tmp_path / "mine.npz"), "--out", str(study)]) == 0
    resolved = load_study(study, tmp_path / "results")
    (imported,) = resolved.of("import")
    (attack,) = resolved.of("attack")
    assert main(["import", "--spec", imported.spec_json, "--out", imported.folder]) == 0
    code = main(
        [
            "attack", "--spec", attack.spec_json,
            "--input", "outputs.0", imported.folder, "--out", attack.folder,
        ]
    )  # fmt: skip
    assert code == 0
    metrics = read_json(Path(attack.folder) / "metrics.json")
    ours = metrics["replicates"][0]["attack"]["auc"]["value"]
    assert ours == pytest.approx(roc_auc_score(member, scores), abs=1e-12)
    assert 0.6 < ours < 1
    assert metrics["dataset"]["remarks"] == ["outputs brought by the user"]
    # what was imported is what the user gave
    stored = load_outputs([Path(imported.folder)])
    np.testing.assert_array_equal(stored.member, member)


def test_an_audit_with_shadows_asks_for_both_attacks(tmp_path: Path) -> None:
    path = npz(tmp_path / "mine.npz", model=np.array([0, 1, 0, 1]))
    assert main(["audit", str(path), "--out", str(tmp_path / "a.yaml")]) == 0
    assert sorted(yaml.safe_load((tmp_path / "a.yaml").read_text())["attacks"]) == [
        "shadow", "threshold",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["Mine.yaml", "-.yaml", "mine.yml", "é.yaml", "a b.yaml"])  # fmt: skip  # noqa: E501
def test_an_audit_writes_only_studies_that_can_be_read(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = npz(tmp_path / "mine.npz")
    assert main(["audit", str(path), "--out", str(tmp_path / name)]) == 2
    assert "allowed: a name of" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


def test_outputs_that_are_refused_leave_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = npz(tmp_path / "mine.npz", labels=np.array([0, 1, 2, 0]))
    spec = f'{{"path": "{path}"}}'
    assert main(["import", "--spec", spec, "--out", str(tmp_path / "o")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "o").exists()
