"""What a scheduler costs: wall time of a study through SLURM in which nothing worked.

    python benchmarks/cluster.py config/studies/membership-location.yaml --replicates 1

Runs the study with profiles/slurm, afresh, in a temporary copy of the checkout, on the
SLURM that the tests start (four nodes on this host) and, as they do, asks it at a
steady interval of one second: the executor's own grows to three minutes. Every job
notes in its telemetry when it worked and for how long. What is left of the wall time is
overhead: submitting, waiting for SLURM and for Snakemake to ask it, starting Python and
Snakemake.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import yaml

HOME = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HOME / "tests" / "cluster"))

from slurm import STEADY, Slurm, missing_tools  # noqa: E402

_COPIED = ("Snakefile", "config", "data", "environment.yml", "profiles", "src")


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of intervals, given as (start, length)."""
    total, reached = 0.0, float("-inf")
    for start, length in sorted(intervals):
        end = start + length
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def worked(results: Path, *kinds: str) -> list[tuple[float, float]]:
    """Return when the jobs of some kinds worked, as (start, length) in seconds."""
    files = [
        path for kind in kinds for path in (results / kind).rglob("telemetry.json")
    ]
    found = [json.loads(path.read_text()) for path in files]
    return [(t["started"], t["seconds"]) for t in found]


def main() -> None:
    """Run, and print what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("--replicates", type=int)
    parser.add_argument("--per-job", type=int, help="blocks, or attacks, in a job")
    parser.add_argument("--out", type=Path, help="write the JSON here as well")
    args = parser.parse_args()
    if missing := missing_tools():
        raise SystemExit(f"error: {', '.join(missing)} not installed")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place, "checkout")
        root.mkdir()
        for name in (*_COPIED, "workflow"):
            source = HOME / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, root / name)
        profile = root / "profiles" / "slurm" / "profile.yaml"
        settings = yaml.safe_load(profile.read_text())
        settings["slurm-init-seconds-before-status-checks"] = 1
        if args.per_job:
            settings["group-components"] |= dict.fromkeys(
                ("models", "attacks"), args.per_job
            )
        profile.write_text(yaml.safe_dump(settings))
        (root / args.study.name).write_text(args.study.read_text())
        slurm = Slurm(Path(place, "slurm"))
        slurm.home.mkdir()
        try:
            slurm.start()
            found = measure(root, slurm, args.study.name, args.replicates)
        finally:
            slurm.stop()
    text = json.dumps(found, indent=1, sort_keys=True)
    print(text)
    if args.out:
        args.out.write_text(text + "\n")


def measure(
    root: Path, slurm: Slurm, study: str, replicates: int | None
) -> dict[str, object]:
    """Run a study on a cluster; return seconds and submissions."""
    scripts = str(Path(sys.executable).parent)
    path = f"{slurm.home}/bin:{scripts}:{slurm.environment['PATH']}"
    environment = os.environ | slurm.environment
    environment |= {"PATH": path, "PYTHONPATH": f"{root / 'src'}:{STEADY}"}
    command = ["whatelse", "run", "--workflow", str(root), "--profile", "slurm", study]
    if replicates is not None:
        command += ["--replicates", str(replicates)]
    start = time.time()
    subprocess.run(command, cwd=root, env=environment, check=True, stdout=sys.stderr)
    wall = time.time() - start
    results = root / "results"
    kinds = [path.name for path in results.iterdir() if path.is_dir()]
    training = worked(results, "models", "attacks")
    everything = worked(results, *kinds)
    return {
        "study": study,
        "replicates": replicates,
        "submissions": slurm.num_submitted(),
        "wall_seconds": round(wall, 1),
        "training_seconds": round(sum(length for _, length in training), 1),
        "wall_without_training_seconds": round(wall - covered(training), 1),
        "wall_without_work_seconds": round(wall - covered(everything), 1),
    }


if __name__ == "__main__":
    main()
