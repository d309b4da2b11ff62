"""How long Snakemake takes to build the DAG of a study of ten thousand jobs.

    python benchmarks/dag.py [--profile slurm] [--list]

256 shadows for each of 10 targets on 4 data sets, two models to a block: 5,160 blocks,
each trained and asked. Nothing is run. With ``--list``, Snakemake lists every job as
well, as `whatelse run -n` does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from whatelse.studies.resolve import load_study

HOME = Path(__file__).resolve().parents[1]
DATASETS = ("digits", "location", "adult", "mnist")


def study() -> dict[str, object]:
    """Return the study's content."""
    net = {
        "architecture": {"kind": "mlp", "hidden": [128], "activation": "tanh"},
        "training": {
            "optimizer": {"kind": "adam", "learning_rate": 0.001},
            "epochs": 100,
            "batch_size": 32,
        },
        "members": 400,
        "shadows": 256,
        "replicates": 10,
        "block": 2,
    }
    return {
        "study": "large",
        "question": "membership",
        "title": "Ten thousand jobs",
        "description": "Planned only.",
        "seed": 1,
        "datasets": {name: {"source": name} for name in DATASETS},
        "models": {name: {"dataset": name, **net} for name in DATASETS},
        "attacks": {
            name: {"kind": "membership.threshold", "models": name} for name in DATASETS
        },
    }


def main() -> None:
    """Plan, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="default", help="a folder of profiles/")
    parser.add_argument("--list", action="store_true", help="list the jobs as well")
    args = parser.parse_args()
    quiet = ["host"] if args.list else ["rules", "progress"]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "large.yaml")
        file.write_text(yaml.safe_dump(study()))
        jobs = len(load_study(file).artefacts)
        start = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable, "-m", "snakemake",
                "--snakefile", str(HOME / "Snakefile"),
                "--workflow-profile", str(HOME / "profiles" / args.profile),
                "--config", f"studies=['{file}']", "--dry-run", "--quiet", *quiet,
            ],
            cwd=place, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    print(json.dumps({"jobs": jobs, "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
