"""Bad input, end to end: one clear line, exit code 2, and nothing left behind."""

import contextlib
import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from checkouts import Checkout
from data_files import rows_of_bits, tar

pytestmark = pytest.mark.workflow


def refused(checkout: Checkout, **environment: str) -> str:
    """Run the study, which must be refused as it should be; return its one line."""
    before = left(checkout)
    done = checkout.run(code=2, **environment)
    lines = done.stderr.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1, lines
    assert "Traceback" not in done.stderr
    assert "RuleException" not in done.stderr
    assert left(checkout) == before
    assert checkout.strays() == []
    return lines[-1]


def left(checkout: Checkout) -> set[Path]:
    """Return the files of results and resources, progress aside: it is kept."""
    return {
        path
        for folder in ("results", "resources")
        for path in (checkout.root / folder).rglob("*")
        if path.is_file() and "progress" not in path.parts
    }


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"models.net.training.epoch": 3}, "models.net: training.epoch: unknown key"),
        ({"models.net.training.optimizer.learning_rate": "1e-3"}, "1e-3"),
        ({"models.net.replicates": 0}, "greater than or equal to 1"),
        ({"attacks.shadow.models": "nets"}, "'nets' is not in models; allowed: net"),
        ({"datasets.digits.source": "digit"}, "'digit'"),
    ],
)
def test_study(clean: Checkout, change: dict[str, Any], line: str) -> None:
    clean.edit_study(change)
    said = refused(clean)
    assert "membership-digits.yaml" in said
    assert line in said


def test_more_members_than_records(finished: Checkout) -> None:
    finished.edit_study({"models.net.members": 600})
    said = refused(finished)
    assert "members: 600" in said
    assert "allowed: members up to 449" in said


