"""What it costs to give memory back to the kernel: CPU seconds of the same training.

Two processes in turn train the net for faces on noise, with freed memory kept and
without. ``docs/performance.md`` quotes the ratio.
"""

import argparse
import json
import resource
import subprocess
import sys

import torch

from whatelse.allocator import keep_freed_memory
from whatelse.models.settings import Cnn
from whatelse.models.stacked import build
from whatelse.training.ensemble import TrainingData, train
from whatelse.training.settings import Sgd, TrainingSettings

RECORDS, REPEATS = 1600, 3


def main() -> int:
    """Measure and print, or train once as a child."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", choices=["kept", "returned"])
    args = parser.parse_args()
    if args.child:
        return _child(args.child == "kept")
    spent: dict[str, list[float]] = {"kept": [], "returned": []}
    faults = dict.fromkeys(spent, 0)
    for _ in range(REPEATS):
        for name, seconds in spent.items():
            said = subprocess.run(
                [sys.executable, __file__, "--child", name], check=True,
                capture_output=True, text=True,
            ).stdout  # fmt: skip
            found = json.loads(said)
            seconds.append(found["seconds"])
            faults[name] = found["faults"]
    for name, seconds in spent.items():
        print(f"{name}: {min(seconds):.2f} CPU s, {faults[name]:,} pages asked for")
    print(f"ratio: {min(spent['returned']) / min(spent['kept']):.2f}")
    return 0


def _child(kept: bool) -> int:
    torch.set_num_threads(1)
    if kept and not keep_freed_memory():
        raise SystemExit("no glibc")
    shape = (3, 62, 47)
    net = build(
        Cnn(
            kind="cnn", channels=(32, 64, 128), hidden=256, activation="relu",
            padding="valid",
        ),
        shape, 2,
    )  # fmt: skip
    rng = torch.Generator().manual_seed(0)
    inputs = torch.rand((RECORDS, *shape), generator=rng)
    data = TrainingData(inputs, torch.arange(RECORDS) % 2)
    settings = TrainingSettings(
        optimizer=Sgd(kind="sgd", learning_rate=0.01, momentum=0.9), epochs=1
    )
    before = resource.getrusage(resource.RUSAGE_SELF)
    rows = [torch.arange(RECORDS).numpy()]
    train(net, settings, data, rows, streams=[("t",)], seed=0, strategy="loop")
    after = resource.getrusage(resource.RUSAGE_SELF)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        json.dumps({"seconds": seconds, "faults": after.ru_minflt - before.ru_minflt})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
