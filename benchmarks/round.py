"""A round of federated averaging: ten clients as one ensemble, and one by one.

For the nets of the studies of backdoors, as `collaborate` trains them: the same
records, both ways in turn in one process, the better of several repeats of each.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whatelse import records
from whatelse.models.settings import Cnn, Lstm, Mlp, Resnet
from whatelse.models.stacked import build, initial, initial_buffers
from whatelse.seeding import stream
from whatelse.training.device import prepare_device
from whatelse.training.ensemble import Strategy, TrainingData, choose_strategy, train
from whatelse.training.settings import Sgd, TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
CLIENTS, EPOCHS, WORDS = 10, 2, 5000
CASES: dict[str, dict[str, Any]] = {
    "digits": {
        "net": Mlp(kind="mlp", hidden=(256,), activation="relu"),
        "shape": (1, 8, 8), "records": 140, "batch": 32,
    },
    "cifar10": {
        "net": Cnn(kind="cnn", channels=(16, 32, 64), hidden=64, activation="relu"),
        "shape": (3, 32, 32), "records": 500, "batch": 64,
    },
    "cifar10-full": {
        "net": Resnet(kind="resnet", widths=(16, 32, 64), blocks=3),
        "shape": (3, 32, 32), "records": 500, "batch": 64,
    },
    "blogs": {
        "net": Lstm(kind="lstm", embedding=128, hidden=128, layers=2),
        "shape": (20,), "records": 50, "batch": 20, "words": WORDS,
        "loss": "next-word", "clip": 0.25,
    },
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write one JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=[*CASES])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, help="write a JSON file")
    args = parser.parse_args(argv)
    device = prepare_device(args.device, args.threads)
    found = {name: measure(name, device, args.repeats) for name in args.cases}
    for name, row in found.items():
        print(
            f"{name}: stacked {row['stacked']:.3f} s, loop {row['loop']:.3f} s, ratio "
            f"{row['ratio']:.2f}; auto takes {row['auto']}"
        )
    if args.out:
        about = {"threads": args.threads, "device": str(device)}
        records.write_json(args.out, {**about, "rounds": found})
    return 0


def measure(name: str, device: torch.device, repeats: int) -> dict[str, Any]:
    """Return seconds of a round either way."""
    case = CASES[name]
    shape, words = (CLIENTS * case["records"], *case["shape"]), case.get("words")
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
        optimizer=Sgd(kind="sgd", learning_rate=0.1), epochs=EPOCHS,
        batch_size=case["batch"], loss=case.get("loss", "cross-entropy"),
        clip_gradient=case.get("clip"),
    )  # fmt: skip
    rows = np.array_split(rng.permutation(len(inputs)), CLIENTS)
    start = {**initial(net, stream(0, "init")), **initial_buffers(net)}

    def seconds(strategy: Strategy) -> float:
        began = time.perf_counter()
        train(
            net, settings, data, rows, streams=[("t", i) for i in range(CLIENTS)],
            seed=0, strategy=strategy, starts=[start] * CLIENTS,
        )  # fmt: skip
        return time.perf_counter() - began

    ways: tuple[Strategy, ...] = ("stacked", "loop")
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(repeats + 1):
        for way in ways:
            taken[way].append(seconds(way))
    best = {way: min(times[1:]) for way, times in taken.items()}
    return {
        **best, "ratio": best["loop"] / best["stacked"],
        "auto": choose_strategy(net, device),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
