"""What a GPU does for the trainer: one script for any CUDA machine, one JSON.

Stacked against loop, float32 against mixed precision, the eager step against
torch.compile and CUDA graphs, peak memory, and whether the GPU's models are those of
the CPU. ``docs/performance.md`` says what is measured and how.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from whatelse import records
from whatelse.errors import UserError
from whatelse.models.settings import ArchitectureSettings
from whatelse.models.stacked import Architecture, build, initial
from whatelse.seeding import stream
from whatelse.training.device import DEVICES, prepare_device
from whatelse.training.ensemble import Stack, TrainingData, train
from whatelse.training.settings import TrainingSettings

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 8, 32, 128)
STEP_SIZE = 8
"""Models in the stack whose step is compiled and captured."""

LOOPED = 2
"""Models that the loop is timed with: its rate does not depend on how many."""

TOLERANCE = 0.01
"""Most that a weight may differ between devices, as a share of the largest update."""

WAYS = {
    "stacked": ("stacked", "float32"),
    "stacked, mixed": ("stacked", "mixed"),
    "loop": ("loop", "float32"),
}


@dataclass(frozen=True)
class Net:
    """An architecture, and the training that it stands for.

    Attributes
    ----------
    name : str
        Of the net.
    architecture : dict
        Settings.
    record : tuple of int
        Shape of a record.
    num_classes : int
        Number of classes.
    optimizer : dict
        Settings.
    batch : int
        Records of a batch.
    members, epochs : int
        A model's training, of which a few steps are timed.
    steps : int
        In an epoch of the timing.
    """

    name: str
    architecture: dict[str, Any]
    record: tuple[int, ...]
    num_classes: int
    optimizer: dict[str, Any]
    batch: int
    members: int
    epochs: int
    steps: int

    @property
    def steps_of_a_model(self) -> int:
        """Steps of the training that it stands for."""
        return self.epochs * -(-self.members // self.batch)

    def build(self) -> Architecture:
        """Return the architecture."""
        adapter: TypeAdapter[Any] = TypeAdapter(ArchitectureSettings)
        settings = adapter.validate_json(json.dumps(self.architecture))
        return build(settings, self.record, self.num_classes)

    def training(self, epochs: int = 1, precision: str = "float32") -> TrainingSettings:
        """Return settings of training; the optimizer's rate is small, none diverges."""
        given = {
            "optimizer": self.optimizer, "epochs": epochs, "batch_size": self.batch,
            "precision": precision,
        }  # fmt: skip
        return TrainingSettings.model_validate_json(json.dumps(given))

    def data(self, device: torch.device, num_records: int) -> TrainingData:
        """Return made-up records of the right shape and type."""
        rng = stream(0, "benchmark", self.name)
        image = len(self.record) == 3
        size = (num_records, *self.record)
        inputs = rng.integers(0, 256 if image else 2, size, dtype=np.uint8)
        labels = rng.integers(0, self.num_classes, num_records)
        return TrainingData(
            torch.from_numpy(inputs).to(device),
            torch.from_numpy(labels).to(device),
            1 / 255 if image else 1.0,
        )


ADAM = {"kind": "adam", "learning_rate": 0.001}
SGD = {"kind": "sgd", "learning_rate": 0.001, "momentum": 0.9}
NETS = (
    # P1's Purchase net, its CIFAR net, and P2's residual net of 464,154 parameters
    Net(
        "mlp", {"kind": "mlp", "hidden": [128]}, (600,), 100, ADAM, 128, 10_000, 100, 40
    ),
    Net("cnn", {"kind": "cnn"}, (3, 32, 32), 10, ADAM, 128, 15_000, 100, 10),
    Net("resnet", {"kind": "resnet"}, (3, 32, 32), 10, SGD, 128, 25_000, 100, 2),
)
SMOKE = (
    replace(NETS[0], architecture={"kind": "mlp", "hidden": [8]}, record=(9,), batch=8),
    replace(
        NETS[1],
        architecture={"kind": "cnn", "channels": [2], "hidden": 4},
        record=(1, 8, 8),
        batch=4,
    ),
    replace(
        NETS[2],
        architecture={"kind": "resnet", "widths": [2, 4], "blocks": 1},
        record=(1, 6, 6),
        batch=4,
    ),
)


# ---- the machine


