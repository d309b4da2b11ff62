"""The mirror while jobs run: live curves, each run once, nothing read in vain."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from tracking_results import STUDY, make_artefact, make_progress, make_study
from whatelse import records
from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.studies.resolve import Artefact, Resolved, load_study
from whatelse.tracking import disk, store, watch
from whatelse.tracking.mirror import Mirror
from whatelse.tracking.reader import read_tree
from whatelse.tracking.tree import IDENTITY
from whatelse.tracking.watch import Watch, announced

# one target, 3 shadows in blocks of models 0:2 and 2:4
ONE = STUDY.replace("[10, 20]", "[10]").replace("replicates: 2", "replicates: 1")
TARGET = "target net · members 10 · replicate 0"
SHADOWS = "shadows of net · members 10 · replicate 0"
JOINT = """
study: tiny
question: properties
title: A joint model
seed: 7
datasets:
  digits: {source: digits}
models:
  joint:
    dataset: digits
    architecture: {kind: mlp, hidden: [4]}
    collaboration: {kind: gradients, iterations: 200}
    participants: 2
    adversary: {kind: property, property: {attribute: label, values: ["3"]}}
attacks:
  passive: {kind: properties.passive, models: joint}
"""


@pytest.fixture
def study(tmp_path: Path, empty_database: bytes) -> Resolved:
    """Return a study with a database and a data set, and nothing else yet."""
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    resolved = load_study(make_study(tmp_path, ONE), tmp_path / "results")
    make_artefact(resolved.of("dataset")[0])
    return resolved


def watcher(study: Resolved, **more: Any) -> Watch:
    home = study.path.parent
    place = store.find_place(None, home / "results")
    return Watch(home / "results", place, **({"studies": [study.path]} | more))


def look(study: Resolved) -> None:
    """Look once, with a watcher that knows nothing."""
    mirror = watcher(study)
    mirror.go_through()
    assert mirror._trouble == {}


def finish(study: Resolved, *artefacts: Artefact) -> None:
    for artefact in artefacts or study.artefacts:
        make_artefact(artefact)


def client_of(study: Resolved) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{study.path.parent}/mlflow.db")


def runs_of(study: Resolved, view: int = ViewType.ACTIVE_ONLY) -> dict[str, Run]:
    client = client_of(study)
    experiment = client.get_experiment_by_name("tiny")
    if experiment is None:
        return {}
    found = client.search_runs([experiment.experiment_id], run_view_type=view)
    names = Counter(run.info.run_name for run in found)
    assert set(names.values()) <= {1}, names
    return {run.info.run_name: run for run in found}


def history(study: Resolved, run: Run, metric: str) -> list[tuple[int, float]]:
    """Return all points of a metric, doubled ones included."""
    points = client_of(study).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def seen(study: Resolved) -> dict[str, Any]:
    """Return all runs without ids and times: those of a run in work differ."""
    return {
        name: (
            {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"},
            run.data.params,
            {
                metric: history(study, run, metric)
                for metric in run.data.metrics
                if metric != "progress/models"
            },
            run.data.metrics.get("progress/models"),
            run.info.status,
        )
        for name, run in runs_of(study).items()
    }


def test_curves_appear_and_the_live_run_becomes_the_finished_one(
    study: Resolved,
) -> None:
    first, second = study.of("train")
    make_progress(first, epochs=1)
    mirror = watcher(study)
    mirror.go_through()
    live = runs_of(study)
    assert set(live) == {"tiny", TARGET, SHADOWS}
    assert {run.info.status for run in live.values()} == {"RUNNING"}
    assert history(study, live[TARGET], "train/loss") == [(1, 1.0)]
    assert live[TARGET].data.params["training.optimizer.kind"] == "adam"
    assert live[TARGET].inputs.dataset_inputs[0].dataset.name.startswith("digits")
    assert live[TARGET].data.tags["mlflow.parentRunId"] == live["tiny"].info.run_id

    make_progress(first, epochs=2, finished=[0, 1])
    mirror.go_through()
    assert history(study, live[TARGET], "train/loss") == [(1, 1.0), (2, 0.5)]
    finish(study, first)
    make_progress(second, epochs=3, finished=[2])
    mirror.go_through()
    assert history(study, live[SHADOWS], "progress/models") == [(0, 0), (1, 1), (2, 2)]
    finish(study)
    mirror.go_through()
    assert mirror.done
    after = runs_of(study)
    for name in (TARGET, SHADOWS):
        assert after[name].info.run_id == live[name].info.run_id
        assert len(history(study, after[name], "train/loss")) == 3
    assert {run.info.status for run in after.values()} == {"FINISHED"}

    # what was watched and what was tracked at the end are the same runs
    watched = seen(study)
    client = client_of(study)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    client.rename_experiment(experiment.experiment_id, "watched")
    results = str(study.path.parent / "results")
    assert main(["track", str(study.path), "--results", results]) == 0
    assert seen(study) == watched


def test_a_joint_models_rounds_appear(tmp_path: Path, empty_database: bytes) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    study = load_study(make_study(tmp_path, JOINT), tmp_path / "results")
    (joint,) = study.of("collaborate")
    make_artefact(study.of("dataset")[0])
    make_progress(joint, epochs=2)
    mirror = watcher(study)
    mirror.go_through()
    name = "target joint · replicate 0"
    live = runs_of(study)[name]
    assert live.info.status == "RUNNING"
    assert history(study, live, "train/loss") == [(1, 1.0), (2, 0.5)]
    finish(study, joint)
    mirror.go_through()
    after = runs_of(study)[name]
    assert after.info.run_id == live.info.run_id
    assert len(history(study, after, "train/loss")) == 3


def test_mean_of_shadows_is_logged_when_all_have_it(study: Resolved) -> None:
    first, second = study.of("train")
    make_progress(first, epochs=3, finished=[0, 1])
    look(study)
    shadows = runs_of(study)[SHADOWS]
    assert "train/loss" not in shadows.data.metrics
    make_progress(second, epochs=2)
    look(study)
    # models 1, 2, 3 at epochs 1 and 2: the mean of their losses is 2 + 1 / epoch
    assert history(study, shadows, "train/loss") == [(1, 3.0), (2, 2.5)]
    # a block whose record came meanwhile counts as one in work
    finish(study, first)
    make_progress(second, epochs=3)
    look(study)
    assert len(history(study, shadows, "train/loss")) == 3


def test_progress_of_another_training_is_another_run(study: Resolved) -> None:
    first = study.of("train")[0]
    make_progress(first, epochs=2, finished=[0], code="old")
    look(study)
    old = runs_of(study)
    shutil.rmtree(make_progress(first, epochs=0))
    make_progress(first, epochs=1, code="new")
    look(study)
    new = runs_of(study)
    assert set(new) == set(old)
    for name in (TARGET, SHADOWS):
        assert new[name].info.run_id != old[name].info.run_id
    assert history(study, new[TARGET], "train/loss") == [(1, 1.0)]
    gone = runs_of(study, ViewType.DELETED_ONLY)
    assert gone[TARGET].info.status == "KILLED"
    # nor is a result of another training adopted
    finish(study)
    look(study)
    assert runs_of(study)[TARGET].info.run_id != new[TARGET].info.run_id


def test_a_result_made_again_from_the_same_keeps_its_run(study: Resolved) -> None:
    finish(study)
    look(study)
    before = seen(study)
    ids = {name: run.info.run_id for name, run in runs_of(study).items()}
    block = study.of("train")[0]
    shutil.rmtree(block.folder)
    make_progress(block, epochs=1)
    look(study)
    assert runs_of(study)["tiny"].info.status == "RUNNING"
    make_artefact(block)
    look(study)
    assert seen(study) == before
    assert {name: run.info.run_id for name, run in runs_of(study).items()} == ids


def test_block_in_work_and_record_name_the_same_training(study: Resolved) -> None:
    block = study.of("train")[0]
    make_progress(block, epochs=1)
    results = study.path.parent / "results"
    live = read_tree(study, results).live[0]
    make_artefact(block)
    target = read_tree(study, results).children[0]
    assert target.tags[IDENTITY] == live.tags[IDENTITY] != ""
    assert (live.record, target.key) == ("", live.key)


def test_without_change_nothing_is_read_and_mlflow_left_alone(
    study: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(study)
    shutil.rmtree(study.of("train")[1].folder)
    make_progress(study.of("train")[1], epochs=2, finished=[2])
    mirror = watcher(study)
    mirror.go_through()

    def read(*_: object, **__: object) -> None:
        pytest.fail("a file was read that had not changed")

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", read)
        patched.setattr(Path, "open", read)
        patched.setattr(Path, "read_text", read)
        patched.setattr(watch, "connect", read)
        mirror.go_through()
    assert mirror._trouble == {}


def test_a_finished_study_does_not_load_mlflow(
    study: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(study)
    look(study)
    monkeypatch.setattr(watch, "connect", None)
    mirror = watcher(study)
    mirror.go_through()
    assert mirror.done
    assert mirror._trouble == {}


def test_nothing_there_yet_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_study(tmp_path, ONE)
    place = store.find_place(None, tmp_path / "results")
    mirror = Watch(tmp_path / "results", place, studies=[path])
    mirror.go_through()
    assert not mirror.done
    assert [entry.name for entry in tmp_path.iterdir()] == ["tiny.yaml"]
    assert capsys.readouterr() == ("", "")


def test_studies_are_those_that_run_announced(
    study: Resolved, capsys: pytest.CaptureFixture[str]
) -> None:
    results = study.path.parent / "results"
    mirror = watcher(study, studies=[])
    for _ in range(3):
        mirror.go_through()
    error = capsys.readouterr().err
    assert error == (
        f"warning: {results}/running.json: no such file yet; `whatelse run` writes it\n"
    )
    with announced(results, [study.path], None):
        pass
    finish(study)
    mirror.go_through()
    assert mirror.done
    assert TARGET in runs_of(study)
    # those that are named win
    with announced(results, [study.path.with_name("other.yaml")], None):
        pass
    named = watcher(study)
    named.go_through()
    assert named.done


def test_replicates_are_those_that_run_announced(
    tmp_path: Path, empty_database: bytes
) -> None:
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    path = make_study(tmp_path, ONE.replace("replicates: 1", "replicates: 2"))
    resolved = load_study(path, tmp_path / "results", replicates=1)
    finish(resolved)
    with announced(tmp_path / "results", [path], 1):
        pass
    mirror = watcher(resolved, studies=[])
    mirror.go_through()
    assert mirror.done


def test_an_edited_study_is_read_anew(study: Resolved) -> None:
    finish(study)
    mirror = watcher(study)
    mirror.go_through()
    make_study(study.path.parent, ONE.replace("[10]", "[20]"))
    mirror.go_through()
    assert not mirror.done
    make_study(study.path.parent, ONE.replace("[10]", "[10, 20]"))
    mirror.go_through()
    assert TARGET in runs_of(study)


@pytest.mark.parametrize("text", [None, "study: [", ONE.replace("digits", "none")])
def test_a_bad_study_file_is_said_once_and_tried_again(
    study: Resolved, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    finish(study)
    study.path.unlink()
    if text is not None:
        study.path.write_text(text)
    mirror = watcher(study)
    for _ in range(4):
        mirror.go_through()
    error = capsys.readouterr().err
    assert error.startswith(f"warning: {study.path}: ")
    assert error.count("\n") == 1
    make_study(study.path.parent, ONE)
    mirror.go_through()
    assert mirror.done


def test_a_folder_that_is_emptied_meanwhile_is_no_trouble(
    study: Resolved, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(study)
    mirror = watcher(study)
    real = records.read_json

    def gone(path: str | Path) -> Any:
        raise UserError(f"{path}: no such file")

    with monkeypatch.context() as patched:
        patched.setattr(records, "read_json", gone)
        mirror.go_through()
    assert records.read_json is real
    mirror.go_through()
    assert mirror.done
    assert capsys.readouterr().err == ""


def test_server_away_is_said_once_and_caught_up(
    study: Resolved, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_progress(study.of("train")[0], epochs=1)
    mirror = watcher(study)
    mirror.go_through()
    real, away = Mirror.follow, store.Away("http://host: Connection refused")

    def follow(self: Mirror, *args: Any, **options: Any) -> Any:
        real(self, *args, **options)
        raise away  # after all was done: the answer was lost

    with monkeypatch.context() as patched:
        patched.setattr(Mirror, "follow", follow)
        for epochs in (2, 3):
            make_progress(study.of("train")[0], epochs=epochs)
            mirror.go_through()
    expected = "warning: http://host: Connection refused; trying again\n"
    assert capsys.readouterr().err == expected
    finish(study)
    mirror.go_through()
    assert f"{mirror.place.shown} is back" in capsys.readouterr().out
    assert mirror.behind  # all is looked at again: it may have lost something
    client_of(study).delete_run(runs_of(study)[SHADOWS].info.run_id)
    mirror.go_through()
    assert mirror.done
    assert SHADOWS in runs_of(study)
    assert len(history(study, runs_of(study)[TARGET], "train/loss")) == 3


def test_bug_is_told_and_not_raised(
    study: Resolved, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(study)
    mirror = watcher(study)
    monkeypatch.setattr(watch, "connect", lambda place: 1 / 0)
    mirror.go_through()
    mirror.go_through()
    assert capsys.readouterr().err == "warning: ZeroDivisionError: division by zero\n"


def test_another_tracker_at_work_is_waited_for(
    study: Resolved, capsys: pytest.CaptureFixture[str]
) -> None:
    finish(study)
    mirror = watcher(study)
    with store.locked(mirror.place):
        mirror.go_through()
        assert not mirror.done
        with (
            pytest.raises(store.Busy, match="another tracker"),
            store.locked(mirror.place, seconds=0.3),
        ):
            pass
    assert capsys.readouterr().err == ""
    mirror.go_through()
    assert mirror.done


def test_a_backlog_lets_go_of_the_lock(
    study: Resolved, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(study)
    monkeypatch.setattr(watch, "_SECONDS_TO_HOLD", 0.0)
    mirror = watcher(study)
    passes = 0
    while not mirror.done:
        mirror.go_through()
        passes += 1
        assert mirror.behind != mirror.done
        assert passes < 10
    assert passes == 3  # target, shadows, attack
    assert {run.info.status for run in runs_of(study).values()} == {"FINISHED"}


class Interrupted(BaseException):
    """Stands for a kill."""


@pytest.mark.slow
def test_killed_at_any_call_a_new_watcher_completes(study: Resolved) -> None:
    results = study.path.parent / "results"
    first, second = study.of("train")

    def stages() -> Any:
        make_progress(first, epochs=1)
        yield
        make_progress(second, epochs=2, finished=[2])
        yield
        finish(study)
        yield

    def start_over() -> None:
        for folder in ("models", "attacks", "figures", "claims", "progress"):
            shutil.rmtree(results / folder, ignore_errors=True)
        client = client_of(study)
        experiment = client.get_experiment_by_name("tiny")
        if experiment is not None:
            name = f"old {experiment.experiment_id}"
            client.rename_experiment(experiment.experiment_id, name)

    for _ in stages():
        look(study)
    expected = seen(study)
    left, calls = 1, 0
    while left > 0:  # until it ran to its end
        calls += 1
        start_over()
        left = calls

        class Fragile:
            """A client whose owner is killed after its n-th call."""

            def __init__(self, client: MlflowClient) -> None:
                self.client = client

            def __getattr__(self, name: str) -> Any:
                def call(*args: Any, **options: Any) -> Any:
                    nonlocal left
                    result = getattr(self.client, name)(*args, **options)
                    left -= 1
                    if left == 0:
                        raise Interrupted
                    return result

                return call

        fragile: Any = Fragile(client_of(study))
        place = store.find_place(None, results)
        for _ in stages():
            tree = read_tree(study, results)
            pending = [*tree.live, *tree.children]
            try:
                Mirror(fragile, place, tree).follow(pending, whole=False)
            except Interrupted:
                look(study)
        assert seen(study) == expected, f"killed at call {calls}"
        left = 0 if left > 0 else 1
    assert calls > 30


@given(st.lists(st.integers(min_value=0, max_value=400)), st.data())
def test_a_history_read_in_pieces_is_the_history(
    cuts: list[int], data: st.DataObject
) -> None:
    import tempfile

    lines = [
        json.dumps({"model": model, "epoch": epoch, "loss": model + 1 / epoch})
        for epoch in range(1, 4)
        for model in range(3)
    ]
    lines.insert(data.draw(st.integers(0, 9)), '{"model": 1, "ep')
    whole = ("\n".join(lines) + "\n").encode()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "history.jsonl")
        path.touch()
        reading = disk.Disk()
        for cut in sorted(cuts):
            path.write_bytes(whole[:cut])
            partly = reading.losses(path, "same")
            assert all(loss == m + 1 / e for e, of in partly.items()
                       for m, loss in of.items())  # fmt: skip
        path.write_bytes(whole)
        assert reading.losses(path, "same") == disk.read_losses(path)


def test_a_history_of_another_training_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text('{"model": 0, "epoch": 1, "loss": 1}\n')
    reading = disk.Disk()
    assert reading.losses(path, "old") == {1: {0: 1.0}}
    # written over in place: the inode stays, and the size grows
    path.write_text('{"model": 0, "epoch": 1, "loss": 2}\n' * 2)
    assert reading.losses(path, "new") == {1: {0: 2.0}}
    path.write_text("")
    assert reading.losses(path, "new") == {}


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--watch", "one", "two"], "a second results folder"),
        (["--watch", "--every", "0"], "more than 0 seconds"),
        (["--watch", "--out", "x.json"], "nothing with --watch"),
        ([], "0 given; allowed: one"),
        (["a.yaml", "b.yaml"], "2 given; allowed: one"),
    ],
)
def test_bad_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], part: str
) -> None:
    assert main(["track", *words]) == 2
    error = capsys.readouterr().err
    assert part in error
    assert error.count("\n") == 1


def test_until_done_by_the_command_line(study: Resolved) -> None:
    finish(study)
    results = study.path.parent / "results"
    with announced(results, [study.path], None):
        pass
    assert main(["track", "--watch", str(results), "--until-done"]) == 0
    assert {run.info.status for run in runs_of(study).values()} == {"FINISHED"}
