"""What goes wrong on a cluster: limits, dead nodes, preemption, slow file systems."""

import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from checkouts import Checkout, copy_of, kill_session
from conftest import Submitter
from slurm import Slurm
from whatelse import records

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KILLS = 20


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


def training(slurm: Slurm) -> list[str]:
    """Return the jobs that run on the GPU nodes."""
    return [job for job in slurm.jobs("RUNNING") if "gpu" in slurm.node_of(job)]


def done(submitter: Submitter) -> list[Path]:
    """Return the records of finished blocks."""
    return list(submitter.results.glob("models/*/*/record.json"))


def progress(submitter: Submitter) -> list[Path]:
    return list(submitter.results.glob("progress/*/*/model_*.safetensors"))


def same_end(submitter: Submitter, local: Checkout) -> None:
    assert submitter.records() == local.records()
    assert submitter.runs_by_key() == local.runs_by_key()
    assert {count for _, count in submitter.runs_by_key()} == {1}
    assert submitter.planned() == {}


def test_memory_limit_then_slow_file_system(
    local: Checkout, submitter: Submitter
) -> None:
    """A job that needs more memory gets it; files that show late are waited for."""
    submitter.site(
        {
            "group-components": {"models": 3},
            "set-resources": {
                rule: {"mem_mb": "300 * attempt * attempt"}
                for rule in ("train_block", "query_block")
            },
        }
    )
    # A shared file system: this host sees some records only seconds after a node
    # wrote them.
    home = submitter.slurm.home
    late = home / "late" / "whatelse"
    late.parent.mkdir()
    late.write_text(
        """#!/bin/sh
PATH=${PATH#*:}
whatelse "$@" || exit
out=$(echo " $*" | sed -n 's/.* --out \\([^ ]*\\).*/\\1/p')
if [ "$1" = query ]; then
    mv "$out/record.json" "$out/.late"
    echo "$out" >>"$0.log"
    setsid sh -c "sleep 4; mv '$out/.late' '$out/record.json'" >/dev/null 2>&1 &
fi
"""
    )
    late.chmod(0o755)
    (home / "bin" / "prolog").write_text(
        f'#!/bin/sh\necho "export PATH={late.parent}:$PATH"\n'
    )
    submitter.call(*submitter.command())

    logs = "".join(path.read_text() for path in home.glob("logs/gpu*.log"))
    assert "Exceeded job memory limit" in logs
    assert len(late.with_name("whatelse.log").read_text().splitlines()) >= 6
    same_end(submitter, local)


def test_preempted_and_dead_nodes(local: Checkout, submitter: Submitter) -> None:
    """SLURM starts again what it took a node from; the run waits for it."""
    submitter.site({"group-components": {"models": 3}})
    slurm = submitter.slurm
    run = start(submitter)
    wait_for(lambda: len(training(slurm)) == 2 and progress(submitter))
    before = {path: path.stat().st_mtime_ns for path in progress(submitter)}
    dead = training(slurm)[0]
    node = slurm.node_of(dead)
    slurm.lose_node(node)
    urgent = slurm.call(
        "sbatch", "--parsable", "--partition=urgent", "--nodes=1", "--exclusive",
        "--gpus=1", "--time=1", "--output=/dev/null", "--wrap=sleep 3",
    ).strip()  # fmt: skip
    wait_for(lambda: urgent in slurm.jobs("RUNNING"))
    slurm.start_node(node)
    wait_for(lambda: urgent not in slurm.jobs())
    slurm.hurry()
    said, _ = run.communicate(timeout=600)

    assert run.returncode == 0, said
    log = (slurm.home / "logs" / "controller.log").read_text()
    assert f"requeue job JobId={dead}" in log
    assert "preempted JobId=" in log
    for path in before:  # what was finished then was not trained again
        block = Path("models", *path.parts[-3:-1])
        assert submitter.telemetry(submitter.results / block)["trained"] < 2
    same_end(submitter, local)


def test_time_limit(local: Checkout, submitter: Submitter) -> None:
    """A job that ran out of time goes on from the models that it finished."""
    submitter.site({"group-components": {"models": 6}})
    slurm = submitter.slurm
    run = start(submitter)
    wait_for(lambda: len(progress(submitter)) == 12)
    (job,) = training(slurm)
    before = {path: path.stat().st_mtime_ns for path in progress(submitter)}
    slurm.freeze(job)
    slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
    wait_for(lambda: job in slurm.jobs("TIMEOUT"), 180)
    wait_for(lambda: training(slurm))
    assert {path: path.stat().st_mtime_ns for path in progress(submitter)} == before
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 0, said
    same_end(submitter, local)


def test_twenty_kills(pristine: Path, slurm: Slurm, tmp_path: Path) -> None:
    """Jobs, daemons, nodes and the submitting process, killed at random."""
    study = {"models.net.shadows": 5, "models.net.block": 2, "models.net.replicates": 4}
    undisturbed = copy_of(pristine, tmp_path / "undisturbed")
    undisturbed.edit_study(study)
    undisturbed.run()
    submitter = Submitter(copy_of(pristine, tmp_path / "repository").root, slurm)
    submitter.edit_study(study)
    submitter.site({"group-components": {"models": 2}, "restart-times": 20})

    rng = random.Random(20170522)
    # the same number of each, in random order
    victims = rng.sample(["job", "daemon", "node", "submitter"] * (KILLS // 4), KILLS)
    finished: dict[Path, dict[str, object]] = {}
    run = start(submitter)
    wait_for(lambda: list(submitter.results.glob("datasets/*/record.json")))
    while victims:
        time.sleep(rng.uniform(1, 8))
        if len(victims) == KILLS // 2 and not finished:
            # on a busy machine jobs die before any ends: nothing would be at stake
            for _ in range(300):
                if done(submitter):
                    break
                slurm.hurry()
                time.sleep(1)
        if run.poll() is not None:
            # it was done before its moment came: some of it once more
            assert run.returncode == 0, run.stdout and run.stdout.read()
            for key in sorted(submitter.results.glob("models/*"))[:2]:
                for record in key.glob("*/record.json"):
                    record.unlink()
                    finished.pop(record.parent.relative_to(submitter.root), None)
            run = start(submitter)
            continue
        victim = victims[-1]
        jobs = slurm.jobs("RUNNING")
        if victim in ("job", "node") and not jobs:
            continue
        victims.pop()
        if victim == "job":
            slurm.call("scancel", rng.choice(jobs), check=False)
        elif victim == "daemon":
            slurm.restart_daemon(rng.choice(["cpu1", "gpu1", "gpu2"]))
        elif victim == "node":
            node = slurm.node_of(rng.choice(jobs)) or "gpu1"
            slurm.lose_node(node)
            slurm.start_node(node)
            slurm.wait_until_up(node)
            slurm.hurry()
        else:
            kill_session(run)
            submitter.whatelse("unlock")
            run = start(submitter)
        for record in done(submitter):
            block = record.parent.relative_to(submitter.root)
            finished.setdefault(block, submitter.telemetry(block))
        slurm.hurry()
    said, _ = run.communicate(timeout=600)
    assert run.returncode == 0, said

    assert finished
    for block, seen in finished.items():
        now = submitter.telemetry(block)
        assert now == seen or now["trained"] == 0, (block, now)
    for path in submitter.results.rglob(records.RECORD):
        for name, digest in records.read_json(path)["outputs"].items():
            assert records.file_digest(path.parent / name) == digest
    same_end(submitter, undisturbed)
    assert submitter.strays() == []
    assert os.listdir(submitter.results / "progress") == []
