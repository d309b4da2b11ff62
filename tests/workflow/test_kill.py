"""Killed at any moment, started again: the same end as if nothing had happened."""

import contextlib
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from checkouts import Checkout, kill_session
from whatelse import records

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

MOMENTS = 10


def run_and_kill(checkout: Checkout, seconds: float) -> bool:
    """Run the study and kill all of it; return whether it was still at work."""
    process = subprocess.Popen(
        ["whatelse", "run", str(checkout.study)], cwd=checkout.root,
        env=checkout.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    at_work = process.returncode is None
    kill_session(process)
    return at_work


def test_killed_at_ten_moments(undisturbed: Checkout, clean: Checkout) -> None:
    rng = random.Random(20170522)
    blocks = [
        path.parent.relative_to(undisturbed.root)
        for path in undisturbed.results.glob("models/*/*/record.json")
    ]
    kills = 0
    trained: dict[Path, dict[str, Any] | None] = {}
    while kills < MOMENTS:
        if not run_and_kill(clean, rng.uniform(0.08, 0.35) * undisturbed.seconds):
            # it was done before its moment came: once more from the start
            shutil.rmtree(clean.results)
            trained.clear()
            continue
        kills += 1
        for block in blocks:
            folder = clean.root / block
            progress = clean.results / "progress" / Path(*block.parts[2:])
            if (folder / records.RECORD).exists():
                trained.setdefault(block, clean.telemetry(block))
            elif len(list(progress.glob("model_*.safetensors"))) == 5:
                trained.setdefault(block, None)
        clean.whatelse("unlock")
    clean.run()

    assert clean.records() == undisturbed.records()
    for path in clean.results.rglob(records.RECORD):
        for name, digest in records.read_json(path)["outputs"].items():
            assert records.file_digest(path.parent / name) == digest
    for block, seen in trained.items():
        now = clean.telemetry(block)
        assert now == seen or now["trained"] == 0, (block, now)
    assert clean.strays() == []
    assert clean.runs_by_key() == undisturbed.runs_by_key()
    assert {count for _, count in clean.runs_by_key()} == {1}
    assert clean.planned() == {}


def test_unlock_only_when_nobody_is_left(clean: Checkout) -> None:
    process = subprocess.Popen(
        ["whatelse", "run", str(clean.study.relative_to(clean.root))], cwd=clean.root,
        env=clean.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(600):
            if list(clean.root.glob(".snakemake/locks/*.lock")):
                break
            time.sleep(0.05)
        refused = clean.whatelse("unlock", code=2).stderr
        assert refused.startswith("error: ")
        assert "alive" in refused
        second = clean.run(code=2).stderr
        assert second.splitlines()[-1].startswith("error: ")
        assert "whatelse unlock" in second
    finally:
        kill_session(process)
    assert "removed" in clean.whatelse("unlock").stdout
    assert "no lock" in clean.whatelse("unlock").stdout
