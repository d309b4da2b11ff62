"""How long reference attacks take: LiRA, RMIA, attacks P and R on drawn signals.

60,000 records against 256 reference models by default, in a process of its own for each
attack: reading the signals, scoring, and all that an attack reports with both controls.
The bar is 10 s and 4 GB for the scores, on 2 cores; it does not say how many queries a
record has, so the results do: one by default, ``--queries 1 18`` measures LiRA's 18
augmented ones as well. Attacks that read one query alone are given one. Nothing is
trained.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# before anything imports NumPy: one thread, as a job has
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from whatelse import records
from whatelse.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
OTHERS = 5000  # records of the population
ATTACKS: dict[str, dict[str, Any]] = {
    "LiRA online": {"kind": "membership.lira"},
    "LiRA offline": {"kind": "membership.lira", "mode": "offline"},
    "LiRA online, as coded": {"kind": "membership.lira", "estimator": "released-code"},
    "RMIA online": {"kind": "membership.rmia"},
    "RMIA offline": {"kind": "membership.rmia", "mode": "offline"},
    "attack P": {"kind": "membership.attack-p"},
    "attack R": {"kind": "membership.attack-r"},
}
BAR = {"records": 60_000, "references": 256, "seconds": 10, "gigabytes": 4, "cores": 2}
ONE_QUERY = ("attack P", "attack R")


def write(folder: Path, num_records: int, references: int, queries: int) -> None:
    """Write signals of a target and of reference models, 32 to a block."""
    from whatelse.models.signals import Signals, save_signals
    from whatelse.training.plan import draw_plan

    everything = num_records + OTHERS
    label = np.arange(everything) % 10
    hard = np.random.default_rng(0).normal(size=(1, everything, 1), scale=3)
    blocks = [range(1)]
    blocks += [range(k, min(k + 32, references + 1)) for k in range(1, references, 32)]
    for models in blocks:
        plan = draw_plan(
            label, models, members=num_records // 2, non_members=None, seed=1,
            replicate=0, halves=True,
        )  # fmt: skip
        rng = np.random.default_rng([1, models.start])
        shape = (len(models), everything, queries)
        margin = (rng.normal(size=shape) + hard + plan.train[..., None]).astype("f4")
        whole = Signals(
            plan.models, plan.train, margin[..., 0] > 0, margin, plan.test[0], label,
            {"class_names": [str(k) for k in range(10)]},
        )  # fmt: skip
        chance = (-np.logaddexp(0, -margin)).astype("f4")
        save_signals(
            folder / f"block_{models.start}-{models.stop}", whole,
            {"margin": margin, "log_probability": chance},
        )  # fmt: skip


def measure(folder: Path, name: str) -> dict[str, Any]:
    """Return seconds and memory of one attack, in this process."""
    from pydantic import TypeAdapter

    from whatelse.membership.reference import compare, evaluate
    from whatelse.membership.reports import module_of
    from whatelse.membership.settings import MembershipAttack
    from whatelse.models.signals import load_signals

    settings: Any = TypeAdapter(MembershipAttack).validate_json(
        json.dumps(ATTACKS[name])
    )
    module: Any = module_of(settings)
    blocks = sorted(folder.glob("block_*"))
    start = time.perf_counter()
    target = load_signals([folder / "block_0-1"], module.SIGNAL)
    references = load_signals(
        [b for b in blocks if b.name != "block_0-1"], module.SIGNAL
    )
    read = time.perf_counter()
    module.score(settings, compare(target, references, np.flatnonzero(target.pool)))
    scored = time.perf_counter()
    memory = _gigabytes()
    evaluate(module, settings, [target], references, seed=1)
    return {
        "attack": name,
        "queries_per_record": target.values.shape[-1],
        "read_seconds": round(read - start, 2),
        "score_seconds": round(scored - read, 2),
        "score_gigabytes": memory,
        "report_seconds": round(time.perf_counter() - scored, 2),
        "report_gigabytes": _gigabytes(),
    }


def _gigabytes() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, 2)


def _measured(place: str, name: str) -> dict[str, Any]:
    """Measure one attack in a process of its own, and tell."""
    said = subprocess.run(
        [sys.executable, __file__, "--one", place, name],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    row: dict[str, Any] = json.loads(said.splitlines()[-1])
    count = row["queries_per_record"]
    print(
        f"{name}, {count} {'query' if count == 1 else 'queries'} a record: read "
        f"{row['read_seconds']} s, scored {row['score_seconds']} s and "
        f"{row['score_gigabytes']} GB, report with controls {row['report_seconds']} s "
        f"and {row['report_gigabytes']} GB"
    )
    return row


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results", metavar="FOLDER",
        help="where reference.json is written (default: benchmarks/results)",
    )  # fmt: skip
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--references", type=int, default=256)
    parser.add_argument(
        "--queries", type=int, nargs="+", default=[1], metavar="N",
        help="of each record and model, one measurement for each number (default: 1)",
    )  # fmt: skip
    parser.add_argument("--one", nargs=2, metavar=("FOLDER", "ATTACK"),
                        help=argparse.SUPPRESS)  # fmt: skip
    args = parser.parse_args(argv)
    if args.references < 8 or args.references % 2:
        raise UserError(f"--references: {args.references}; allowed: 8, 10, ...")
    if args.records < 100:
        raise UserError(f"--records: {args.records}; allowed: 100 or more")
    if min(args.queries) < 1:
        raise UserError(f"--queries: {min(args.queries)}; allowed: 1 or more")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and tell.

    Returns
    -------
    int
        0; 2 after bad input.
    """
    try:
        args = arguments(argv)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.one:
        print(json.dumps(measure(Path(args.one[0]), args.one[1])))
        return 0
    rows = []
    for queries in dict.fromkeys(args.queries):
        with tempfile.TemporaryDirectory() as place:
            write(Path(place), args.records, args.references, queries)
            for name in ATTACKS:
                if queries == 1 or name not in ONE_QUERY:
                    rows.append(_measured(place, name))
    results = {
        "bar": BAR,
        "records": args.records,
        "references": args.references,
        "queries_per_record": args.queries,
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "load_average": os.getloadavg()[0],
        "attacks": rows,
        "versions": records.versions(),
    }
    path = args.out / "reference.json"
    records.write_json(path, results)
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
