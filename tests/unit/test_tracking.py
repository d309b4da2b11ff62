"""The mirror in MLflow: the exact tree, never twice, whole after any interruption."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from tracking_results import STARTED, STUDY, make_artefact, make_results, make_study
from whatelse.cli import main
from whatelse.records import read_json, write_json
from whatelse.studies.resolve import Resolved, load_study
from whatelse.tracking import command, store
from whatelse.tracking.mirror import Mirror
from whatelse.tracking.reader import read_tree
from whatelse.tracking.tree import Tree

NAMES = {
    "tiny",
    *(
        f"{what} net · members {members} · replicate {replicate}"
        for what in ("target", "shadows of")
        for members in (10, 20)
        for replicate in (0, 1)
    ),
    "attack shadow · members 10",
    "attack shadow · members 20",
}


@pytest.fixture
def home(tmp_path: Path, empty_database: bytes) -> Path:
    """Return a working folder with an empty database."""
    (tmp_path / "mlflow.db").write_bytes(empty_database)
    return tmp_path


def track(home: Path) -> dict[str, Any]:
    """Track the study by the command line; return what ``--out`` holds."""
    out = home / "runs.json"
    arguments = ["--results", str(home / "results"), "--out", str(out)]
    assert main(["track", str(home / "tiny.yaml"), *arguments]) == 0
    index: dict[str, Any] = json.loads(out.read_text())
    return index


def client_of(home: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{home}/mlflow.db")


def runs_of(home: Path, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
    client = client_of(home)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found: list[Run] = client.search_runs(
        [experiment.experiment_id], run_view_type=view
    )
    return found


def named(home: Path, name: str) -> Run:
    (run,) = [run for run in runs_of(home) if run.info.run_name == name]
    return run


def history(home: Path, run: Run, metric: str) -> list[tuple[int, float]]:
    points = client_of(home).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def everything(home: Path) -> dict[str, Any]:
    """Return all that is seen of the active runs, without MLflow's ids."""
    client = client_of(home)
    seen = {}
    for run in runs_of(home):
        files = {
            str(path.relative_to(run.info.artifact_uri.removeprefix("file://")))
            for path in Path(run.info.artifact_uri.removeprefix("file://")).rglob("*.*")
        }
        tags = {k: v for k, v in run.data.tags.items() if k != "mlflow.parentRunId"}
        inputs = (
            [d.dataset.name for d in run.inputs.dataset_inputs] if run.inputs else []
        )
        points = {name: history(home, run, name) for name in run.data.metrics}
        status = (run.info.status, run.info.start_time, run.info.end_time)
        assert run.info.run_name not in seen
        seen[run.info.run_name] = (tags, run.data.params, points, inputs, files, status)
    assert client.get_experiment_by_name("tiny") is not None
    return seen


def test_shadows_on_other_data_have_a_run_and_a_control_has_none(
    tmp_path: Path,
) -> None:
    text = STUDY.replace("members: [10, 20]", "members: [10]").replace(
        "    shadows: 3\n",
        "      shadow_data.kind: [real, noisy]\n    shadows: 3\n",
    )
    text = text.replace("block: 2", "block: 4")
    resolved = make_results(tmp_path, text)
    tree = read_tree(resolved, tmp_path / "results")
    names = Counter(child.name for child in tree.children)
    point = "net · members 10 · kind noisy"
    assert {name: count for name, count in names.items() if "noisy" in name} == {
        f"shadows of {point} · replicate 0": 1,
        f"shadows of {point} · replicate 1": 1,
        "attack shadow · members 10 · kind noisy": 1,
    }
    # the target is the same one for both kinds, and is there once a replicate
    assert sum(name.startswith("target") for name in names) == 2
    (shadows, *_) = [
        c for c in tree.children if c.name.startswith(f"shadows of {point}")
    ]
    data = [a.folder for a in resolved.of("synthesise")]
    assert shadows.data is not None
    assert str(tmp_path / "results" / shadows.data.folder) in data
    assert tree.num_missing == 0


def test_tree_is_exactly_the_study(home: Path) -> None:
    make_results(home)
    index = track(home)
    runs = runs_of(home)
    assert {run.info.run_name for run in runs} == NAMES
    assert len(runs) == len(NAMES)
    parent = named(home, "tiny")
    assert index["parent"]["run_id"] == parent.info.run_id
    for run in runs:
        assert run.info.status == "FINISHED"
        if run.info.run_id != parent.info.run_id:
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            reference = index["runs"][run.data.tags["whatelse.key"]]
            assert reference["run_id"] == run.info.run_id
            assert reference["record"] == run.data.tags["whatelse.record"]


