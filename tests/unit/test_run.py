"""`whatelse run` around Snakemake: which report is made, and which is kept."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from whatelse.cli import main
from whatelse.errors import UserError
from whatelse.records import write_json
from whatelse.studies import run, show


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Run in a folder where Snakemake has nothing to do; collect its reports."""
    made: list[list[str]] = []

    def study(path: Path, *_: Any, **__: Any) -> SimpleNamespace:
        track(tmp_path, path.stem, new=False)
        return SimpleNamespace(
            path=path,
            study=SimpleNamespace(study=path.stem),
            artefacts=[],
            of=lambda what: [],
        )

    def snakemake(command: list[str], **_: Any) -> SimpleNamespace:
        at = command.index("--report")
        Path(command[at + 1]).write_text("page")
        made.append(command)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run, "load_study", study)
    monkeypatch.setattr(run, "_snakemake", lambda args, studies: 0)
    monkeypatch.setattr(run.subprocess, "run", snakemake)
    monkeypatch.setattr(show, "print_results", lambda resolved: None)
    return made


def track(root: Path, study: str, *, new: bool = True) -> None:
    """Write what the tracker writes last, at another time if it is new."""
    path = root / "results" / "tracking" / f"{study}.json"
    if new or not path.exists():
        before = path.stat().st_mtime_ns if path.exists() else 0
        write_json(path, {"experiment": {"page": f"#/{study}"}})
        os.utime(path, ns=(before + 10**9, before + 10**9))


def test_a_report_is_made_once(
    reports: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "a.yaml"]) == 0
    assert "Nothing to do" not in capsys.readouterr().out
    assert main(["run", "a.yaml"]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert len(reports) == 1
    track(tmp_path, "a")
    assert main(["run", "a.yaml"]) == 0
    assert len(reports) == 2


def test_a_report_of_another_study_is_not_kept(reports: list[list[str]]) -> None:
    for study in ("a.yaml", "b.yaml", "a.yaml"):
        assert main(["run", study]) == 0
    assert len(reports) == 3


def test_a_report_that_fails_leaves_no_older_one(
    reports: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert main(["run", "a.yaml"]) == 0
    track(tmp_path, "a")
    failed = SimpleNamespace(returncode=1, stderr="broken")
    with monkeypatch.context() as patch:
        patch.setattr(run.subprocess, "run", lambda *_, **__: failed)
        capsys.readouterr()
        assert main(["run", "a.yaml"]) == 0
    said = capsys.readouterr()
    assert "warning: no report: broken" in said.err
    assert "Report:" not in said.out
    assert main(["run", "a.yaml"]) == 0
    assert "Report: results/report.html" in capsys.readouterr().out


def test_a_profile_is_one_of_ours_or_a_path(tmp_path: Path) -> None:
    for name in ("default", "slurm"):
        (tmp_path / "profiles" / name).mkdir(parents=True)
        (tmp_path / "profiles" / name / "profile.yaml").touch()
    own = tmp_path / "site"
    own.mkdir()
    assert run.profile_folder(tmp_path, "slurm") == tmp_path / "profiles" / "slurm"
    with pytest.raises(UserError, match=r"--profile: .*site'.*allowed: default, slurm"):
        run.profile_folder(tmp_path, str(own))
    (own / "profile.yaml").touch()
    assert run.profile_folder(tmp_path, str(own)) == own


def test_what_failed_on_a_cluster_is_found_in_its_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / ".snakemake" / "slurm_logs" / "rule_train_block"
    logs.mkdir(parents=True)
    Path("a.log").write_text("Traceback ...\nValueError: x\n")
    Path("b.log").write_text("error: study.yaml: field: bad\n")
    for number, name in enumerate(("a", "b")):
        (logs / f"{number}.log").write_text(
            f"    log: {name}.log (check log file(s) for error details)\n"
        )
    (logs / "2.log").write_text(
        "x\nslurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 1 DUE TO TIME LIMIT ***\n"
    )
    (logs / "3.log").write_text("    log: c.log (check log file(s) ...)\n")
    os.utime(logs / "3.log", (1, 1))  # of an earlier run
    assert run._failed_elsewhere(1000.0) == [("a.log", "1"), ("b.log", "2")]
    assert "DUE TO TIME LIMIT" in capsys.readouterr().err


def test_cores_are_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def snakemake(command: list[str], **_: Any) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(returncode=0)

    study = SimpleNamespace(of=lambda what: [])
    monkeypatch.setattr(run, "load_study", lambda *_, **__: study)
    monkeypatch.setattr(run, "_refuse_missing_files", lambda studies: None)
    monkeypatch.setattr(run.subprocess, "run", snakemake)
    assert main(["run", "a.yaml", "--cores", "1", "--dry-run"]) == 0
    assert main(["run", "a.yaml", "--dry-run"]) == 0
    assert asked[0][asked[0].index("--cores") + 1] == "1"
    assert "--cores" not in asked[1]


@pytest.mark.parametrize("name", ["cores", "replicates"])
def test_no_cores_and_no_replicates_are_refused(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "a.yaml", f"--{name}", "0"]) == 2
    assert f"--{name}: 0; allowed: 1 or more" in capsys.readouterr().err