def own_data(checkout: Checkout, **arrays: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    whole: dict[str, Any] = {
        "inputs": rng.normal(size=(400, 5)).astype(np.float32),
        "labels": np.arange(400) % 3,
    }
    np.savez(checkout.study.parent / "mine.npz", **whole | arrays)
    checkout.edit_study(
        {"datasets.digits": {"source": "npz", "path": "mine.npz", "classes": 3}}
    )


def test_own_data(clean: Checkout) -> None:
    labels = np.arange(400) % 2
    labels[7] = 2
    own_data(clean, labels=labels)
    assert "class 2 has 1 record; allowed: at least 2" in refused(clean)

    inputs = np.zeros((400, 5), dtype=np.float32)
    inputs[11, 3] = np.nan
    own_data(clean, inputs=inputs)
    said = refused(clean)
    assert "mine.npz" in said
    assert "record 11, feature 3: nan; allowed: finite numbers" in said

    own_data(clean, labels=np.arange(400) % 4)
    assert "record 3: label 3; allowed: 0 to 2" in refused(clean)

    (clean.study.parent / "mine.npz").unlink()
    assert "mine.npz: no such file" in refused(clean)


def test_registered_data(clean: Checkout, tmp_path: Path) -> None:
    """Location from a mirror: nothing there, other bytes, broken, or hostile."""
    clean.edit_study({"datasets.digits": {"source": "location"}})
    registry = clean.root / "data" / "datasets.yaml"
    entries = yaml.safe_load(registry.read_text())
    file = entries["location"]["files"][0]
    file["urls"] = []
    mirror = tmp_path / "mirror"
    archive = mirror / file["paths"][0]
    archive.parent.mkdir(parents=True)

    def accept() -> None:
        content = archive.read_bytes()
        file["editions"] = [
            {
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": len(content),
                "remark": None,
            }
        ]
        registry.write_text(yaml.safe_dump(entries))

    def told() -> str:
        said = refused_fetching(clean, WHATELSE_MIRROR=str(mirror))
        assert "location" in said
        return said

    registry.write_text(yaml.safe_dump(entries))
    said = told()
    assert "dataset_location.tgz is missing" in said
    assert "put it at resources/location/dataset_location.tgz" in said
    assert "WHATELSE_MIRROR" in said

    rng = np.random.default_rng(0)
    rows = rows_of_bits(
        rng.integers(0, 2, (60, 446)), (np.arange(60) % 30 + 1).tolist()
    )
    tar(archive, {"bangkok": rows})
    assert "wrong digest" in told()

    archive.write_bytes(archive.read_bytes()[:-200])
    accept()
    assert "truncated" in told()

    (clean.root / "resources" / file["paths"][0]).unlink()
    tar(archive, {"../outside": b"", "bangkok": rows})
    accept()
    said = told()
    assert "refused" in said
    assert "outside" in said


NET = {"kind": "mlp", "hidden": [8], "activation": "relu"}
HIDDEN: dict[str, Any] = {
    "question": "memorization",
    "datasets": {
        "digits": {"source": "digits"},
        "given": {"from": "digits", "preprocess": {"kind": "split", "members": 1200}},
    },
    "models": {
        "benign": {
            "dataset": "given", "split": "given", "architecture": NET, "shadows": 0,
            "training": {
                "optimizer": {"kind": "adam", "learning_rate": 0.01}, "epochs": 1,
            },
        },
        "lsb": {"from": "benign", "tampering": {"kind": "lsb", "bits": 8}},
    },
    "attacks": {
        "lsb": {"kind": "memorization.decode", "models": "lsb", "benign": "benign"},
    },
}  # fmt: skip
LEARNED: dict[str, Any] = {
    "question": "properties",
    "datasets": {
        "digits": {"source": "digits"},
        "below-five": {
            "from": "digits",
            "preprocess": {
                "kind": "task", "keep_as": "digit",
                "classes": {"below": list("01234"), "above": list("56789")},
            },
        },
    },
    "models": {
        "joint": {
            "dataset": "below-five", "architecture": NET, "participants": 2,
            "collaboration": {
                "kind": "gradients", "iterations": 200, "batch_size": 8,
                "learning_rate": 0.05,
            },
            "adversary": {
                "kind": "property",
                "property": {"attribute": "digit", "values": ["2", "3"]},
            },
        },
    },
    "attacks": {"joint": {"kind": "properties.passive", "models": "joint"}},
}  # fmt: skip


BACKDOORED: dict[str, Any] = {
    "question": "backdoors",
    "datasets": {"digits": {"source": "digits"}},
    "models": {
        "joint": {
            "dataset": "digits", "architecture": NET, "participants": 4,
            "collaboration": {"kind": "averaging", "rounds": 2, "weights": "equal"},
            "adversary": {
                "kind": "backdoor", "rounds": [1], "target": "2",
                "backdoor": {"kind": "records", "train": [1, 11], "held_out": [21]},
                "training": {
                    "optimizer": {"kind": "sgd", "learning_rate": 0.1}, "epochs": 1,
                },
            },
        },
    },
    "attacks": {"joint": {"kind": "backdoors.evaluate", "models": "joint"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"attackers": 4}, "adversary.attackers: 4; allowed: 1..3, fewer than"),
        ({"method": {"kind": "replacement", "scale": float("inf")}},
         "method.scale: Input should be a finite number"),
        ({"method": {"kind": "replacement", "scale": float("nan")}},
         "method.scale: Input should be a finite number"),
        ({"backdoor": {"kind": "cluster", "of": "2"}},
         "adversary.target: '2' is the class of the backdoor's records already"),
        ({"backdoor": {"kind": "records", "train": [1, 11], "held_out": [11]}},
         "held_out: 11 is also in train; allowed: records apart"),
    ],
)  # fmt: skip
def test_backdoors(clean: Checkout, change: dict[str, Any], line: str) -> None:
    """What the study's file tells: nothing is begun."""
    whole = {"study": "bad", "title": "Bad", "seed": 1, **BACKDOORED}
    clean.study = clean.study.with_name("bad.yaml")
    clean.study.write_text(yaml.safe_dump(whole, sort_keys=False))
    clean.edit_study({f"models.joint.adversary.{k}": v for k, v in change.items()})
    said = refused(clean)
    assert "bad.yaml: models.joint: " in said
    assert line in said


