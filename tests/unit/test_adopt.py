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
            word for blocks in inputs.values() for word in ("--outputs", *blocks)
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
    """Why artefacts are refused, by kind; of several of a kind the first."""
    found: dict[str, str] = {}
    for artefact in resolved.artefacts:
        reason = adopt.why_not(artefact)
        if reason:
            found.setdefault(artefact.kind, reason)
    return found


def only(resolved: Resolved, kind: str) -> Path:
    return Path(resolved.of(kind)[0].folder)


def test_what_matches_is_adopted_upstream_first(
    pulled: Resolved, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.read_bytes() for p in Path("results").rglob("*") if p.is_file()}
    assert main(["adopt", "toy.yaml"]) == 0
    # a data set, two blocks, their outputs, an attack, the claims
    assert capsys.readouterr().out == "7 artefacts adopted, 0 to be made again\n"
    times = {
        artefact.folder: [p.stat().st_mtime_ns for p in Path(artefact.folder).iterdir()]
        for artefact in pulled.artefacts
    }
    assert min(min(own) for own in times.values()) > OLD * 10**9
    for artefact in pulled.artefacts:
        own = times[artefact.folder]
        assert (Path(artefact.folder) / RECORD).stat().st_mtime_ns == max(own)
        assert all(max(times[above]) <= min(own) for above in artefact.upstream)
    assert Path("results/tracking/toy.json").stat().st_mtime > OLD
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


@pytest.mark.parametrize("kind", ["dataset", "train", "query", "attack", "claims"])
def test_a_changed_file(
    pulled: Resolved, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = only(pulled, kind)
    name = sorted(read_json(folder / RECORD)["outputs"])[0]
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    os.utime(folder / name, (OLD, OLD))
    assert reasons(pulled) == {kind: f"{name} is not what its record says"}
    assert main(["adopt", "toy.yaml"]) == 0
    printed = capsys.readouterr().out
    assert f"{folder}: {name} is not what its record says\n" in printed
    assert "6 artefacts adopted, 1 to be made again" in printed
    # neither it nor what stands for the whole study looks new
    assert (folder / name).stat().st_mtime == OLD
    assert Path("results/tracking/toy.json").stat().st_mtime == OLD


def test_a_missing_file(pulled: Resolved) -> None:
    (only(pulled, "train") / "plan.npz").unlink()
    assert reasons(pulled) == {"train": "plan.npz is not what its record says"}


def test_what_is_not_here(pulled: Resolved) -> None:
    shutil.rmtree(only(pulled, "attack"))
    found = reasons(pulled)
    assert found["attack"] == "not here"
    assert found["claims"].startswith("made from another results/attacks")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"code": 1})])
def test_a_record_that_is_none(pulled: Resolved, content: str) -> None:
    (only(pulled, "attack") / RECORD).write_text(content)
    assert reasons(pulled)["attack"]
