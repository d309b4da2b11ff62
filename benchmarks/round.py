"""A round of federated averaging: clients as one ensemble, and one by one.

For the nets of the studies of backdoors, as `collaborate` trains them: the same
records, both ways in turn in one process, the better of several repeats of each. Large
nets get one batch a client, which costs what any other does. Bars: a round of ten
clients of the digits' net is three times as fast as one ensemble, and what `auto` takes
is no slower than the plain loop for any net.
"""

import argparse
import datetime
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whatelse import records
from whatelse.errors import UserError
from whatelse.models.settings import Cnn, Lstm, Mlp, Resnet
from whatelse.models.stacked import build, initial
from whatelse.seeding import stream
from whatelse.training.device import prepare_device
from whatelse.training.ensemble import Strategy, TrainingData, choose_strategy, train
from whatelse.training.settings import Sgd, TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parent))

from ensemble import busy_reason, cpu_model  # noqa: E402

CLIENTS = 10
# ratio that is asked for: of the ensemble to the loop, else of what `auto` takes
STACKED_BAR = {"digits": 3.0}
AUTO_BAR = 1.0
# records and epochs of a client
CASES: dict[str, dict[str, Any]] = {
    "digits": {
        "studies": [
            "backdoors-digits", "backdoors-clusters-digits",
            "backdoors-defences-digits",
        ],
        "net": Mlp(kind="mlp", hidden=(256,), activation="relu"),
        "shape": (1, 8, 8), "records": 140, "epochs": 2, "batch": 32,
    },
    "cifar10": {
        "studies": ["backdoors-cifar10", "backdoors-cifar10-tried"],
        "net": Cnn(
            kind="cnn", channels=(16, 32, 64), hidden=64, activation="relu", start="he"
        ),
        "shape": (3, 32, 32), "records": 256, "batch": 64, "momentum": 0.9,
    },
    "cifar10-full": {
        "studies": ["backdoors-cifar10-full"],
        "net": Resnet(kind="resnet", widths=(16, 32, 64), blocks=3),
        "shape": (3, 32, 32), "records": 64, "batch": 64, "momentum": 0.9,
    },
    "cifar10-full-large": {
        "studies": ["backdoors-cifar10-full"],
        "net": Resnet(
            kind="resnet", widths=(32, 64, 128, 256), blocks=2,
            shortcut="normalized-projection",
        ),
        "shape": (3, 32, 32), "records": 64, "batch": 64, "momentum": 0.9,
    },
    "blogs": {
        "studies": ["backdoors-blogs", "backdoors-blogs-tried"],
        "net": Lstm(kind="lstm", embedding=128, hidden=128, layers=2),
        "shape": (20,), "records": 50, "batch": 20, "words": 5000,
        "loss": "next-word", "clip": 0.25,
    },
    # the logits of ten would not fit beside anything else
    "reddit": {
        "studies": ["backdoors-reddit"],
        "net": Lstm(kind="lstm", embedding=200, hidden=200, layers=2),
        "shape": (64,), "records": 20, "batch": 20, "words": 50_000, "clients": 4,
        "loss": "next-word", "clip": 0.25,
    },
}  # fmt: skip


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--repeats", type=int, default=3, help="default: 3")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="write a JSON file")
    parser.add_argument(
        "--force", action="store_true", help="run on a busy machine, and say so"
    )
    args = parser.parse_args(argv)
    if args.repeats < 1:
        raise UserError(f"--repeats: {args.repeats}; allowed: 1 or more")
    return args


def main(
    argv: Sequence[str] | None = None, *, proc: Path = Path("/proc"),
    wait: Callable[[float], object] = time.sleep,
) -> int:  # fmt: skip
    """Measure, print, and write one JSON.

    Returns
    -------
    int
        0; 1 if a bar is missed on an idle machine; 2 after bad input or on a busy one.
    """
    try:
        args = arguments(argv)
        busy = busy_reason(proc, wait)
        if busy and not args.force:
            raise UserError(f"{busy} (--force measures all the same)")
        device = prepare_device(args.device, args.threads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found = {}
    for name in args.cases:
        row = found[name] = measure(name, device, args.repeats)
        print(
            f"{name}: stacked {row['stacked']:.3f} s, loop {row['loop']:.3f} s, ratio "
            f"{row['ratio']:.2f}; auto takes {row['auto']}, {row['auto_to_loop']:.2f} "
            f"times as fast as the loop, {row['auto_to_best']:.2f} as the faster way"
            f"{'' if row['reached'] else ': MISSED'}",
            flush=True,
        )
    if args.out:
        about = {
            "machine": cpu_model(proc), "cores": os.cpu_count(),
            "threads": args.threads, "device": str(device), "busy": busy is not None,
            "repeats": args.repeats,
            "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": records.versions(),
        }  # fmt: skip
        records.write_json(args.out, {**about, "rounds": found})
    missed = not all(row["reached"] for row in found.values())
    return 1 if missed and not busy else 0


def measure(name: str, device: torch.device, repeats: int) -> dict[str, Any]:
    """Return seconds of a round either way."""
    case = CASES[name]
    clients, words = case.get("clients", CLIENTS), case.get("words")
    shape = (clients * case["records"], *case["shape"])
    classes = words + 1 if words else 10  # the filler is one, of words
    net = build(case["net"], case["shape"], classes, words=words)
    rng = np.random.default_rng(0)
    inputs = (
        rng.integers(1, words + 1, shape).astype(np.uint16)
        if words
        else rng.random(shape, dtype=np.float32)
    )
    labels = rng.integers(bool(words), classes, len(inputs))
    data = TrainingData(
        torch.from_numpy(inputs).to(device), torch.from_numpy(labels).to(device)
    )
    settings = TrainingSettings(
        optimizer=Sgd(
            kind="sgd", learning_rate=0.1, momentum=case.get("momentum", 0.0)
        ),
        epochs=case.get("epochs", 1), batch_size=case["batch"],
        loss=case.get("loss", "cross-entropy"), clip_gradient=case.get("clip"),
    )  # fmt: skip
    rows = np.array_split(rng.permutation(len(inputs)), clients)
    start = initial(net, stream(0, "init"))

    def seconds(strategy: Strategy) -> float:
        began = time.perf_counter()
        train(
            net, settings, data, rows, streams=[("t", i) for i in range(clients)],
            seed=0, strategy=strategy, starts=[start] * clients,
        )  # fmt: skip
        return time.perf_counter() - began

    ways: tuple[Strategy, ...] = ("stacked", "loop")
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 1):
        for way in ways:
            taken[way].append(seconds(way))
    best = {way: min(times[1:]) for way, times in taken.items()}
    auto = choose_strategy(net, device)
    ratio, chosen = best["loop"] / best["stacked"], best["loop"] / best[auto]
    return {
        "studies": case["studies"],
        "clients": clients,
        "parameters": sum(math.prod(own) for own in net.shapes.values()),
        **best,
        "ratio": ratio,
        "auto": auto,
        "auto_to_loop": chosen,
        "auto_to_best": min(best.values()) / best[auto],
        "reached": ratio >= STACKED_BAR.get(name, 0.0) and chosen >= AUTO_BAR,
    }


if __name__ == "__main__":
    sys.exit(main())
