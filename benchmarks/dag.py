"""How long Snakemake takes to plan a study of ten thousand jobs.

    python benchmarks/dag.py [--profile slurm]

256 shadows for each of 10 targets on 4 data sets, two models to a block: 5,160 blocks,
each trained and asked. Nothing is run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

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
    args = parser.parse_args()
    beside = str(Path(sys.executable).parent)
    path = f"{beside}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as place:
        file = Path(place, "large.yaml")
        file.write_text(yaml.safe_dump(study()))
        start = time.perf_counter()
        done = subprocess.run(
            ["whatelse", "run", "-n", "--workflow", str(HOME), file.name]
            + ["--profile", args.profile],
            cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    said = done.stdout + done.stderr
    total = next(line for line in said.splitlines() if line.startswith("total"))
    print(json.dumps({"jobs": int(total.split()[1]), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
