"""Runs that are watched while they go on."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from checkouts import Checkout
from conftest import Submitter


def start(submitter: Submitter) -> subprocess.Popen[str]:
    return subprocess.Popen(
        submitter.command(), cwd=submitter.root, env=submitter.environment, text=True,
        start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def done(submitter: Submitter) -> list[Path]:
    """Return the records of finished blocks."""
    return list(submitter.results.glob("models/*/*/record.json"))


def same_end(submitter: Submitter, local: Checkout) -> None:
    assert submitter.records() == local.records()
    assert submitter.runs_by_key() == local.runs_by_key()
    assert {count for _, count in submitter.runs_by_key()} == {1}
    assert submitter.planned() == {}
