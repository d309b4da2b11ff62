"""Jobs, daemons, nodes and the submitting process, killed at random moments."""

import os
import random
import time
from pathlib import Path

import pytest

from checkouts import copy_of, kill_session
from conftest import Submitter
from runs import done, same_end, start, wait_for
from slurm import Slurm
from whatelse import records

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

KILLS = 20


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
