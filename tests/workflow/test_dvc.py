"""DVC around the workflow: reproduce, show, compare, experiment, share, adopt."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from checkouts import STUDY, Checkout, copy_of
from whatelse.studies.resolve import load_study

pytestmark = pytest.mark.workflow

FILE = f"config/studies/{STUDY}.yaml"
OTHER = "config/studies/memorization-digits.yaml"
JOINT = "config/studies/properties-digits.yaml"
HIDDEN = "config/studies/backdoors-digits.yaml"
TREES = "attacks.shadow.attack_model.trees"


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=folder, check=True)


@pytest.fixture(scope="module")
def shared(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a repository whose results one person made and pushed.

    Its study is the demo's over a small grid; its run used a profile of its own.
    """
    place = tmp_path_factory.mktemp("shared")
    checkout = copy_of(pristine, place / "repository")
    demo = yaml.safe_load((pristine / "demo.yaml").read_text())
    study = yaml.safe_load(checkout.study.read_text())
    net = study["models"]["net"]
    del net["members"]
    net |= {"foreach": {"members": [40, 60]}, "replicates": 1}
    # the two whose values dvc.yaml plots
    figures = {name: demo["figures"][name] for name in ("size", "roc")}
    study |= {"figures": figures, "claims": []}
    del study["attacks"]["threshold"]
    study["attacks"]["shadow"]["attack_model"] = {"kind": "random-forest", "trees": 20}
    checkout.study.write_text(yaml.safe_dump(study, sort_keys=False))
    # the other demos, as small as they go
    other = checkout.root / OTHER
    small = yaml.safe_load((pristine / OTHER).read_text())
    for entry in small["models"].values():
        if "dataset" in entry:
            entry["architecture"]["hidden"] = [128]
            entry["training"] |= {"epochs": 2}
            entry["replicates"] = 1
    del small["models"]["sign"], small["attacks"]["sign"]
    small |= {
        "figures": {"table": {**small["figures"]["table"], "attacks": ["lsb"]}},
        "claims": [],
    }
    other.write_text(yaml.safe_dump(small, sort_keys=False))
    joint = yaml.safe_load((pristine / JOINT).read_text())
    del joint["models"]["crowd"], joint["attacks"]["layers"]
    joint["models"]["joint"]["collaboration"]["iterations"] = 130
    joint["models"]["joint"]["adversary"]["during"] = [50, 130]
    joint["attacks"]["primes"]["models"] = "joint"
    joint |= {"figures": {"timeline": joint["figures"]["timeline"]}, "claims": []}
    (checkout.root / JOINT).write_text(yaml.safe_dump(joint, sort_keys=False))
    hidden = yaml.safe_load((pristine / HIDDEN).read_text())
    del hidden["models"]["poisoned"], hidden["attacks"]["baseline"]
    for entry in hidden["models"].values():
        entry |= {"replicates": 1}
        entry["collaboration"]["rounds"] = 2
        entry["adversary"]["training"]["epochs"] = 2
    table = {**hidden["figures"]["table"], "attacks": ["replacement"]}
    hidden |= {"figures": {"table": table}, "claims": []}
    (checkout.root / HIDDEN).write_text(yaml.safe_dump(hidden, sort_keys=False))
    git(checkout.root, "init", "--quiet")
    git(checkout.root, "config", "user.name", "Somebody")
    git(checkout.root, "config", "user.email", "somebody@example.org")
    git(checkout.root, "add", "--all")
    git(checkout.root, "commit", "--quiet", "--message", "Start")

    profile = place / "site" / "profile.yaml"
    profile.parent.mkdir()
    own = yaml.safe_load((pristine / "profiles/default/profile.yaml").read_text())
    profile.write_text(yaml.safe_dump(own | {"cores": 3}))
    checkout.call("dvc", "repro", WHATELSE_PROFILE=str(profile.parent))
    checkout.call("dvc", "remote", "add", "--default", "store", str(place / "store"))
    checkout.call("dvc", "push")
    git(checkout.root, "add", "dvc.lock", ".dvc/config")
    git(checkout.root, "commit", "--quiet", "--message", "Share results")
    return checkout


