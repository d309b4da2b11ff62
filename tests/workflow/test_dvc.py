"""DVC around the workflow: reproduce, show, share, adopt."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml
from checkouts import STUDY, Checkout, copy_of

pytestmark = pytest.mark.workflow


def git(folder: Path, *words: str) -> None:
    person = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *person, *words], cwd=folder, check=True)


@pytest.fixture(scope="module")
def origin(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository with the demo's figures over a small grid."""
    checkout = copy_of(pristine, tmp_path_factory.mktemp("origin") / "repository")
    demo = yaml.safe_load((pristine / "demo.yaml").read_text())
    study = yaml.safe_load(checkout.study.read_text())
    net = study["models"]["net"]
    del net["members"]
    net |= {"foreach": {"members": [40, 60]}, "replicates": 1}
    study |= {"figures": demo["figures"], "claims": []}
    del study["attacks"]["threshold"]
    checkout.study.write_text(yaml.safe_dump(study, sort_keys=False))
    git(checkout.root, "init", "--quiet")
    git(checkout.root, "add", "--all")
    git(checkout.root, "commit", "--quiet", "--message", "Start")
    return checkout.root


def clone(origin: Path, to: Path) -> Checkout:
    git(to.parent, "clone", "--quiet", str(origin), str(to))
    return Checkout(to)


def test_from_repro_to_adopted_pull(origin: Path, tmp_path: Path) -> None:
    first = clone(origin, tmp_path / "first")
    first.call("dvc", "repro")
    assert "up to date" in first.call("dvc", "status").stdout
    untracked = first.call("git", "status", "--short").stdout.split()
    assert untracked == ["??", "dvc.lock"]

    shown = first.call("dvc", "metrics", "show", "--json").stdout
    files = json.loads(shown)[""]["data"]
    for members in (40, 60):
        name = f"shadow.members-{members}"
        means = files[f"results/summary/{STUDY}/{name}.json"]["data"]
        assert means["auc"] == first.metrics(name)["summary"]["auc"]["mean"]
    first.call("dvc", "plots", "show", "--out", "plots")
    page = (first.root / "plots" / "index.html").read_text()
    assert page.count("datum.replicate == 'mean'") == 2
    assert "<DVC_METRIC" not in page
    assert page.count(".png") >= 3

    first.call("dvc", "remote", "add", "--default", "store", str(tmp_path / "store"))
    first.call("dvc", "push")
    git(first.root, "add", "dvc.lock", ".dvc/config")
    git(first.root, "commit", "--quiet", "--message", "Share results")

    second = clone(first.root, tmp_path / "second")
    second.call("dvc", "pull")
    assert second.records() == first.records()
    assert not list(second.results.rglob("telemetry.json"))
    adopted = second.whatelse("adopt", str(second.study.relative_to(second.root)))
    assert ", 0 to be made again" in adopted.stdout
    # nothing to do but to mirror the results into this clone's own MLflow
    assert second.planned() == {"track_study": 1}
    second.run()
    assert second.planned() == {}
    assert second.records() == first.records()
    assert "up to date" in second.call("dvc", "status").stdout

    tampered = second.results / "attacks" / STUDY / "shadow.members-40" / "metrics.json"
    tampered.chmod(0o644)
    tampered.write_text(tampered.read_text().replace('"value": 0.', '"value": 0.9'))
    said = second.whatelse("adopt", str(second.study.relative_to(second.root))).stdout
    assert "shadow.members-40: metrics.json is not what its record says" in said
    assert second.planned()["run_attack"] == 1
    second.run()
    assert second.records() == first.records()
    assert (
        tampered.read_bytes()
        == (
            first.results / "attacks" / STUDY / "shadow.members-40" / "metrics.json"
        ).read_bytes()
    )
