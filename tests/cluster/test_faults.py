"""What goes wrong on a cluster: limits, dead nodes, preemption, slow file systems."""

from pathlib import Path

import pytest

from checkouts import Checkout
from conftest import Submitter
from runs import same_end, start, wait_for
from slurm import Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def training(slurm: Slurm) -> list[str]:
    """Return the jobs that run on the GPU nodes."""
    return [job for job in slurm.jobs("RUNNING") if "gpu" in slurm.node_of(job)]


def progress(submitter: Submitter) -> list[Path]:
    return list(submitter.results.glob("progress/*/*/model_*.safetensors"))


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
