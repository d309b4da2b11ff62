"""``whatelse check`` and the JSON schema of study files."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.studies.check import schema
from whatelse.studies.resolve import load_study


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(schema())


def studies(repository: Path) -> list[Path]:
    found = sorted((repository / "config" / "studies").glob("*.yaml"))
    assert found
    return found


def test_the_schema_on_disk_is_that_of_the_code(repository: Path) -> None:
    """If this fails: whatelse check --schema config/schema.json."""
    stored = json.loads((repository / "config" / "schema.json").read_text())
    assert stored == schema()


def test_the_verb_writes_the_schema(repository: Path, tmp_path: Path) -> None:
    assert main(["check", "--schema", str(tmp_path / "s.json")]) == 0
    stored = (repository / "config" / "schema.json").read_bytes()
    assert (tmp_path / "s.json").read_bytes() == stored


def test_every_study_of_the_house_is_good_by_schema_and_by_code(
    repository: Path,
    validator: jsonschema.Draft202012Validator,
    capsys: pytest.CaptureFixture[str],
) -> None:
    paths = studies(repository)
    for path in paths:
        validator.validate(yaml.safe_load(path.read_text()))
    assert main(["check", *map(str, paths)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [str(path) for path in paths]


BASE: dict[str, Any] = {
    "study": "toy",
    "question": "membership",
    "title": "T",
    "seed": 1,
    "datasets": {"d": {"source": "digits"}},
    "models": {
        "m": {
            "dataset": "d",
            "architecture": {"kind": "mlp"},
            "training": {"optimizer": {"kind": "adam"}, "epochs": 1},
            "members": 10,
            "shadows": 2,
        }
    },
    "attacks": {"a": {"kind": "membership.shadow", "models": "m"}},
}


SPLIT = {"kind": "split", "members": 900}


@pytest.mark.parametrize(
    ("path", "value", "good"),
    [
        ("seed", 2, True),
        ("models/m/foreach", {"members": [1, 2]}, True),
        ("models/m/members", 2, True),
        ("models/x", {"external": "mine.npz"}, True),
        ("releases", {"r": {"kind": "top", "count": 3}}, True),
        ("datasets/c", {"from": "d", "preprocess": SPLIT}, True),
        ("models/x", {"from": "m", "tampering": {"kind": "lsb", "bits": 3}}, True),
        ("models/m/tampering", {"kind": "sign", "strength": 2.0}, True),
        ("models/m/training/schedule", {"kind": "one-cycle"}, True),
        ("models/m/shadows", 0, True),
        ("models/m/shadow_data", {"kind": "noisy", "share": 0.2}, True),
        (
            "attacks/b",
            {"kind": "memorization.low-bits", "models": "m", "secret": {"size": 8}},
            True,
        ),
        ("datasets/c", {"from": "d", "preprocess": {**SPLIT, "members": 1}}, False),
        ("models/x", {"from": "m", "members": 5}, False),
        ("models/m/tampering", {"kind": "lsb", "bits": 24}, False),
        ("models/m/split", "published", False),
        ("models/m/shadow_data", {"kind": "noisy", "share": 2.0}, False),
        ("sede", 2, False),
        ("seed", "1", False),
        ("models/m/membres", 2, False),
        ("models/m/members", 1, False),
        ("models/m/training/optimizer/learning_rate", "1e-3", False),
        ("models/m/foreach", {"members": []}, False),
        ("models/Big Name", {"external": "mine.npz"}, False),
        ("attacks/a/kind", "membership.magic", False),
        ("datasets/d/source", "nowhere", False),
    ],
)
def test_an_editor_marks_what_the_code_refuses(
    validator: jsonschema.Draft202012Validator,
    tmp_path: Path,
    path: str,
    value: Any,
    good: bool,
) -> None:
    study = json.loads(json.dumps(BASE))
    *parents, last = path.split("/")
    place = study
    for part in parents:
        place = place[part]
    place[last] = value
    assert validator.is_valid(study) is good
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(study))
    if good and "foreach" not in path:
        load_study(file)
    if not good:
        with pytest.raises(UserError):
            load_study(file)


def test_what_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(BASE))
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out == (
        f"{file}: 1 data sets, 3 models in 1 blocks, 1 attacks, 0 figures, 0 claims\n"
    )


def test_nothing_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 2
    assert capsys.readouterr().err.startswith("error: nothing to check")


def test_a_wrong_file_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump({**BASE, "sede": 1}))
    assert main(["check", str(file), "--schema", str(tmp_path / "s.json")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {file}: sede: unknown key; allowed: attacks, ")
    assert line.endswith("releases, seed, study, title")
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("name", ["backdoors-blogs", "backdoors-cifar10"])
def test_what_was_tried_starts_from_the_same_models(
    repository: Path, name: str
) -> None:
    """An edit of one study alone would train hundreds of rounds anew."""
    studies = repository / "config" / "studies"
    own, tried = (
        load_study(studies / f"{file}.yaml", Path("results"))
        for file in (name, f"{name}-tried")
    )
    known = {joint.folder for joint in own.of("collaborate")}
    started = {
        joint.folder
        for joint in tried.of("collaborate")
        if joint.labels["entry"] in ("converged", "fine", "settled")
    }
    assert len(started) >= 2
    assert started <= known


def test_the_manuals_studies_are_studies(repository: Path, tmp_path: Path) -> None:
    manual = (repository / "config" / "README.md").read_text()
    found = [
        part.removeprefix("yaml\n")
        for part in manual.split("```")
        if part.startswith("yaml\nstudy: ")
    ]
    assert len(found) >= 2
    for text in found:
        path = tmp_path / f"{yaml.safe_load(text)['study']}.yaml"
        path.write_text(text)
        assert main(["check", str(path)]) == 0


@pytest.mark.parametrize(
    ("rate", "rounds", "warned"),
    [(0.1, [9], True), (0.1, [10], False), (1.0, [0], True), (1.0, [1], False),
     (0.1, None, False)],
)  # fmt: skip
def test_a_model_that_cannot_have_learned_before_the_attack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rate: float,
    rounds: list[int] | None, *, warned: bool,
) -> None:  # fmt: skip
    """P4's trap, where the study's file tells already: less than one mean change."""
    joint: dict[str, Any] = {
        "dataset": "d", "architecture": {"kind": "mlp", "hidden": [4]},
        "collaboration": {
            "kind": "averaging", "rounds": 20, "weights": "equal", "server_rate": rate,
        },
        "participants": 4,
        "adversary": {
            "kind": "backdoor", "backdoor": {"kind": "cluster", "of": "1"},
            "target": "2", "rounds": rounds,
            "training": {
                "optimizer": {"kind": "sgd", "learning_rate": 0.1}, "epochs": 1,
            },
        },
    }  # fmt: skip
    study = {
        "study": "toy", "question": "backdoors", "title": "T", "seed": 1,
        "datasets": {"d": {"source": "digits"}}, "models": {"joint": joint},
        "attacks": {"a": {"kind": "backdoors.evaluate", "models": "joint"}},
    }  # fmt: skip
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(study))
    assert main(["check", str(path)]) == 0
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {path}: models.joint: ") == warned
    assert ("start from one that has converged (from:)" in said) == warned
    # what starts from another may be attacked at once
    study["models"] = {
        "base": {**joint, "adversary": {**joint["adversary"], "rounds": []}},
        "joint": {**joint, "from": "base"},
    }
    path.write_text(yaml.safe_dump(study))
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().err == ""