def machine(device: torch.device) -> dict[str, Any]:
    """Return what timings depend on: device, driver, versions, commit."""
    found: dict[str, Any] = {
        "device": str(device),
        "commit": _said("git", "-C", str(ROOT), "describe", "--always", "--dirty=+",
                        "--abbrev=40", "--exclude=*"),
        "versions": {
            **records.versions(),
            "cuda": torch.version.cuda or "",
            "cudnn": str(torch.backends.cudnn.version() or ""),
        },
    }  # fmt: skip
    if device.type != "cuda":
        return {**found, "name": "cpu", "threads": torch.get_num_threads()}
    properties = torch.cuda.get_device_properties(device)
    return {
        **found,
        "name": properties.name,
        "driver": _said(
            "nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"
        ),
        "memory_mb": properties.total_memory // 2**20,
        "capability": f"{properties.major}.{properties.minor}",
        "multiprocessors": properties.multi_processor_count,
    }


def _said(*command: str) -> str:
    """Return the first line that a command prints, or "" if there is no such one."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip().partition("\n")[0]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _tried(
    work: Callable[[], dict[str, Any]], device: torch.device
) -> dict[str, Any]:  # fmt: skip
    """Return what some work finds, or why it does not: that too is a result."""
    found: dict[str, Any]
    try:
        return work()
    except torch.OutOfMemoryError:
        found = {"out_of_memory": True}
    except Exception as error:  # noqa: BLE001 - compilers fail in ways of their own
        found = {"error": f"{type(error).__name__}: {error}".partition("\n")[0]}
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return found


# ---- stacked against loop, float32 against mixed


def model_steps(
    net: Net, device: torch.device, *, way: str, models: int, epochs: int
) -> float:
    """Return the steps of single models that are made in a second.

    The first epoch is not counted. The trainer waits for the device at the end of each
    epoch, before it tells the loss.
    """
    strategy, precision = WAYS[way]
    models = min(models, LOOPED) if strategy == "loop" else models
    data = net.data(device, 2 * net.batch * net.steps)
    told: list[float] = []
    train(
        net.build(),
        net.training(1 + epochs, precision),
        data,
        [_members(net, model) for model in range(models)],
        streams=[("model", model) for model in range(models)],
        seed=0,
        strategy=strategy,  # type: ignore[arg-type]
        on_epoch=lambda *_: told.append(time.perf_counter()),
    )
    turns = np.array(told).reshape(-1, 1 + epochs)  # a row for each model looped over
    return models * epochs * net.steps / float((turns[:, -1] - turns[:, 0]).sum())


def _members(net: Net, model: int) -> Any:
    count = net.batch * net.steps
    return stream(0, "members", model).permutation(2 * count)[:count]


def compare_ways(
    net: Net, device: torch.device, models: int, *, rounds: int, seconds: float
) -> dict[str, Any]:
    """Time every way in turn, several times, the next round backwards."""
    found: dict[str, Any] = {}
    epochs: dict[str, int] = {}
    for way in WAYS:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

        def first(way: str = way) -> dict[str, Any]:
            rate = model_steps(net, device, way=way, models=models, epochs=1)
            stacked = min(models, LOOPED) if WAYS[way][0] == "loop" else models
            wanted = round(seconds * rate / (net.steps * stacked))
            return {"epochs": min(max(wanted, 1), 200)}

        found[way] = _tried(first, device)
        if "epochs" in found[way]:
            epochs[way] = found[way].pop("epochs")
            if device.type == "cuda":
                peak = torch.cuda.max_memory_allocated(device)
                found[way]["peak_memory_mb"] = round(peak / 2**20)
    rates: dict[str, list[float]] = {way: [] for way in epochs}
    for turn in range(rounds):
        for way in sorted(rates, reverse=bool(turn % 2)):

            def again(way: str = way) -> dict[str, Any]:
                rate = model_steps(
                    net, device, way=way, models=models, epochs=epochs[way]
                )
                return {"rate": rate}

            timed = _tried(again, device)
            if "rate" in timed:
                rates[way].append(timed["rate"])
            else:
                found[way].update(timed)
                del rates[way]
    for way, own in rates.items():
        middle = statistics.median(own)
        found[way]["model_steps_per_second"] = [_digits(rate) for rate in own]
        found[way]["models_per_second"] = _digits(middle / net.steps_of_a_model)
    for name, (above, below) in {
        "stacked_to_loop": ("stacked", "loop"),
        "mixed_to_float32": ("stacked, mixed", "stacked"),
    }.items():
        if above in rates and below in rates:
            pairs = zip(rates[above], rates[below], strict=True)
            found[name] = [_digits(a / b) for a, b in pairs]
    return found


# ---- the step: eager, compiled, captured


def _stack(net: Net, device: torch.device, models: int) -> Stack:
    architecture = net.build()
    starts = [initial(architecture, stream(0, "init", i)) for i in range(models)]
    data = net.data(device, 2 * net.batch * net.steps)
    return Stack(architecture, net.training(), data, starts)


Run = Callable[[torch.Tensor], object]


def _eager(stack: Stack, shares: torch.Tensor, warm: list[torch.Tensor], _: str) -> Run:
    rate = stack.settings.optimizer.learning_rate
    active = range(len(shares))

    def run(index: torch.Tensor) -> object:
        return stack.step(index, shares, full=True, active=active, rate=rate)

    for index in warm:
        run(index)
    return run


def _compiled(
    stack: Stack, shares: torch.Tensor, warm: list[torch.Tensor], backend: str
) -> Run:
    # A compiled backward pass makes its own gradients; the step then copies them.
    stack.leaves = dict(stack.leaves)
    # The shapes of another net would make it compile for shapes of any size.
    torch.compiler.reset()
    compiled = torch.compile(stack.losses, backend=backend, dynamic=False)
    stack.losses = compiled  # type: ignore[method-assign]
    return _eager(stack, shares, warm, backend)


def _captured(
    stack: Stack, shares: torch.Tensor, warm: list[torch.Tensor], _: str
) -> Run:
    learning_rate = stack.settings.optimizer.learning_rate
    rate = torch.tensor(learning_rate, device=shares.device)
    active, static = range(len(shares)), warm[0].clone()

    def step() -> torch.Tensor:
        return stack.step(static, shares, full=True, active=active, rate=rate)

    side = torch.cuda.Stream(shares.device)
    side.wait_stream(torch.cuda.current_stream(shares.device))
    with torch.cuda.stream(side):
        for index in warm:
            static.copy_(index)
            step()
    torch.cuda.current_stream(shares.device).wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses = step()

    def run(index: torch.Tensor) -> object:
        static.copy_(index)
        graph.replay()
        return losses

    return run


VARIANTS = {"eager": _eager, "compiled": _compiled, "captured": _captured}
NEEDS_CUDA = ("captured",)


def compare_steps(
    net: Net, device: torch.device, *, rounds: int, seconds: float, backend: str
) -> dict[str, Any]:
    """Time the trainer's step as it is, compiled, and as a CUDA graph.

    All make the same steps from the same start; `difference` is that of the weights to
    the eager step's afterwards, as a share of the largest update.
    """
    shares = torch.full((STEP_SIZE, net.batch), 1 / net.batch, device=device)
    rng = stream(0, "batches")
    size = (STEP_SIZE, net.batch)
    batches = [
        torch.from_numpy(rng.integers(0, 2 * net.batch * net.steps, size)).to(device)
        for _ in range(6)
    ]
    found: dict[str, Any] = {}
    runs: dict[str, Run] = {}
    start = _stack(net, device, STEP_SIZE).rows_SP.clone()
    weights: dict[str, torch.Tensor] = {}
    for variant, prepare in VARIANTS.items():
        if variant in NEEDS_CUDA and device.type != "cuda":
            continue
        stack = _stack(net, device, STEP_SIZE)

        def first(
            stack: Stack = stack, prepare: Any = prepare, variant: str = variant
        ) -> dict[str, Any]:
            begun = time.perf_counter()
            runs[variant] = prepare(stack, shares, batches[:3], backend)
            _wait_for(device)
            taken = time.perf_counter() - begun
            for index in batches[3:]:
                runs[variant](index)
            weights[variant] = stack.rows_SP.clone()
            difference = _difference(weights[variant], weights["eager"], start)
            return {"seconds_to_prepare": _digits(taken), "difference": difference}

        found[variant] = _tried(first, device)
        if "difference" not in found[variant]:
            runs.pop(variant, None)
    taken: dict[str, list[float]] = {variant: [] for variant in runs}
    for turn in range(rounds):
        for variant in sorted(runs, reverse=bool(turn % 2)):
            taken[variant].append(_time_of(runs[variant], batches, device, seconds))
    for variant, own in taken.items():
        found[variant]["milliseconds"] = [_digits(1000 * value) for value in own]
        if "eager" in taken:
            pairs = zip(taken["eager"], own, strict=True)
            found[variant]["eager_to_this"] = [_digits(a / b) for a, b in pairs]
    return found


def _time_of(
    run: Run, batches: list[torch.Tensor], device: torch.device, seconds: float
) -> float:
    """Return the seconds of one step."""
    count, taken = len(batches), 0.0
    while True:
        _wait_for(device)
        begun = time.perf_counter()
        for number in range(count):
            run(batches[number % len(batches)])
        _wait_for(device)
        taken = time.perf_counter() - begun
        if taken >= 0.5 * seconds:
            return taken / count
        count *= 2


# ---- the same models


def compare_devices(net: Net, device: torch.device) -> dict[str, Any]:
    """Train some models here and in the plain loop on the CPU; compare the weights.

    Sizes are ragged, so that padding is met. SGD: Adam turns the sign of a gradient
    that is all rounding into a whole step.
    """
    batch = min(net.batch, 16)
    sizes = [3 * batch, 2 * batch + batch // 2 + 1]
    settings = replace(
        net, batch=batch, steps=2, optimizer={**SGD, "learning_rate": 0.01}
    )
    architecture = net.build()

    def fit(where: torch.device, way: str) -> torch.Tensor:
        strategy, precision = WAYS[way]
        fitted = train(
            architecture,
            settings.training(2, precision),
            settings.data(where, sizes[0]),
            [np.arange(size) for size in sizes],
            streams=[("model", model) for model in range(len(sizes))],
            seed=0,
            strategy=strategy,  # type: ignore[arg-type]
        )
        return torch.cat([fitted[name].flatten(1) for name in architecture.shapes], 1)

    expected = fit(torch.device("cpu"), "loop")
    drawn = [initial(architecture, stream(0, "model", i, "init")) for i in range(2)]
    start = torch.stack(
        [
            torch.cat([own[name].flatten() for name in architecture.shapes])
            for own in drawn
        ]
    )

    def difference(way: str) -> dict[str, Any]:
        found = _difference(fit(device, way), expected, start)
        reached = {"equal": found <= TOLERANCE} if way != "stacked, mixed" else {}
        return {"difference": found, **reached}

    return {
        way: _tried(lambda way=way: difference(way), device)  # type: ignore[misc]
        for way in WAYS
    }


def _difference(
    found: torch.Tensor, expected: torch.Tensor, start: torch.Tensor
) -> float:
    """Return the largest difference as a share of the largest update."""
    update = (expected - start).abs().max()
    return _digits(float((found - expected).abs().max() / update))


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


# ---- the command


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--device", default="cuda", help=DEVICES + "; default: cuda")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results", metavar="FOLDER",
        help="where gpu-<device>.json is written (default: benchmarks/results)",
    )  # fmt: skip
    parser.add_argument(
        "--nets", nargs="+", choices=[net.name for net in NETS], metavar="NET",
        default=[net.name for net in NETS], help="mlp, cnn, resnet; default: all",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default 1")
    parser.add_argument("--rounds", type=int, default=3, help="default: 3")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of one timing, roughly; default: 1"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="see that it works: tiny nets, one round"
    )
    args = parser.parse_args(argv)
    if args.smoke:
        args.rounds, args.seconds = 1, 0.01
    if args.rounds < 1:
        raise UserError(f"--rounds: {args.rounds}; allowed: 1 or more")
    if not args.seconds > 0:
        raise UserError(f"--seconds: {args.seconds}; allowed: above 0")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write the results after each net.

    Returns
    -------
    int
        0; 1 if a device's models differ or something failed; 2 after bad input.
    """
    try:
        args = arguments(argv)
        device = prepare_device(args.device, args.threads)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    about = machine(device)
    results: dict[str, Any] = {
        **about, "smoke": args.smoke, "rounds": args.rounds, "seconds": args.seconds,
        "tolerance": TOLERANCE, "nets": {},
    }  # fmt: skip
    slug = re.sub(r"[^a-z0-9]+", "-", about["name"].lower()).strip("-")
    path = args.out / f"gpu-{slug}{'-smoke' * args.smoke}.json"
    backend = "aot_eager" if args.smoke else "inductor"
    sizes = SIZES[:2] if args.smoke else SIZES
    times = {"rounds": args.rounds, "seconds": args.seconds}
    for net in SMOKE if args.smoke else NETS:
        if net.name not in args.nets:
            continue
        entry: dict[str, Any] = {
            **asdict(net), "equality": compare_devices(net, device), "models": {},
        }  # fmt: skip
        results["nets"][net.name] = entry
        print(f"{net.name}: difference to the CPU's loop {entry['equality']}")
        for models in sizes:
            found = compare_ways(net, device, models, **times)
            entry["models"][str(models)] = found
            print(f"{net.name}, {models} models: {json.dumps(found)}", flush=True)
        # after the ensemble's memory is known: captured graphs keep theirs
        entry["step"] = compare_steps(net, device, backend=backend, **times)
        print(f"{net.name}, step of {STEP_SIZE} models: {json.dumps(entry['step'])}")
        records.write_json(path, results)
    print(f"written: {path}")
    return 1 if _failed(results) else 0


def _failed(results: dict[str, Any]) -> bool:
    """Whether models differ, or anything but a lack of memory stopped a part."""
    parts: list[Any] = []
    for entry in results["nets"].values():
        parts += [*entry["equality"].values(), *entry["step"].values()]
        parts += [part for size in entry["models"].values() for part in size.values()]
    return any(
        "error" in part or part.get("equal") is False
        for part in parts
        if isinstance(part, dict)
    )


if __name__ == "__main__":
    raise SystemExit(main())
