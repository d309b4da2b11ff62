"""``whatelse unlock``: only the lock of a run that is gone."""

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
