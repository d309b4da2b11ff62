"""``whatelse adopt``: only what would come out the same is taken for done."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from core_samples import random_data
from whatelse.cli import main
from whatelse.records import RECORD, read_json, write_json
from whatelse.studies import adopt
from whatelse.studies.resolve import Artefact, Resolved, code_paths, load_study

OLD = 1_000_000_000


@pytest.fixture(autouse=True)
def _paths_of_this_folder() -> Iterator[None]:
    """The paths of sources are relative to where a process was started."""
    code_paths.cache_clear()
    yield
    code_paths.cache_clear()


def study(**changes: Any) -> dict[str, Any]:
    return {
        "study": "toy",
        "question": "membership",
        "title": "A toy",
        "seed": 1,
        "datasets": {"mine": {"source": "npz", "path": "mine.npz"}},
        "models": {
            "net": {
                "dataset": "mine",
                "architecture": {"kind": "mlp", "hidden": [4]},
                "training": {"optimizer": {"kind": "adam"}, "epochs": 2},
                "members": 20,
                "shadows": 2,
                "block": 2,
            }
        },
        "attacks": {
            "loss": {"kind": "membership.threshold", "models": "net", **changes}
        },
    }


def make(artefact: Artefact, repository: Path) -> None:
    """Run the verb of an artefact, as its rule does."""
    spec = ["--spec", artefact.spec_json, "--out", artefact.folder]
    inputs = artefact.inputs
    more = {
        "dataset": lambda: [
            "--raw", "resources", "--registry", f"{repository}/data/datasets.yaml"
        ],
        "train": lambda: [
            "--data", *inputs["data"], "--models", artefact.labels["models"],
            "--progress", f"{artefact.folder}-progress", "--device", "cpu",
        ],
        "query": lambda: [
            "--data", *inputs["data"], "--block", *inputs["block"], "--device", "cpu"
        ],
        "attack": lambda: [
            word for role, own in inputs.items() for word in ("--input", role, *own)
        ],
        "claims": lambda: [
            "--attacks", *inputs["attacks"],
            "--published", f"{repository}/data/published",
        ],
    }  # fmt: skip
    verb = ["datasets", "prepare"] if artefact.kind == "dataset" else [artefact.kind]
    assert main([*verb, *spec, *more[artefact.kind]()]) == 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A study that has been run, without Snakemake."""
    place = tmp_path_factory.mktemp("finished")
    data = random_data(120, (5,), 2)
    np.savez(place / "mine.npz", inputs=data.inputs.numpy(), labels=data.labels.numpy())
    (place / "toy.yaml").write_text(yaml.safe_dump(study()))
    before = Path.cwd()
    os.chdir(place)
    try:
        for artefact in load_study("toy.yaml").artefacts:
            make(artefact, repository)
        write_json("results/tracking/toy.json", {})
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def pulled(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Resolved:
    """A copy of it with the times of a pull: all alike and long ago."""
    shutil.copytree(finished, tmp_path / "clone")
    monkeypatch.chdir(tmp_path / "clone")
    for path in Path("results").rglob("*"):
        os.utime(path, (OLD, OLD))
    return load_study("toy.yaml")


def reasons(resolved: Resolved) -> dict[str, str]:
    """Why artefacts are refused for themselves, by kind; of several the first."""
    found: dict[str, str] = {}
    refused = adopt.judge(resolved.artefacts)
    for artefact in resolved.artefacts:
        reason = refused.get(artefact.folder, "")
        if reason and "which is to be made" not in reason:
            found.setdefault(artefact.kind, reason)
    return found


@pytest.fixture
def vouched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What would be handed to Snakemake, in the place of doing so."""
    folders: list[str] = []

    def note(args: Any, adopted: list[str]) -> int:
        folders[:] = adopted
        return 0

    monkeypatch.setattr(adopt, "_vouch", note)
    return folders


def only(resolved: Resolved, kind: str) -> Path:
    return Path(resolved.of(kind)[0].folder)


def test_what_matches_is_adopted_upstream_first(
    pulled: Resolved, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in Path("results").rglob("*") if p.is_file()}
    assert main(["adopt", "toy.yaml"]) == 0
    # a data set, two blocks, their outputs, an attack, the claims
    said = "7 artefacts adopted, 0 to be made again, 0 not here\n"
    assert capsys.readouterr().out == said
    times = {
        artefact.folder: Path(artefact.folder, RECORD).stat().st_mtime_ns
        for artefact in pulled.artefacts
    }
    assert min(times.values()) > OLD * 10**9
    for artefact in pulled.artefacts:
        assert all(times[above] < times[artefact.folder] for above in artefact.upstream)
    after = {p: p.read_bytes() for p in Path("results").rglob("*") if p.is_file()}
    assert before == after


def test_other_code(pulled: Resolved, monkeypatch: pytest.MonkeyPatch) -> None:
    real = adopt.records.files_digest
    edited = "membership/threshold.py"

    def digest(paths: Any) -> str:
        paths = [str(path) for path in paths]
        return real(paths) + "+" * any(path.endswith(edited) for path in paths)

    monkeypatch.setattr(adopt.records, "files_digest", digest)
    # an edit of the attack is no reason against what lies upstream of it
    assert reasons(pulled) == {"attack": "made by other code"}


def test_other_settings(pulled: Resolved) -> None:
    Path("toy.yaml").write_text(yaml.safe_dump(study(false_positive_rates=[0.2])))
    assert reasons(load_study("toy.yaml")) == {"attack": "made with other settings"}


def test_fewer_models_in_a_block(pulled: Resolved) -> None:
    record = only(pulled, "train") / RECORD
    stored = read_json(record)
    stored["spec"]["models"] = [0, 1]
    write_json(record, stored)
    assert reasons(pulled)["train"] == "made with other settings"


def test_other_inputs(pulled: Resolved) -> None:
    """The outputs' record changed: what was made from it is not of this tree."""
    folder = only(pulled, "query")
    record = read_json(folder / RECORD)
    record["extra"] = "of another run"
    write_json(folder / RECORD, record)
    assert reasons(pulled) == {"attack": f"made from another {folder}"}


def test_another_file_of_the_user(pulled: Resolved) -> None:
    data = random_data(120, (5,), 2, seed=8)
    np.savez("mine.npz", inputs=data.inputs.numpy(), labels=data.labels.numpy())
    assert reasons(pulled) == {"dataset": "made from another mine.npz"}


def test_results_without_the_file_they_came_from(pulled: Resolved) -> None:
    Path("mine.npz").unlink()
    assert reasons(pulled) == {}


@pytest.mark.parametrize(
    ("kind", "refused"),
    [("dataset", 7), ("train", 4), ("query", 3), ("attack", 2), ("claims", 1)],
)
def test_a_changed_file(
    pulled: Resolved,
    vouched: list[str],
    kind: str,
    refused: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = only(pulled, kind)
    name = sorted(read_json(folder / RECORD)["outputs"])[0]
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert reasons(pulled) == {kind: f"{name} is not what its record says"}
    assert main(["adopt", "toy.yaml"]) == 0
    printed = capsys.readouterr().out
    assert f"{folder}: {name} is not what its record says\n" in printed
    assert f"{7 - refused} artefacts adopted, {refused} to be made again" in printed
    # it and what depends on it has no record, so that it is made again
    whole_ones = {a.folder for a in pulled.artefacts if Path(a.folder, RECORD).exists()}
    assert whole_ones == set(vouched)
    assert len(whole_ones) == 7 - refused
    assert str(folder) not in whole_ones

    (folder / name).write_bytes(whole)
    assert main(["adopt", "toy.yaml"]) == 0
    assert "7 artefacts adopted, 0 to be made again" in capsys.readouterr().out
    assert len(vouched) == 7


def test_a_missing_file(pulled: Resolved) -> None:
    (only(pulled, "train") / "plan.npz").unlink()
    assert reasons(pulled) == {"train": "plan.npz is missing"}


def test_what_is_not_here(
    pulled: Resolved, vouched: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    attack = only(pulled, "attack")
    shutil.rmtree(attack)
    assert adopt.judge(pulled.artefacts) == {
        str(attack): "not here",
        str(only(pulled, "claims")): f"made from {attack}, which is to be made",
    }
    assert main(["adopt", "toy.yaml"]) == 0
    printed = capsys.readouterr().out
    assert "5 artefacts adopted, 1 to be made again, 1 not here\n" in printed
    assert len(vouched) == 5


def test_not_beside_a_run(
    pulled: Resolved, vouched: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lock = Path(".snakemake/locks/0.lock")
    lock.parent.mkdir(parents=True)
    lock.touch()
    assert main(["adopt", "toy.yaml"]) == 2
    assert "another run works here" in capsys.readouterr().err
    lock.unlink()
    assert main(["adopt", "toy.yaml", "--workflow", "."]) == 2
    assert "--workflow: . holds no Snakefile" in capsys.readouterr().err
    assert not vouched


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"code": 1})])
def test_a_record_that_is_none(pulled: Resolved, content: str) -> None:
    (only(pulled, "attack") / RECORD).write_text(content)
    assert reasons(pulled)["attack"]
