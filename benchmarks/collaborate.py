"""What observing a joint model costs: time and peak memory of whole learnings.

Two participants on faces, and thirty with a small net, each as `whatelse collaborate`
makes them: one process a case, on data that are prepared first; then what the passive
attack takes on what was observed. ``docs/performance.md`` says what is asked for. A run
of some cases leaves the file's others as they are.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whatelse import records

ROOT = Path(__file__).resolve().parents[1]
CNN = {
    "kind": "cnn", "channels": [32, 64, 128], "hidden": 256, "activation": "relu",
    "padding": "valid",
}  # fmt: skip
PRIMES = {"attribute": "label", "values": ["2", "3", "5", "7"]}
CASES: dict[str, dict[str, Any]] = {
    "utkface, 32x32": {
        "data": {"source": "utkface", "size": 32}, "architecture": CNN,
        "participants": 2, "property": {"attribute": "race", "values": ["Black"]},
    },
    "lfw, 62x47": {
        "data": {"source": "lfw"}, "architecture": CNN,
        "participants": 2, "property": {"attribute": "race", "values": ["black"]},
    },
    "digits, 30 participants": {
        "data": {"source": "digits"},
        "architecture": {"kind": "mlp", "hidden": [64, 32], "activation": "relu"},
        "participants": 30, "property": PRIMES, "batch_size": 8, "threads": 1,
    },
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    args = parser.parse_args(argv)
    path = args.out / "collaborate.json"
    cases = records.read_json(path)["cases"] if path.exists() else {}
    how = {"iterations": args.iterations, "versions": records.versions()}
    with tempfile.TemporaryDirectory() as place:
        for name in args.cases:
            case = {"threads": args.threads, **CASES[name]}
            data = _prepared(case["data"], Path(place))
            measured = _measured(case, data, Path(place), args)
            print(f"{name}: {json.dumps(measured)}", flush=True)
            # at once, with how it was made: others may be of another run
            cases[name] = {**measured, **how, "threads": case["threads"]}
            records.write_json(path, {"cases": cases})
    print(f"written: {path}")
    return 0


def _whatelse(*words: str) -> list[str]:
    entry = "from whatelse.cli import entry; entry()"
    return [sys.executable, "-c", entry, *words]


def _prepared(settings: dict[str, Any], place: Path) -> Path:
    registry = ["--raw", str(place / "raw"), "--registry", "data/datasets.yaml"]
    folder = place / settings["source"]
    if settings["source"] != "digits":
        fetch = _whatelse("datasets", "fetch", settings["source"], *registry)
        subprocess.run(fetch, cwd=ROOT, check=True)
    made = ["--spec", json.dumps(settings), "--out", str(folder)]
    subprocess.run(
        _whatelse("datasets", "prepare", *made, *registry), cwd=ROOT, check=True
    )
    return folder


def _measured(
    case: dict[str, Any], data: Path, place: Path, args: argparse.Namespace
) -> dict[str, Any]:
    spec = {
        "architecture": case["architecture"],
        "protocol": {
            "kind": "gradients", "iterations": args.iterations,
            "batch_size": case.get("batch_size", 32), "learning_rate": 0.01,
        },
        "participants": case["participants"],
        "adversary": {"kind": "property", "property": case["property"]},
        "seed": 0, "replicate": 0,
    }  # fmt: skip
    out = place / "joint"
    threads = ["--threads", str(case["threads"])]
    learned = _timed(
        _whatelse(
            "collaborate", "--spec", json.dumps(spec), "--data", str(data),
            "--progress", str(place / "progress"), "--out", str(out),
            "--device", "cpu", *threads,
        )
    )  # fmt: skip
    attack = {
        "study": "benchmark", "name": "passive", "grid": {}, "seed": 0,
        "settings": {"kind": "properties.passive"},
    }  # fmt: skip
    attacked = _timed(
        _whatelse(
            "attack", "--spec", json.dumps(attack), "--input", "data", str(data),
            "--input", "observations.0", str(out), "--out", str(place / "attack"),
            *threads,
        )
    )  # fmt: skip
    summary = records.read_json(place / "attack" / "metrics.json")["summary"]
    return {
        **learned,
        "observations_mb": (out / "observations.safetensors").stat().st_size // 10**6,
        **{f"attack_{name}": value for name, value in attacked.items()},
        "auc": round(summary["auc"]["mean"], 3),
    }


def _timed(command: list[str]) -> dict[str, Any]:
    """Run a command; return its seconds and its memory at most."""
    start = time.perf_counter()
    child = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"error: {' '.join(command)}: exit code {status}")
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_memory_mb": usage.ru_maxrss // 1024,
    }


if __name__ == "__main__":
    raise SystemExit(main())