@pytest.fixture
def pulled(shared: Checkout, tmp_path: Path) -> Checkout:
    """Return a clone of it, with its results."""
    git(tmp_path, "clone", "--quiet", str(shared.root), "clone")
    clone = Checkout(tmp_path / "clone")
    for word in ("name", "email"):
        git(clone.root, "config", f"user.{word}", "other")
    clone.call("dvc", "pull")
    return clone


def adopt(checkout: Checkout) -> str:
    return checkout.whatelse("adopt", FILE).stdout


def a_model(checkout: Checkout) -> Path:
    """Return the file of a block of the first study: studies share the folder."""
    block = load_study(checkout.root / FILE, checkout.results).of("train")[0]
    return Path(block.folder, "models.safetensors")


def spoil(path: Path) -> None:
    """Flip a byte of a file."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink()  # it may be write-protected
    path.write_bytes(content)


def test_repro_with_a_profile(shared: Checkout) -> None:
    logs = "".join(p.read_text() for p in shared.root.glob(".snakemake/log/*.log"))
    assert "Provided cores: 3" in logs
    assert "up to date" in shared.call("dvc", "status").stdout
    assert not shared.call("git", "status", "--short").stdout


def test_metrics_and_plots(shared: Checkout, tmp_path: Path) -> None:
    shown = shared.call("dvc", "metrics", "show", "--json").stdout
    files = json.loads(shown)[""]["data"]
    for members in (40, 60):
        name = f"shadow.members-{members}"
        means = files[f"results/summary/{STUDY}/{name}.json"]["data"]
        assert means["auc"] == shared.metrics(name)["summary"]["auc"]["mean"]
    shared.call("dvc", "plots", "show", "--out", str(tmp_path))
    page = (tmp_path / "index.html").read_text()
    assert page.count("datum.replicate == 'mean'") == 2
    assert "<DVC_METRIC" not in page
    assert "size/figure.png" in page or "size_figure.png" in page


def test_joint_models_travel(pulled: Checkout) -> None:
    """A folder of their own, which DVC brings and `adopt` takes."""
    said = pulled.whatelse("adopt", JOINT).stdout
    assert "6 artefacts adopted, 0 to be made again" in said
    # that of this study: the one on backdoors has joint models too
    (joint,) = (
        record.parent
        for record in pulled.results.glob("collaborations/*/joint/record.json")
        if json.loads(record.read_text())["spec"]["adversary"]["kind"] == "property"
    )
    spoil(joint / "observations.safetensors")
    said = pulled.whatelse("adopt", JOINT).stdout
    assert "observations.safetensors is not what its record says" in said
    # the joint model, its attack, figure and claims
    assert "2 artefacts adopted, 4 to be made again" in said


def test_pull_and_adopt(shared: Checkout, pulled: Checkout) -> None:
    assert pulled.records() == shared.records()
    assert not list(pulled.results.rglob("telemetry.json"))
    assert "10 artefacts adopted, 0 to be made again" in adopt(pulled)
    # nothing to do but to mirror the results into this clone's own MLflow
    assert pulled.planned() == {"track_study": 1}
    # Snakemake knows how they were made: other settings or code are seen from now on
    pulled.edit_study({"attacks.shadow.sparse_classes": "refuse"})
    later = {"check_claims": 1, "draw_figure": 2, "run_attack": 2, "track_study": 1}
    assert pulled.planned() == later
    git(pulled.root, "checkout", "--quiet", FILE)
    code = pulled.root / "src" / "whatelse" / "figures" / "roc.py"
    code.write_text(code.read_text() + "\n# edited\n")
    assert "figures/membership-digits/roc: made by other code\n" in adopt(pulled)
    assert pulled.planned() == {"draw_figure": 1, "track_study": 1}


def test_what_does_not_match_is_made_again(pulled: Checkout) -> None:
    everything = {
        "prepare_dataset": 1, "train_block": 2, "query_block": 2, "run_attack": 2,
        "check_claims": 1, "draw_figure": 2, "track_study": 1,
    }  # fmt: skip
    dataset = next(pulled.results.glob("datasets/*/labels.npy"))
    spoil(dataset)
    said = adopt(pulled)
    assert "labels.npy is not what its record says" in said
    assert "0 artefacts adopted, 10 to be made again" in said
    assert pulled.planned() == everything
    pulled.call("dvc", "checkout", "--force")

    spoil(a_model(pulled))
    (pulled.results / "figures" / STUDY / "size" / "figure.pdf").unlink()
    assert "models.safetensors is not what its record says" in adopt(pulled)
    family = {"prepare_dataset": 0, "train_block": 1, "query_block": 1, "run_attack": 1}
    expected = {rule: count for rule, count in (everything | family).items() if count}
    assert pulled.planned() == expected


def test_experiments_and_two_commits(pulled: Checkout) -> None:
    model = a_model(pulled)
    whole = model.read_bytes()
    spoil(model)
    before = pulled.metrics("shadow.members-60")["summary"]["auc"]["mean"]
    pulled.call(
        "dvc", "exp", "run", "--name", "few", "--set-param", f"{FILE}:{TREES}=3"
    )
    after = pulled.metrics("shadow.members-60")["summary"]["auc"]["mean"]
    assert after != before
    # an experiment builds on nothing that was spoiled: it was trained again, the same
    assert model.read_bytes() == whole
    assert not pulled.strays()
    assert pulled.planned() == {}
    assert "up to date" in pulled.call("dvc", "status").stdout

    shown = pulled.call("dvc", "exp", "show", "--csv", "--only-changed").stdout
    assert TREES in shown.splitlines()[0]
    assert any(line.startswith("few,") for line in shown.splitlines())
    git(pulled.root, "commit", "--quiet", "--all", "--message", "Grow fewer trees")
    told = pulled.call("dvc", "params", "diff", "HEAD~1", "--json").stdout
    assert json.loads(told)[FILE][TREES] == {"old": 20, "new": 3, "diff": -17}
    told = pulled.call("dvc", "metrics", "diff", "HEAD~1", "--json").stdout
    changed = json.loads(told)[f"results/summary/{STUDY}/shadow.members-60.json"]
    assert changed["auc"] == {"old": before, "new": after, "diff": after - before}

    git(pulled.root, "checkout", "--quiet", "HEAD~1")
    pulled.call("dvc", "checkout")
    assert pulled.metrics("shadow.members-60")["summary"]["auc"]["mean"] == before
    assert "10 artefacts adopted, 0 to be made again" in adopt(pulled)
    assert pulled.planned() == {"track_study": 1}
    pulled.call("dvc", "exp", "apply", "few")
    assert "10 artefacts adopted, 0 to be made again" in adopt(pulled)
    # MLflow was told of these when the experiment ran
    assert pulled.planned() == {}


def test_results_without_raw_files(clean: Checkout) -> None:
    """Raw files are the registry's: what was made from them needs them no more."""
    mirror = os.environ.get("WHATELSE_MIRROR", "")
    if not mirror or not Path(mirror, "location").is_dir():
        pytest.skip("needs WHATELSE_MIRROR, a folder with the Location data")
    clean.edit_study(
        {"datasets": {"location": {"source": "location"}}}
        | {"models.net.dataset": "location", "figures": {}}
    )
    dataset = load_study(clean.study).of("dataset")[0].folder
    clean.call(
        "snakemake", "--cores", "1", f"{dataset}/record.json", WHATELSE_MIRROR=mirror
    )
    assert (clean.root / "resources" / "location" / "fetched.json").exists()
    # as after a pull into a new clone: no raw files, and Snakemake knows nothing
    shutil.rmtree(clean.root / "resources")
    shutil.rmtree(clean.root / ".snakemake")
    assert "1 artefacts adopted, 0 to be made again" in adopt(clean)
    planned = clean.planned()
    assert "train_block" in planned
    assert not {"fetch_dataset", "prepare_dataset"} & set(planned)

    # raw files are fetched where the prepared ones are not what they were
    spoil(clean.root / dataset / "inputs.npy")
    assert "inputs.npy is not what its record says" in adopt(clean)
    planned = clean.planned()
    assert planned["fetch_dataset"] == planned["prepare_dataset"] == 1
