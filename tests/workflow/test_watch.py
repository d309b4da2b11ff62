"""Tracking from afar: servers with a lock on the door, servers that go away."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from mlflow_server import Server, free_port, guarded, serving

from checkouts import STUDY, Checkout
from tracking_results import make_results
from whatelse.studies.resolve import load_study
from whatelse.tracking.store import is_away
from whatelse.tracking.watch import announced

pytestmark = pytest.mark.workflow

EPOCHS = 3000
KILLS = 5
TRACK = [sys.executable, "-c", "from whatelse.cli import entry; entry()", "track"]


def track(
    home: Path, *words: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*TRACK, "tiny.yaml", *words], cwd=home, env=os.environ | environment,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip


def runs_of(address: str, study: str) -> list[Run]:
    client = MlflowClient(tracking_uri=address)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return []
    found: list[Run] = client.search_runs([experiment.experiment_id], max_results=1000)
    return found


def test_token_is_brought_and_needed(tmp_path: Path) -> None:
    make_results(tmp_path)
    with serving(tmp_path / "server") as server:
        with guarded(server.address, "s3cret") as door:
            known = {"MLFLOW_TRACKING_URI": door, "MLFLOW_TRACKING_TOKEN": "s3cret"}
            done = track(tmp_path, "--out", "runs.json", **known)
            assert "11 new, 10 completed" in done.stdout, done.stderr
            assert done.stdout.count("\n") == 1
            assert "0 new, 0 completed" in track(tmp_path, **known).stdout
            # a wrong token is no server that is away: waiting would not help
            wrong = track(tmp_path, "--patient", MLFLOW_TRACKING_URI=door,
                          MLFLOW_TRACKING_TOKEN="wrong")  # fmt: skip
            assert wrong.returncode == 2
            assert wrong.stderr.startswith(f"error: {door}: no usable tracking store")
            assert "401" in wrong.stderr
            assert wrong.stderr.count("\n") == 1
        # attached files went through the server
        parent = json.loads((tmp_path / "runs.json").read_text())["parent"]
        assert parent["artifact_uri"].startswith("mlflow-artifacts:")
        figure = f"path=figures/size/figure.png&run_uuid={parent['run_id']}"
        with urllib.request.urlopen(f"{server.address}/get-artifact?{figure}") as got:
            expected = tmp_path / "results/figures/tiny/size/figure.png"
            assert got.read() == expected.read_bytes()


def test_user_and_password_are_brought_and_kept_nowhere(tmp_path: Path) -> None:
    pytest.importorskip("flask_wtf", reason="basic-auth needs mlflow[auth]")
    make_results(tmp_path)
    home = tmp_path / "server"
    home.mkdir()
    (home / "auth.ini").write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = sqlite:///{home}/auth.db\n"
        "admin_username = admin\n"
        "admin_password = open sesame 1\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    with serving(
        home, "--app-name", "basic-auth",
        MLFLOW_AUTH_CONFIG_PATH=str(home / "auth.ini"),
        MLFLOW_FLASK_SERVER_SECRET_KEY="for this test",
    ) as server:  # fmt: skip
        known = {
            "MLFLOW_TRACKING_URI": server.address,
            "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": "open sesame 1",
        }
        done = track(tmp_path, "--out", "runs.json", **known)
        assert "11 new, 10 completed" in done.stdout, done.stderr
        inline = server.address.replace("//", "//admin:open%20sesame%201@")
        again = track(tmp_path, "--out", "runs.json", MLFLOW_TRACKING_URI=inline)
        assert "0 new, 0 completed" in again.stdout, again.stderr
        wrong = track(tmp_path, "--uri", inline.replace("sesame", "barley"))
        assert wrong.returncode == 2
        assert wrong.stderr.count("\n") == 1
        kept = (tmp_path / "runs.json").read_text() + again.stdout + wrong.stderr
        assert server.address in kept
        assert "sesame" not in kept
        assert "barley" not in kept


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Take connections and never answer."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        yield f"http://127.0.0.1:{door.getsockname()[1]}"


@pytest.mark.parametrize("how", ["refused", "no such host", "silent"])
def test_patient_tracking_lets_the_workflow_go_on(tmp_path: Path, how: str) -> None:
    make_results(tmp_path)
    with silent() as mute:
        uri = {"refused": f"http://127.0.0.1:{free_port()}", "silent": mute,
               "no such host": "http://nowhere.invalid:5000"}[how]  # fmt: skip
        start = time.monotonic()
        options = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3"} if how == "silent" else {}
        done = track(tmp_path, "--uri", uri, "--patient", "--out", "x.json", **options)
        assert time.monotonic() - start < 60
        assert done.returncode == 0, done.stderr
        assert done.stderr.startswith(f"warning: {uri}: no usable tracking store")
        assert done.stderr.count("\n") == 1
        assert is_away(tmp_path / "x.json")
        assert json.loads((tmp_path / "x.json").read_text())["experiment"] is None
        by_hand = track(tmp_path, "--uri", uri, **options)
        assert by_hand.returncode == 2
        assert by_hand.stderr.startswith("error: ")
        assert by_hand.stderr.count("\n") == 1


class Watcher:
    """``whatelse track --watch`` in a process of its own."""

    def __init__(self, checkout: Checkout, *words: str, **environment: str) -> None:
        self._log = checkout.root / "watch.log"
        self._start = checkout, words, environment
        self.process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        checkout, words, environment = self._start
        with self._log.open("ab") as log:
            return subprocess.Popen(
                ["whatelse", "track", "--watch", "results", "--every", "0.2", *words],
                cwd=checkout.root, stdout=log, stderr=log,
                env=checkout.environment | environment,
            )  # fmt: skip

    def kill_and_start(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process = self._begin()

    def end(self, number: int = signal.SIGTERM) -> str:
        """Ask it to end; return what it said."""
        self.process.send_signal(number)
        assert self.process.wait(timeout=120) == 0, self.said()
        return self.said()

    def said(self) -> str:
        return self._log.read_text()


@contextlib.contextmanager
def watching(checkout: Checkout, *words: str, **environment: str) -> Iterator[Watcher]:
    watcher = Watcher(checkout, *words, **environment)
    try:
        yield watcher
    finally:
        watcher.process.kill()
        watcher.process.wait()


def longer(checkout: Checkout) -> None:
    """Make training last some seconds a block, with several blocks a family."""
    checkout.edit_study(
        {
            "models.net.shadows": 5,
            "models.net.block": 2,
            "models.net.training.epochs": EPOCHS,
        }
    )


def start_run(checkout: Checkout, **environment: str) -> subprocess.Popen[bytes]:
    with announced(checkout.results, [checkout.study.relative_to(checkout.root)], None):
        pass
    log = (checkout.root / "run.log").open("wb")
    return subprocess.Popen(
        ["whatelse", "run", str(checkout.study.relative_to(checkout.root))],
        cwd=checkout.root, env=checkout.environment | environment, stdout=log,
        stderr=log,
    )  # fmt: skip


def compare(found: list[Run], checkout: Checkout, address: str) -> None:
    """Check that a store holds every run once, complete, curves and all."""
    resolved = load_study(checkout.study, checkout.results)
    families = {Path(block.folder).parent for block in resolved.of("train")}
    names = Counter(run.info.run_name for run in found)
    assert set(names.values()) == {1}, names
    assert len(names) == 1 + 2 * len(families) + len(resolved.of("attack"))
    assert {run.info.status for run in found} == {"FINISHED"}
    client = MlflowClient(tracking_uri=address)
    epochs = sorted({1, EPOCHS, *range(EPOCHS // 50, EPOCHS + 1, EPOCHS // 50)})
    for run in found:
        if run.data.tags["whatelse.role"] in ("target", "shadows"):
            points = client.get_metric_history(run.info.run_id, "train/loss")
            assert [p.step for p in sorted(points, key=lambda p: p.step)] == epochs
    parent = next(run for run in found if run.info.run_name == STUDY)
    names_of_files = {f.path for f in client.list_artifacts(parent.info.run_id)}
    assert names_of_files == {"figures", "claims"}


def live_curves(address: str) -> dict[str, int]:
    """Return the targets in training that have a curve, and its number of points."""
    client = MlflowClient(tracking_uri=address)
    return {
        run.info.run_id: len(client.get_metric_history(run.info.run_id, "train/loss"))
        for run in runs_of(address, STUDY)
        if run.data.tags["whatelse.role"] == "target"
        and "whatelse.record" not in run.data.tags
        and "train/loss" in run.data.metrics
    }


@pytest.mark.slow
def test_curves_appear_while_models_train(clean: Checkout) -> None:
    longer(clean)
    address = f"sqlite:///{clean.root}/mlflow.db"
    rng = random.Random(20170522)
    seen: set[str] = set()  # ids of runs with live curves
    points = kills = 0
    with watching(clean, "--until-done") as watcher:
        process = start_run(clean)
        while process.poll() is None:
            time.sleep(rng.uniform(0.1, 1))
            live = live_curves(address) if (clean.root / "mlflow.db").exists() else {}
            seen |= set(live)
            before, points = points, sum(live.values())
            if points > before and kills < KILLS:  # it is at work
                kills += 1
                watcher.kill_and_start()
        assert process.returncode == 0, (clean.root / "run.log").read_text()
        assert watcher.process.wait(timeout=120) == 0, watcher.said()
    found = runs_of(address, STUDY)
    assert seen, "no curve was there before its block was finished"
    assert kills
    ids = {run.info.run_id for run in found}
    assert seen <= ids, "a live run did not become the finished one"
    compare(found, clean, address)
    assert "Traceback" not in watcher.said()


@pytest.mark.slow
def test_server_stopped_for_the_middle_third(clean: Checkout, tmp_path: Path) -> None:
    longer(clean)
    server = Server(tmp_path / "server")
    try:
        server.start()
        uri = {"MLFLOW_TRACKING_URI": server.address}
        with watching(clean, **uri) as watcher:
            process = start_run(clean, **uri)
            # a third of the results are there, then two thirds
            before: list[Run] = []
            total = len(load_study(clean.study, clean.results).artefacts)
            for part in (1, 2):
                while len(clean.records()) < part * total / 3 or not before:
                    assert process.poll() is None, (clean.root / "run.log").read_text()
                    time.sleep(0.5)
                    if part == 1:
                        before = runs_of(server.address, STUDY)
                if part == 1:
                    server.stop()
                else:
                    away = watcher.said()
                    server.start()
            assert process.wait(timeout=300) == 0, (clean.root / "run.log").read_text()
            said = watcher.end(signal.SIGINT)
        assert away.count("trying again") == 1, away
        assert f"{server.address} is back" in said
        assert "Traceback" not in said
        found = runs_of(server.address, STUDY)
        compare(found, clean, server.address)
        ids = {run.info.run_id for run in found}
        assert {run.info.run_id for run in before} <= ids, "a run was made twice"
        # and nothing is left for a tracker that looks at everything
        done = clean.whatelse("track", str(clean.study), **uri)
        assert "0 new, 0 completed, 0 superseded" in done.stdout
    finally:
        server.stop()