def test_target_has_settings_curve_and_accuracies(home: Path) -> None:
    make_results(home)
    track(home)
    run = named(home, "target net · members 20 · replicate 1")
    assert run.data.params["members"] == "20"
    assert run.data.params["training.optimizer.kind"] == "adam"
    assert run.data.params["architecture.hidden"] == "[4]"
    # model 0 alone; its loss is 1 / epoch, and the doubled point counts once
    curve = [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert history(home, run, "train/loss") == curve
    # of replicate 1
    assert run.data.metrics["target/train_accuracy"] == 0.9
    assert run.data.metrics["target/test_accuracy"] == 0.6


def test_an_attack_on_fewer_replicates_than_were_trained(home: Path) -> None:
    resolved = make_results(home)
    for attack in resolved.of("attack"):
        path = Path(attack.folder, "metrics.json")
        metrics = read_json(path)
        write_json(path, {**metrics, "replicates": metrics["replicates"][:1]})
    tree = read_tree(resolved, home / "results")
    targets = [c for c in tree.children if c.tags["whatelse.role"] == "target"]
    assert [child.read().whole for child in targets] == [True, False, True, False]


def test_shadows_of_all_blocks_are_one_run(home: Path) -> None:
    make_results(home)
    track(home)
    run = named(home, "shadows of net · members 10 · replicate 0")
    assert run.data.params["models"] == "3"
    assert run.data.metrics["cost/seconds"] == 4.0
    # models 1 (first block), 2 and 3: the mean of their losses is 2 + 1 / epoch
    curve = [(1, 3.0), (2, 2.5), (3, pytest.approx(2 + 1 / 3))]
    assert history(home, run, "train/loss") == curve


def test_attack_has_means_replicates_controls_and_files(home: Path) -> None:
    make_results(home)
    track(home)
    run = named(home, "attack shadow · members 10")
    assert run.data.params["members"] == "10"
    assert run.data.params["kind"] == "membership.shadow"
    assert run.data.metrics["attack/auc"] == pytest.approx(0.61)
    assert run.data.metrics["interval/auc_high"] == pytest.approx(0.8)
    assert history(home, run, "replicates/auc") == [(0, 0.6), (1, 0.62)]
    assert history(home, run, "control/negative_p_value") == [(0, 0.4), (1, 0.5)]
    assert history(home, run, "replicates/tpr_at_fpr_0.1") == [(0, 0.25), (1, 0.25)]
    assert "replicates/tpr_at_fpr_0.001" not in run.data.metrics, "refused, not 0"
    assert "attack/precision" not in run.data.metrics, "nobody was called a member"
    files = client_of(home).list_artifacts(run.info.run_id)
    assert {file.path for file in files} == {"metrics.json", "curves.csv"}


def test_a_study_says_what_an_attacks_data_stand_in_for(home: Path) -> None:
    text = STUDY.replace("models: net}", "models: net, stand_in_for: Other}")
    assert text != STUDY
    make_results(home, text)
    track(home)
    run = named(home, "attack shadow · members 10")
    assert run.data.tags["whatelse.stand_in_for"] == "Other"
    assert run.data.tags["whatelse.dataset"] == "digits (stand-in for Other)"
    assert "a stand-in for Other" in run.data.tags["mlflow.note.content"]
    # of the models, the registry's word holds
    target = named(home, "target net · members 10 · replicate 0")
    assert target.data.tags["whatelse.stand_in_for"] == "Huge"


def test_tags_say_where_a_run_comes_from_and_that_data_stand_in(home: Path) -> None:
    make_results(home)
    index = track(home)
    run = named(home, "attack shadow · members 10")
    expected = {
        "whatelse.key": "attacks/tiny/shadow.members-10",
        "whatelse.rule": "attack",
        "whatelse.commit": "abc+",
        "mlflow.source.git.commit": "abc",
        "whatelse.host": "node1",
        "whatelse.device": "cpu",
        "whatelse.dataset": "digits (stand-in for Huge)",
        "whatelse.stand_in_for": "Huge",
    }
    assert expected.items() <= run.data.tags.items()
    assert "stand-in for Huge" in run.data.tags["mlflow.note.content"]
    (used,) = run.inputs.dataset_inputs
    assert used.dataset.name == "digits (stand-in for Huge)"
    assert run.data.tags["whatelse.data"].startswith(used.dataset.digest)
    assert run.info.start_time == int(STARTED * 1000)
    assert run.info.end_time == int(STARTED * 1000) + 2000
    page = index["experiment"]["page"]
    experiment = client_of(home).get_experiment_by_name("tiny")
    assert experiment is not None
    assert page in experiment.tags["mlflow.note.content"]
    assert f"mlflow.sharedViewState.{page.rpartition('=')[2]}" in experiment.tags


def test_parent_has_figures_claims_and_a_table(home: Path) -> None:
    make_results(home)
    track(home)
    run = named(home, "tiny")
    client = client_of(home)
    figures = client.list_artifacts(run.info.run_id, "figures/size")
    assert {Path(file.path).name for file in figures} == {"figure.png", "figure.pdf"}
    claims = client.list_artifacts(run.info.run_id, "claims")
    assert {Path(file.path).name for file in claims} == {"claims.html", "claims.json"}
    assert run.data.metrics == {"claims/missed": 1, "claims/reproduced": 2}
    note = run.data.tags["mlflow.note.content"]
    row = "| attack shadow · members 10 | digits (stand-in for Huge) | 0.610 |"
    assert row in note


def test_again_logs_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_results(home)
    index = track(home)
    before = everything(home)
    capsys.readouterr()
    assert track(home) == index
    assert capsys.readouterr().out == (
        "MLflow: tiny: 10 runs below the study's, nothing new\n"
    )
    # without the index the database is gone through: the same is found
    (home / "runs.json").unlink()
    assert track(home) == index
    assert "0 new, 0 completed, 0 superseded" in capsys.readouterr().out
    assert everything(home) == before


def test_again_does_not_import_mlflow(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_results(home)
    track(home)
    monkeypatch.setattr(command, "connect", None)
    track(home)


@pytest.mark.parametrize("what", ["run", "experiment", "parent"])
def test_what_a_user_deleted_comes_back(home: Path, what: str) -> None:
    make_results(home)
    index = track(home)
    before = everything(home)
    if what == "experiment":
        client_of(home).delete_experiment(index["experiment"]["id"])
    else:
        name = "attack shadow · members 10" if what == "run" else "tiny"
        client_of(home).delete_run(named(home, name).info.run_id)
    track(home)
    assert everything(home) == before
    parent = named(home, "tiny").info.run_id
    parents = {run.data.tags.get("mlflow.parentRunId", parent) for run in runs_of(home)}
    assert parents == {parent}


class Interrupted(BaseException):
    """Stands for a kill."""


class Fragile:
    """A client whose owner is killed after its n-th call."""

    def __init__(self, client: MlflowClient, calls: int) -> None:
        self.client, self.left = client, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise Interrupted
            return result

        return call


def small(home: Path) -> tuple[Resolved, Tree, store.Place]:
    """Return a study of one target, so that every call can be interrupted."""
    text = STUDY.replace("[10, 20]", "[10]").replace("replicates: 2", "replicates: 1")
    resolved = make_results(home, text)
    results = home / "results"
    return resolved, read_tree(resolved, results), store.find_place(None, results)


@pytest.mark.slow
def test_killed_at_any_call_the_next_one_completes(home: Path) -> None:
    _, tree, place = small(home)
    whole = Fragile(client_of(home), 10**9)
    Mirror(whole, place, tree).update()  # type: ignore[arg-type]
    expected = everything(home)
    num_calls = 10**9 - whole.left
    assert num_calls > 20
    for calls in range(1, num_calls + 1):
        client = client_of(home)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        # start from nothing: under another name the experiment is out of the way
        client.rename_experiment(experiment.experiment_id, f"old {calls}")
        client.delete_experiment(experiment.experiment_id)
        fragile = Fragile(client, calls)
        with pytest.raises(Interrupted):
            Mirror(fragile, place, tree).update()  # type: ignore[arg-type]
        Mirror(client, place, tree).update()
        assert everything(home) == expected, f"killed at call {calls}"


def test_changed_record_supersedes_its_run(home: Path) -> None:
    resolved = make_results(home)
    track(home)
    old = named(home, "attack shadow · members 10")
    make_artefact(resolved.of("attack")[0], changed=True)
    track(home)
    new = named(home, "attack shadow · members 10")
    assert new.info.run_id != old.info.run_id
    (gone,) = runs_of(home, ViewType.DELETED_ONLY)
    assert gone.info.run_id == old.info.run_id
    assert gone.data.tags["whatelse.superseded_by"] == new.info.run_id
    assert len(runs_of(home)) == len(NAMES)


@pytest.mark.slow
def test_killed_while_superseding(home: Path) -> None:
    resolved, tree, place = small(home)
    Mirror(client_of(home), place, tree).update()
    attack = resolved.of("attack")[0]
    for calls in range(1, 40):
        make_artefact(attack, changed=calls)
        tree = read_tree(resolved, home / "results")
        fragile = Fragile(client_of(home), calls)
        try:
            Mirror(fragile, place, tree).update()  # type: ignore[arg-type]
        except Interrupted:
            Mirror(client_of(home), place, tree).update()
        else:
            assert calls > 10
            break
        names = Counter(run.info.run_name for run in runs_of(home))
        assert set(names.values()) == {1}
        record = tree.children[-1].record
        run = named(home, "attack shadow · members 10")
        assert run.data.tags["whatelse.record"] == record
    else:
        pytest.fail("never ran to its end")


def test_what_left_the_study_leaves_its_runs(home: Path) -> None:
    make_results(home)
    track(home)
    text = STUDY.replace("[10, 20]", "[20]").replace("  size:\n", "  other:\n")
    make_results(home, text)
    track(home)
    names = {run.info.run_name for run in runs_of(home)}
    assert names == {name for name in NAMES if "members 10" not in name}
    run = named(home, "tiny")
    figures = client_of(home).list_artifacts(run.info.run_id, "figures")
    assert [file.path for file in figures] == ["figures/other"]
    gone = runs_of(home, ViewType.DELETED_ONLY)
    assert {run.data.tags["whatelse.superseded_by"] for run in gone} == {
        "no longer part of the study"
    }


def test_unfinished_study_stays_open_and_is_completed(home: Path) -> None:
    resolved = load_study(make_study(home), home / "results")
    late = [a for a in resolved.artefacts if a.kind in ("attack", "figure", "claims")]
    for artefact in resolved.artefacts:
        if artefact not in late:
            make_artefact(artefact)
    track(home)
    target = named(home, "target net · members 10 · replicate 0")
    assert "target/test_accuracy" not in target.data.metrics
    assert target.info.status == "RUNNING"
    assert named(home, "tiny").info.status == "RUNNING"
    for artefact in late:
        make_artefact(artefact)
    track(home)
    same = named(home, "target net · members 10 · replicate 0")
    assert same.info.run_id == target.info.run_id
    assert same.data.metrics["target/test_accuracy"] == 0.5
    assert len(history(home, same, "train/loss")) == 3
    assert {run.info.status for run in runs_of(home)} == {"FINISHED"}
    # a result that is being made anew keeps its run, and opens the study's
    (Path(late[0].folder) / "record.json").unlink()
    track(home)
    assert {run.info.run_name for run in runs_of(home)} == NAMES
    assert named(home, "tiny").info.status == "RUNNING"


def test_changed_verdicts_are_the_latest(home: Path) -> None:
    resolved = make_results(home)
    track(home)
    (claims,) = resolved.of("claims")
    make_artefact(claims, changed=True)
    counts = {"reproduced": 3}
    file = Path(claims.folder) / "claims.json"
    file.write_text(json.dumps({"claims": [], "counts": counts}))
    track(home)
    run = named(home, "tiny")
    assert run.data.metrics == {"claims/missed": 0, "claims/reproduced": 3}
    assert history(home, run, "claims/reproduced") == [(0, 2), (1, 3)]


def test_runs_of_others_are_left_alone(home: Path) -> None:
    make_results(home)
    index = track(home)
    client = client_of(home)
    own = client.create_run(index["experiment"]["id"], run_name="my own")
    (home / "runs.json").unlink()
    track(home)
    assert client.get_run(own.info.run_id).info.lifecycle_stage == "active"


def test_moved_folder_is_one_clear_line(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_results(home)
    track(home)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mlflow.db", "results", "tiny.yaml"):
        (home / name).rename(moved / name)
    assert main(["track", f"{moved}/tiny.yaml", "--results", f"{moved}/results"]) == 2
    error = capsys.readouterr().err
    assert "was the folder moved?" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("uri", "part"),
    [("./mlruns", "allowed: sqlite:///FILE"), ("ftp://host/x", "no tracking store")],
)
def test_store_that_mlflow_lacks(
    home: Path, capsys: pytest.CaptureFixture[str], uri: str, part: str
) -> None:
    make_study(home)
    arguments = ["--results", str(home / "results"), "--uri", uri]
    assert main(["track", str(home / "tiny.yaml"), *arguments]) == 2
    assert part in capsys.readouterr().err


def test_broken_database_is_one_clear_line(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_results(home)
    (home / "mlflow.db").write_text("no database at all, whatever its name says")
    arguments = ["--results", str(home / "results")]
    assert main(["track", str(home / "tiny.yaml"), *arguments]) == 2
    error = capsys.readouterr().err
    assert "no usable tracking store" in error
    assert error.count("\n") == 1


def test_default_store_lies_beside_the_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place = store.find_place(None, tmp_path / "results")
    assert place.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert place.artifacts == tmp_path / "mlartifacts"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    place = store.find_place(None, tmp_path / "results")
    assert (place.uri, place.artifacts) == ("http://127.0.0.1:5000", None)


def test_fresh_database_shows_studies_alone(home: Path) -> None:
    assert client_of(home).search_experiments() == []
    assert not list(home.glob(".mlflow.db*"))
