"""``whatelse unlock``: only the lock of a run that is gone."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from whatelse.cli import main
from whatelse.studies.unlock import owners


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    locks = tmp_path / "run" / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    for name in ("0.input.lock", "0.output.lock"):
        (locks / name).write_text("results/x")
    return tmp_path / "run"


def locks(directory: Path) -> list[str]:
    return sorted(p.name for p in (directory / ".snakemake" / "locks").iterdir())


def start(directory: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start a process that sleeps in a directory under the name of another."""
    directory.mkdir(exist_ok=True)
    sleep = "import sys, time; print(flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [words[0], "-c", sleep, *words[1:]],
        executable=sys.executable,
        cwd=directory,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    process.stdout.readline()
    return process


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


@pytest.mark.parametrize(
    "words", [("/env/bin/snakemake", "--cores"), ("python", "/env/bin/whatelse", "run")]
)
def test_a_run_that_is_alive_keeps_its_lock(
    locked: Path,
    words: tuple[str, ...],
    processes: list[subprocess.Popen[bytes]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    process = start(locked, *words)
    processes.append(process)
    assert owners(locked) == [process.pid]
    assert main(["unlock", "--directory", str(locked)]) == 2
    assert f"alive (process {process.pid})" in capsys.readouterr().err
    assert len(locks(locked)) == 2
    process.kill()
    process.wait()
    for _ in range(100):
        if not owners(locked):
            break
        time.sleep(0.02)
    assert main(["unlock", "--directory", str(locked)]) == 0
    assert locks(locked) == []


def test_other_processes_do_not_count(
    locked: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    """A shell in the directory, and a run in another one."""
    processes.append(start(locked, "python", "notes-on-snakemake.txt"))
    processes.append(start(tmp_path / "elsewhere", "snakemake"))
    assert owners(locked) == []
    assert main(["unlock", "--directory", str(locked)]) == 0
    assert locks(locked) == []


def test_a_run_seen_through_a_link(
    locked: Path, tmp_path: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    (tmp_path / "link").symlink_to(locked)
    processes.append(start(locked, "snakemake"))
    assert main(["unlock", "--directory", str(tmp_path / "link")]) == 2


def test_nothing_to_unlock(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unlock", "--directory", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no lock here\n"


def test_only_locks_are_removed(locked: Path) -> None:
    other = locked / ".snakemake" / "locks" / "notes.txt"
    other.write_text("")
    assert main(["unlock", "--directory", str(locked)]) == 0
    assert locks(locked) == ["notes.txt"]


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locked: Path) -> Path:
    """Put a `squeue` and a `scancel` on the path; return the list of jobs."""
    (locked / ".snakemake" / "slurm_logs").mkdir()
    programs = tmp_path / "bin"
    programs.mkdir()
    jobs = tmp_path / "jobs"
    jobs.write_text(
        f"1 whatelse_a1 {locked}\n2 whatelse_a1 {tmp_path}\n3 mine {locked}\n"
        f"4 whatelse_b2 {locked}\n"
    )
    (programs / "squeue").write_text(
        '#!/bin/sh\ncase "$*" in *--user*) cat "$JOBS";; *) ;; esac\n'
    )
    (programs / "scancel").write_text(
        '#!/bin/sh\necho "$@" >"$JOBS.cancelled"; : >"$JOBS"\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("JOBS", str(jobs))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return jobs


def test_jobs_that_a_dead_run_left_are_cancelled(
    locked: Path, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["unlock", "--directory", str(locked)]) == 0
    assert slurm.with_name("jobs.cancelled").read_text().split() == ["1", "4"]
    assert "cancelled 2 jobs" in capsys.readouterr().out
    assert locks(locked) == []


def test_jobs_of_a_living_run_are_left(
    locked: Path, slurm: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes.append(start(locked, "/env/bin/snakemake"))
    assert main(["unlock", "--directory", str(locked)]) == 2
    assert not slurm.with_name("jobs.cancelled").exists()


def test_a_scheduled_job_is_no_run(
    locked: Path, monkeypatch: pytest.MonkeyPatch,
    processes: list[subprocess.Popen[bytes]],
) -> None:  # fmt: skip
    with monkeypatch.context() as there:
        there.setenv("SLURM_JOB_ID", "17")
        processes.append(start(locked, "/env/bin/snakemake"))
        # to whom lives in the same job, it is one
        assert owners(locked) == [processes[0].pid]
    assert owners(locked) == []


def test_a_queue_that_does_not_answer_keeps_the_lock(
    locked: Path, slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (slurm.parent / "bin" / "squeue").write_text("#!/bin/sh\necho down >&2; exit 1\n")
    assert main(["unlock", "--directory", str(locked)]) == 2
    assert "SLURM: down" in capsys.readouterr().err
    assert len(locks(locked)) == 2


def test_a_run_of_another_host_is_unlocked_there(
    locked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (locked / "results").mkdir()
    (locked / "results" / "running.json").write_text('{"host": "elsewhere"}')
    assert main(["unlock", "--directory", str(locked)]) == 2
    assert "elsewhere" in capsys.readouterr().err
    assert main(["unlock", "--directory", str(locked), "--any-host"]) == 0
    assert locks(locked) == []


def test_a_watcher_is_no_run(
    locked: Path, processes: list[subprocess.Popen[bytes]]
) -> None:
    processes.append(start(locked, "/env/bin/whatelse", "track", "--watch"))
    assert owners(locked) == []
