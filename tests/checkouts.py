"""Copies of the repository, with a small study, that workflow tests run and edit."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from whatelse import records

STUDY = "membership-digits"
"""The demo's: what names the demo (config.yaml, dvc.yaml) then runs as it is."""


class Checkout:
    """A copy of the repository whose own package, rules and studies are what runs."""

    timeout = 1800  # seconds, of a command that hangs

    def __init__(self, root: Path) -> None:
        self.root = root
        # what the first run printed, and how long it took
        self.said, self.seconds = "", 0.0
        self.results = root / "results"
        self.study = root / "config" / "studies" / f"{STUDY}.yaml"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW_", "WHATELSE_", "SNAKEMAKE_"))
        } | {
            "PYTHONPATH": str(root / "src"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def call(
        self, *command: str, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy; by default it has to succeed."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment | environment, text=True,
            capture_output=True, timeout=self.timeout,
        )  # fmt: skip
        if code is not None:
            assert done.returncode == code, done.stdout + done.stderr
        return done

    def whatelse(
        self, *words: str, code: int | None = 0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return self.call("whatelse", *words, code=code, **environment)

    def snakemake(self, *words: str, code: int = 0) -> str:
        done = self.call("snakemake", *words, code=code)
        return done.stdout + done.stderr

    def run(self, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run the small study."""
        return self.whatelse("run", str(self.study.relative_to(self.root)), **more)

    def planned(self) -> dict[str, int]:
        """Return what Snakemake would do: how many jobs of which rule."""
        said = self.snakemake("--dry-run", "--quiet", "rules", "host")
        jobs = dict(re.findall(r"^(\w+) +(\d+)$", said, flags=re.MULTILINE))
        jobs.pop("total", None)
        jobs.pop("all", None)
        return {rule: int(count) for rule, count in jobs.items()}

    def edit_study(self, change: Mapping[str, Any]) -> None:
        """Change settings of the small study, by dotted path."""
        study = yaml.safe_load(self.study.read_text())
        for path, value in change.items():
            *parents, last = path.split(".")
            place = study
            for name in parents:
                place = place[name]
            place[last] = value
        self.study.write_text(yaml.safe_dump(study, sort_keys=False))

    def records(self) -> dict[str, str]:
        """Return the digest of every record below the results."""
        return {
            str(path.relative_to(self.root)): records.file_digest(path)
            for path in sorted(self.results.rglob(records.RECORD))
        }

    def strays(self) -> list[str]:
        """Return the temporary files that were left behind."""
        return [
            str(path) for path in self.root.rglob("*")
            if ".tmp" in path.name and ".snakemake" not in path.parts
        ]  # fmt: skip

    def telemetry(self, folder: Path) -> dict[str, Any]:
        return records.read_json(self.root / folder / "telemetry.json")  # type: ignore[no-any-return]

    def runs_by_key(self) -> list[tuple[str, int]]:
        """Return how many active runs MLflow has for each artefact."""
        with contextlib.closing(sqlite3.connect(self.root / "mlflow.db")) as database:
            return database.execute(
                "SELECT tags.value, COUNT(*) FROM tags JOIN runs USING (run_uuid) "
                "WHERE tags.key = 'whatelse.key' AND runs.lifecycle_stage = 'active' "
                "GROUP BY tags.value ORDER BY tags.value"
            ).fetchall()

    def metrics(self, attack: str = "shadow") -> Any:
        path = self.results / "attacks" / STUDY / attack / "metrics.json"
        return json.loads(path.read_text())


def session(leader: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[3]) == leader and after_name[0] != "Z":
                found.append(int(entry.name))
    return found


def kill_session(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a session, and all of the session, at once."""
    while alive := session(process.pid):
        for number in alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.02)
    process.wait()


def small(study: dict[str, Any]) -> dict[str, Any]:
    """Shrink the demo to seconds, with a second attack."""
    study["models"]["net"] |= {
        "members": 60, "shadows": 4, "replicates": 2, "block": 5,
        "architecture": {"kind": "mlp", "hidden": [16], "activation": "tanh"},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": 0.001},
            "epochs": 3,
            "batch_size": 20,
        },
    }  # fmt: skip
    del study["models"]["net"]["foreach"]
    study["attacks"]["threshold"] = {"kind": "membership.threshold", "models": "net"}
    del study["figures"]["size"], study["figures"]["classes"]
    study["figures"]["table"]["attacks"] = ["shadow", "threshold"]
    study["claims"] = [
        {
            "claim": "Three epochs give nobody away",
            "attack": "threshold",
            "metric": "auc",
            "relation": {"kind": "at_most", "bound": 0.75},
        }
    ]
    return study


def copy_of(root: Path, to: Path) -> Checkout:
    """Copy a checkout with its times; MLflow's database knows where it lies."""
    shutil.copytree(
        root, to, symlinks=True,
        ignore=shutil.ignore_patterns("mlflow.db*", "mlartifacts", "__pycache__"),
    )  # fmt: skip
    return Checkout(to)


def shared(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that is made once, by whichever process of the tests is first."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    with open(place / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / f"{name}.done").exists():
            make(place / name)
            (place / f"{name}.done").touch()
    return place / name