@pytest.mark.parametrize(
    ("study", "change", "entry", "line", "models"),
    [
        (
            HIDDEN,
            {"models.lsb.tampering.secret": {"records": 1100}},
            "models.lsb",
            r"secret: 70,400 bytes need 563,744 bits; allowed: at most 4,880 ",
            1,
        ),
        (
            HIDDEN,
            {"attacks.lsb.key": 77},
            "attacks.lsb",
            r"wrong key or seed, .* sync bits disagree; allowed: at most 16",
            2,
        ),
        (
            LEARNED,
            {"models.joint.adversary.property.values": list("0123456789")},
            "models.joint",
            r"property\.values: .*: all records have one of them; allowed: some of 0",
            0,
        ),
        (
            LEARNED,
            {"models.joint.participants": 2000},
            "models.joint",
            r"participants: 2000 of 1438 records; allowed: 2\.\.1438",
            0,
        ),
        (
            BACKDOORED,
            {"models.joint.adversary.target": "1"},
            "models.joint",
            r"adversary\.target: '1' is the class of record 1 already; allowed:",
            0,
        ),
    ],
)
def test_other_questions(
    clean: Checkout, study: dict[str, Any], change: dict[str, Any], entry: str,
    line: str, models: int,
) -> None:  # fmt: skip
    """What only a step can tell, once others are done: these are whole, it is not."""
    whole = {"study": "bad", "title": "Bad", "seed": 1, **study}
    clean.study = clean.study.with_name("bad.yaml")
    clean.study.write_text(yaml.safe_dump(whole, sort_keys=False))
    clean.edit_study(change)
    done = clean.run(code=2)
    lines = done.stderr.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1, lines
    assert "Traceback" not in done.stderr
    assert lines[-1].startswith(f"error: config/studies/bad.yaml: {entry}: ")
    assert re.search(line, lines[-1])
    made = {path.parent for path in clean.results.rglob("record.json")}
    kinds = [folder.relative_to(clean.results).parts[0] for folder in made]
    assert "datasets" in kinds
    assert kinds.count("models") == models
    assert {"collaborations", "attacks"}.isdisjoint(kinds)
    assert {path for path in left(clean) if path.parent not in made} <= {
        clean.results / "running.json"
    }
    assert clean.strays() == []


def refused_fetching(checkout: Checkout, **environment: str) -> str:
    """As `refused`; files with the right digest may stay in resources."""
    done = checkout.run(code=2, **environment)
    lines = done.stderr.splitlines()
    assert [line.startswith("error: ") for line in lines].count(True) == 1, lines
    assert not checkout.results.exists() or checkout.records() == {}
    assert checkout.strays() == []
    return lines[-1]


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[None]:
    """Mount a small file system in memory, where that is allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_full_disk(clean: Checkout) -> None:
    with mounted(clean.results / "models", "size=16k"):
        done = clean.run(code=2)
        lines = done.stderr.splitlines()
        assert [line.startswith("error: ") for line in lines].count(True) >= 1
        assert "cannot write here" in lines[-1]
        assert "No space left on device" in lines[-1]
        assert not [p for p in (clean.results / "models").rglob("*") if p.is_file()]
    # with room, it goes on from the models that were finished
    clean.run()
    for path in clean.results.glob("models/*/*/telemetry.json"):
        assert '"trained": 0' in path.read_text()


def test_read_only_disk(clean: Checkout) -> None:
    with mounted(clean.results / "attacks", "ro"):
        said = refused(clean)
        assert said == (
            "error: results/attacks: cannot write here; allowed: a writable folder"
        )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(clean: Checkout) -> None:
    clean.root.chmod(0o555)
    try:
        assert "cannot write here" in refused(clean)
    finally:
        clean.root.chmod(0o755)
