"""Models trained a second: stacked, in a plain loop, and with scikit-learn.

For every model and size of the studies, on made-up data of the same shape, with the
package's own trainer. ``docs/performance.md`` says what is measured and how.
"""

import argparse
import json
import math
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from whatelse import records
from whatelse.errors import UserError
from whatelse.studies.resolve import load_study

ROOT = Path(__file__).resolve().parents[1]
CORES = 2
MIN_IDLE = 0.9
MAX_LOAD = 0.5 * CORES
MAX_FOREIGN = 0.05
"""Share of the cores that others may take during a round."""

CNN_PACK = 4
FEWEST_STEPS = 2
BAR, DIGITS_BAR = 1.0, 3.0
NOISE = 0.95
WAYS = {
    "stacked, 2 threads": ("stacked", CORES),
    "stacked, 2 processes": ("stacked", 1),
    "loop, 2 threads": ("loop", CORES),
    "loop, 2 processes": ("loop", 1),
}
SKLEARN = "scikit-learn, 2 processes"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


@dataclass(frozen=True)
class Shape:
    """What a data set's records look like.

    Attributes
    ----------
    num_records : int
        As prepared.
    record : tuple of int
        Shape of a record.
    num_classes : int
        0 if the study says how many.
    dtype : {"uint8", "float32"}
        As stored.
    """

    num_records: int
    record: tuple[int, ...]
    num_classes: int
    dtype: str = "uint8"


SHAPES = {
    "digits": Shape(1797, (1, 8, 8), 10),
    "location": Shape(5010, (446,), 30),
    "adult": Shape(48842, (108,), 2, "float32"),
    "mnist": Shape(70000, (1, 28, 28), 10),
    "cifar10": Shape(60000, (3, 32, 32), 10),
    "cifar100": Shape(60000, (3, 32, 32), 100),
    "retail": Shape(41233, (600,), 0),
    "purchase100": Shape(197324, (600,), 100),
    "texas100": Shape(67330, (6169,), 100),
}


@dataclass(frozen=True)
class Cell:
    """One model and size of the studies.

    Attributes
    ----------
    studies : tuple of str
        Which ask for it.
    dataset : str
        Source of the data whose shape is taken.
    num_classes : int
        Number of classes.
    architecture, training : dict
        Resolved settings.
    members : int
        Training-set size.
    pack : int
        Models that one job of the workflow trains together.
    """

    studies: tuple[str, ...]
    dataset: str
    num_classes: int
    architecture: dict[str, Any]
    training: dict[str, Any]
    members: int
    pack: int

    @property
    def net(self) -> str:
        """The model in short, e.g. ``446-128-30 tanh``."""
        settings = self.architecture
        inputs = SHAPES[self.dataset].record
        if settings["kind"] == "cnn":
            planes = "-".join(str(count) for count in settings["channels"])
            return (
                f"{'x'.join(map(str, inputs))} conv {planes} dense "
                f"{settings['hidden']}-{self.num_classes} {settings['activation']}"
            )
        if settings["kind"] == "resnet":
            stages = "-".join(str(width) for width in settings["widths"])
            return (
                f"{'x'.join(map(str, inputs))} resnet {stages} x{settings['blocks']} "
                f"{settings['norm']} norm, {self.num_classes} classes"
            )
        widths = (math.prod(inputs), *settings["hidden"], self.num_classes)
        activation = f" {settings['activation']}" if settings["hidden"] else ""
        return "-".join(str(width) for width in widths) + activation

    @property
    def bar(self) -> float:
        """The ratio that is asked for."""
        small = self.dataset == "digits" and self.architecture["kind"] == "mlp"
        return DIGITS_BAR if small else BAR


@dataclass(frozen=True)
class Work:
    """What one timing trains: so many models, epochs and members."""

    models: int
    epochs: int
    members: int

    def share_of(self, cell: Cell) -> float:
        """Return the number of the study's models that this is the work of."""
        steps = math.ceil(self.members / cell.training["batch_size"])
        all_steps = math.ceil(cell.members / cell.training["batch_size"])
        return self.models * self.epochs * steps / (cell.training["epochs"] * all_steps)


@dataclass
class Timing:
    """Rates of a cell, one a round, in models a second."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    foreign: list[float] = field(default_factory=list)

    def best(self, strategy: str, turn: int) -> float:
        """Return the faster of two threads and two processes in a round."""
        return max(
            self.rates[way][turn] for way, (own, _) in WAYS.items() if own == strategy
        )

    def ratios(self) -> list[float]:
        """Return stacked to loop, round by round."""
        return [
            self.best("stacked", turn) / self.best("loop", turn)
            for turn in range(len(self.foreign))
        ]


# ---- the machine


def cpu_ticks(stat: str) -> tuple[int, int]:
    """Return (idle, all) clock ticks of the text of ``/proc/stat``.

    Waiting for disks counts as idle; time stolen by other virtual machines does not.
    """
    ticks = [int(word) for word in stat.splitlines()[0].split()[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def busy_reason(proc: Path, wait: Callable[[float], object]) -> str | None:
    """Return why timings would be worthless now, or None on an idle machine.

    Parameters
    ----------
    proc : Path
        Where ``loadavg`` and ``stat`` lie.
    wait : callable
        Called with the seconds to look on for.
    """
    load = float((proc / "loadavg").read_text().split()[0])
    idle, everything = cpu_ticks((proc / "stat").read_text())
    wait(1.0)
    idle_later, everything_later = cpu_ticks((proc / "stat").read_text())
    share = (idle_later - idle) / max(everything_later - everything, 1)
    if share < MIN_IDLE:
        return f"the CPU is {share:.0%} idle; allowed: at least {MIN_IDLE:.0%}"
    if load > MAX_LOAD:
        return f"the load average is {load:.2f}; allowed: at most {MAX_LOAD:.2f}"
    return None


def cpu_model(proc: Path) -> str:
    """Return the CPU's name."""
    try:
        text = (proc / "cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


# ---- the cells


def cells_of(studies: Sequence[Path]) -> list[Cell]:
    """Return every distinct model and size of some studies, a user's own data aside."""
    found: dict[str, Cell] = {}
    for path in studies:
        study = load_study(path)
        sources = {artefact.folder: artefact.spec for artefact in study.of("dataset")}
        for artefact in study.of("train"):
            if artefact.labels["block"] != 0:
                continue
            (folder,) = artefact.inputs["data"]
            data = sources[folder]
            if data["source"] not in SHAPES:
                continue
            first, last = artefact.labels["models"].split(":")
            cell = Cell(
                (study.study.study,),
                data["source"],
                SHAPES[data["source"]].num_classes or data["classes"],
                artefact.spec["architecture"],
                artefact.spec["training"],
                artefact.spec["members"],
                int(last) - int(first),
            )
            # Neither the schedule nor the number of epochs changes a step's time.
            same = {**asdict(cell), "studies": None, "training": None}
            same["training"] = [
                cell.training[key] for key in ("optimizer", "batch_size", "l2")
            ]
            known = found.setdefault(records.key_of(same), cell)
            if study.study.study not in known.studies:
                found[records.key_of(same)] = Cell(
                    **{**known.__dict__, "studies": (*known.studies, *cell.studies)}
                )
    return list(found.values())


def flops(cell: Cell) -> float:
    """Return the multiplications and additions of a model's training, padding aside.

    A weight takes part in two of them for each place that it is applied to, in the
    forward pass, for its own gradient and, beyond the first layer, for that of the
    layer's inputs.
    """
    shape, settings = SHAPES[cell.dataset].record, cell.architecture
    per_record = 0
    if settings["kind"] == "cnn":
        planes, rows, columns = shape
        for layer, filters in enumerate(settings["channels"]):
            weights = filters * planes * settings["kernel"] ** 2
            per_record += (6 if layer else 4) * weights * rows * columns
            planes, rows, columns = filters, rows // 2, columns // 2
        dense = planes * rows * columns * settings["hidden"]
        per_record += 6 * (dense + settings["hidden"] * cell.num_classes)
    elif settings["kind"] == "resnet":
        for name, sizes in _architecture(cell).shapes.items():
            stage = re.match(r"stage(\d+)", name)
            shrink = 2 ** int(stage[1]) if stage else 1
            places = math.prod(-(-side // shrink) for side in shape[1:])
            if len(sizes) == 4:
                per_record += (4 if "stem" in name else 6) * math.prod(sizes) * places
            elif len(sizes) == 2:
                per_record += 6 * math.prod(sizes)
    else:
        widths = (math.prod(shape), *settings["hidden"], cell.num_classes)
        for layer in range(len(widths) - 1):
            per_record += (6 if layer else 4) * widths[layer] * widths[layer + 1]
    return float(per_record * cell.members * cell.training["epochs"])


# ---- what a worker does


def serve(connection: Connection, threads: int) -> None:
    """Answer requests until None comes: the body of a worker process."""
    import torch
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from whatelse.training.device import prepare_device

    prepare_device("cpu", threads)
    threadpool_limits(threads)
    trainers: dict[str, Any] = {}
    cell: Cell | None = None
    while (request := connection.recv()) is not None:
        if request == "matmul":
            connection.send(_matmul_gflops(torch))
            continue
        asked, strategy, work = request
        if asked != cell:
            cell, trainers = asked, _trainers(asked)
        started, used = time.perf_counter(), time.process_time()
        trainers[strategy](work)
        connection.send((time.perf_counter() - started, time.process_time() - used))


def _matmul_gflops(torch: Any) -> float:
    size, best = 1024, math.inf
    left, right = torch.ones(size, size), torch.ones(size, size)
    for _ in range(20):
        started = time.perf_counter()
        torch.mm(left, right)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best / 1e9


def _trainers(cell: Cell) -> dict[str, Callable[[Work], object]]:
    """Return what trains a cell's models, by strategy, on made-up data."""
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from whatelse.seeding import stream
    from whatelse.training.ensemble import TrainingData, train
    from whatelse.training.settings import CentralTraining

    shape = SHAPES[cell.dataset]
    rng = stream(0, "benchmark")
    size = (shape.num_records, *shape.record)
    image = len(shape.record) == 3
    inputs: NDArray[Any]
    if shape.dtype == "uint8":
        inputs = rng.integers(0, 256 if image else 2, size, dtype=np.uint8)
    else:
        inputs = rng.standard_normal(size, dtype=np.float32)
    labels = rng.integers(0, cell.num_classes, shape.num_records)
    scale = 1 / 255 if image else 1.0
    data = TrainingData(torch.from_numpy(inputs), torch.from_numpy(labels), scale)
    architecture = _architecture(cell)

    def members(work: Work) -> list[Any]:
        return [
            stream(0, "members", model).permutation(shape.num_records)[: work.members]
            for model in range(work.models)
        ]

    def ours(strategy: Any) -> Callable[[Work], object]:
        def run(work: Work) -> None:
            settings = CentralTraining.model_validate_json(
                json.dumps({**cell.training, "epochs": work.epochs})
            )
            train(
                architecture, settings, data, members(work), seed=0,
                streams=[("model", model) for model in range(work.models)],
                strategy=strategy,
            )  # fmt: skip

        return run

    def theirs(work: Work) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        optimizer = cell.training["optimizer"]
        momentum = optimizer.get("momentum", 0.0)
        for model, own in enumerate(members(work)):
            classifier = MLPClassifier(
                tuple(cell.architecture["hidden"]),
                activation=cell.architecture["activation"],
                solver=optimizer["kind"],
                alpha=2 * cell.training["l2"],
                batch_size=min(cell.training["batch_size"], len(own)),
                learning_rate_init=optimizer["learning_rate"],
                max_iter=work.epochs,
                random_state=model,
                tol=0.0,
                momentum=momentum,
                nesterovs_momentum=optimizer.get("nesterov", False),
                n_iter_no_change=work.epochs + 1,
            )
            features = inputs[own].reshape(len(own), -1).astype(np.float32)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                classifier.fit(features * np.float32(scale), labels[own])

    return {"stacked": ours("stacked"), "loop": ours("loop"), "sklearn": theirs}


# ---- measuring


class Workers:
    """One process with two threads and two with one, kept through all cells."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ends, self._processes = [], []
        for threads in (CORES, *[1] * CORES):
            ours, theirs = context.Pipe()
            # scikit-learn's matrix library reads the variable when it is loaded
            os.environ["OMP_NUM_THREADS"] = str(threads)
            process = context.Process(target=serve, args=(theirs, threads), daemon=True)
            process.start()
            self._ends.append(ours)
            self._processes.append(process)
            theirs.close()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for end in self._ends:
            end.send(None)
        for process in self._processes:
            process.join()

    def matmul(self) -> dict[str, float]:
        """Return the rate of float32 matrix products, GFLOP/s, by threads."""
        found = {}
        for threads, end in ((1, self._ends[1]), (CORES, self._ends[0])):
            end.send("matmul")
            found[str(threads)] = round(end.recv(), 1)
        return found

    def time(
        self, cell: Cell, strategy: str, work: Work, threads: int
    ) -> tuple[float, float]:
        """Return (seconds, CPU seconds) until every process has done the work."""
        ends = self._ends[:1] if threads == CORES else self._ends[1:]
        started = time.perf_counter()
        for end in ends:
            end.send((cell, strategy, work))
        used = sum(end.recv()[1] for end in ends)
        return time.perf_counter() - started, used


def plan_work(cell: Cell, strategy: str, seconds: float, workers: Workers) -> Work:
    """Return work that takes about `seconds` in one of two processes.

    Fewer epochs than the study's, then fewer records (whole batches), then fewer
    models in the loop: none of these changes what a step costs. A stack stays whole,
    but for convolutional nets, of which a whole one would take minutes.
    """
    batch = cell.training["batch_size"]
    pack = cell.pack if strategy == "stacked" else 1
    if cell.architecture["kind"] == "cnn":
        pack = min(pack, CNN_PACK)
    little = Work(pack, 1, min(cell.members, FEWEST_STEPS * batch))
    workers.time(cell, strategy, little, 1)  # makes the data, warms up
    taken = workers.time(cell, strategy, little, 1)[0]
    epoch = taken * math.ceil(cell.members / batch) / math.ceil(little.members / batch)
    if epoch > 2 * seconds:
        steps = max(FEWEST_STEPS, int(seconds / taken * FEWEST_STEPS))
        return Work(pack, 1, min(cell.members, steps * batch))
    epochs = min(cell.training["epochs"], max(1, round(seconds / epoch)))
    if strategy == "stacked":
        return Work(pack, epochs, cell.members)
    models = round(seconds / (epochs * epoch))
    return Work(min(cell.pack, max(1, models)), epochs, cell.members)


def measure(
    cell: Cell,
    workers: Workers,
    proc: Path,
    *,
    rounds: int,
    seconds: float,
    force: bool,
) -> tuple[Timing, dict[str, Work]]:
    """Time a cell: every way in turn, and that several times.

    A round during which others took the cores is made again, twice as often as there
    are rounds at most.

    Parameters
    ----------
    cell : Cell
        What is trained.
    workers : Workers
        Who trains.
    proc : Path
        Where ``stat`` lies.
    rounds : int
        Rounds to keep.
    seconds : float
        Rough length of one timing.
    force : bool
        Keep every round.

    Returns
    -------
    Timing
        Of the rounds that were kept; of the last ones if too many were disturbed.
    dict of str to Work
        What was trained, by strategy.
    """
    strategies = {"stacked", "loop"}
    ways: dict[str, tuple[str, int]] = dict(WAYS)
    if cell.architecture["kind"] == "mlp":
        strategies.add("sklearn")
        ways[SKLEARN] = ("sklearn", 1)
    work = {
        strategy: plan_work(cell, strategy, seconds, workers)
        for strategy in sorted(strategies)
    }
    for strategy in work:
        little = Work(work[strategy].models, 1, min(cell.members, 64))
        workers.time(cell, strategy, little, CORES)
    kept, left = Timing({way: [] for way in ways}), 2 * rounds
    while len(kept.foreign) < rounds:
        rates, foreign = _round(cell, workers, proc, ways, work)
        # Later rounds run backwards: no way always follows the same other.
        ways = dict(reversed(ways.items()))
        if foreign > MAX_FOREIGN and not force and left:
            left -= 1
            continue
        kept.foreign.append(foreign)
        for way, rate in rates.items():
            kept.rates[way].append(rate)
    return kept, work


def _round(
    cell: Cell, workers: Workers, proc: Path, ways: dict[str, tuple[str, int]],
    work: dict[str, Work],
) -> tuple[dict[str, float], float]:  # fmt: skip
    """Return models a second by way, and the share of the cores that others took."""
    rates, used = {}, 0.0
    idle, everything = cpu_ticks((proc / "stat").read_text())
    own = time.process_time()
    for way, (strategy, threads) in ways.items():
        taken, cpu = workers.time(cell, strategy, work[strategy], threads)
        processes = 1 if threads == CORES else CORES
        rates[way] = processes * work[strategy].share_of(cell) / taken
        used += cpu
    idle_later, everything_later = cpu_ticks((proc / "stat").read_text())
    used += time.process_time() - own
    passed = (everything_later - everything) / os.sysconf("SC_CLK_TCK")
    busy = passed * (1 - (idle_later - idle) / max(everything_later - everything, 1))
    return rates, max(0.0, busy - used) / max(passed, 1e-9)


# ---- telling


def summary(
    cell: Cell, timing: Timing, work: dict[str, Work], matmul: dict[str, float]
) -> dict[str, Any]:
    """Return a cell's entry in the results."""
    strategy = _auto(cell)
    ratios = timing.ratios()
    middle = statistics.median(ratios)
    # Where `auto` takes the loop, it is the loop: nothing is divided by itself.
    ratio = middle if strategy == "stacked" else 1.0
    rates = {way: statistics.median(found) for way, found in timing.rates.items()}
    turns = range(len(ratios))
    reached = statistics.median(timing.best(strategy, turn) for turn in turns)
    most = max(matmul[str(CORES)], CORES * matmul["1"])
    return {
        **asdict(cell),
        "net": cell.net,
        "models_per_second": {way: _digits(rate) for way, rate in rates.items()},
        "stacked_to_loop": {
            "median": _digits(middle),
            "min": _digits(min(ratios)),
            "max": _digits(max(ratios)),
        },
        "auto": strategy,
        "auto_to_loop": _digits(ratio),
        "auto_is_right": (middle if strategy == "stacked" else 1 / middle) >= NOISE,
        "bar": cell.bar,
        "reached": ratio >= cell.bar,
        "gflops": _digits(reached * flops(cell) / 1e9),
        "share_of_matmul": _digits(reached * flops(cell) / 1e9 / most),
        "timed": {strategy: asdict(own) for strategy, own in work.items()},
        "taken_by_others": _digits(max(timing.foreign)),
        "disturbed": max(timing.foreign) > MAX_FOREIGN,
    }


def _auto(cell: Cell) -> str:
    import torch

    from whatelse.training.ensemble import choose_strategy

    return choose_strategy(_architecture(cell), torch.device("cpu"))


def _architecture(cell: Cell) -> Any:
    from pydantic import TypeAdapter

    from whatelse.models.settings import ArchitectureSettings
    from whatelse.models.stacked import build

    adapter: TypeAdapter[Any] = TypeAdapter(ArchitectureSettings)
    settings = adapter.validate_json(json.dumps(cell.architecture))
    return build(settings, SHAPES[cell.dataset].record, cell.num_classes)


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


def table(results: dict[str, Any]) -> list[list[str]]:
    """Return the results as rows of text, the heading first."""
    rows = [
        [
            "data", "net", "members", "batch", "pack",
            *[f"{way}, models/s" for way in (*WAYS, SKLEARN)],
            "stacked / loop (min-max)", "auto", "auto / loop", "bar", "of matmul",
        ]
    ]  # fmt: skip
    for cell in results["cells"]:
        rates, ratio = cell["models_per_second"], cell["stacked_to_loop"]
        verdict = "reached" if cell["reached"] else "missed"
        rows.append(
            [
                cell["dataset"],
                cell["net"],
                f"{cell['members']:,}",
                str(cell["training"]["batch_size"]),
                str(cell["pack"]),
                *[f"{rates[way]:g}" if way in rates else "-" for way in WAYS],
                f"{rates[SKLEARN]:g}" if SKLEARN in rates else "-",
                f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})",
                cell["auto"] + ("" if cell["auto_is_right"] else ", the slower"),
                f"{cell['auto_to_loop']:.2f}",
                f"{cell['bar']:g}: {verdict}"
                + (", disturbed" if cell["disturbed"] else ""),
                f"{cell['share_of_matmul']:.0%}",
            ]
        )
    return rows


def machine_line(results: dict[str, Any]) -> str:
    """Return the machine and versions in one sentence."""
    matmul, versions = results["matmul_gflops"], results["versions"]
    busy = ", BUSY: these timings are worthless" if results["busy"] else ""
    return (
        f"{results['cpu']}, {results['cores']} cores{busy}; float32 matrix product "
        f"{matmul['1']:g} GFLOP/s on one thread, {matmul[str(CORES)]:g} on {CORES}; "
        f"torch {versions['torch']}, scikit-learn {versions['scikit-learn']}, "
        f"Python {versions['python']}; {results['rounds']} rounds."
    )


def plain(rows: list[list[str]]) -> str:
    """Return the rows as aligned text, the heading written out above."""
    letters = [chr(ord("a") + column) for column in range(len(rows[0]))]
    legend = "\n".join(f"{a}  {text}" for a, text in zip(letters, rows[0], strict=True))
    body = [letters, *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in body
    ]
    return legend + "\n\n" + "\n".join(line.rstrip() for line in lines)


def write_markdown(path: Path, results: dict[str, Any]) -> None:
    """Put the table into a page, between its two marks.

    Raises
    ------
    UserError
        If the page is missing or has no marks.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"--markdown: {path}: cannot be read: {error}") from None
    before, mark, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise UserError(f"--markdown: {path}: allowed: a page with {BEGIN} and {END}")
    heading, *rows = table(results)
    lines = [f"| {' | '.join(row)} |" for row in (heading, ["---"] * len(heading))]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    body = "\n".join([BEGIN, machine_line(results), "", *lines, END])
    with records.atomic(path) as file:
        file.write(before + body + after)


# ---- the command


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--studies", type=Path, nargs="+", metavar="FILE",
        default=sorted((ROOT / "config/studies").glob("*.yaml")),
        help="study files whose models are timed (default: all of config/studies)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results", metavar="FOLDER",
        help="where ensemble-<cpu>.json is written (default: benchmarks/results)",
    )  # fmt: skip
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="put the table into this page"
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="of one timing, roughly; default: 1"
    )
    parser.add_argument(
        "--force", action="store_true", help="run on a busy machine, and say so"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see that it works: one short round"
    )
    args = parser.parse_args(argv)
    if args.quick:
        args.rounds, args.seconds = 1, 0.02
    if args.rounds < 1:
        raise UserError(f"--rounds: {args.rounds}; allowed: 1 or more")
    if not args.seconds > 0:
        raise UserError(f"--seconds: {args.seconds}; allowed: above 0")
    return args


def main(
    argv: Sequence[str] | None = None, *, proc: Path = Path("/proc"),
    wait: Callable[[float], object] = time.sleep,
) -> int:  # fmt: skip
    """Measure and tell.

    Returns
    -------
    int
        0; 1 if a bar is missed on an idle machine; 2 after bad input or on a busy one.
    """
    try:
        args = arguments(argv)
        cells = cells_of(args.studies)
        if len(os.sched_getaffinity(0)) < CORES:
            raise UserError(f"this process may use one core; allowed: {CORES} or more")
        busy = busy_reason(proc, wait)
        if busy and not args.force:
            raise UserError(f"{busy} (--force measures all the same)")
        return _measure_all(args, cells, proc, busy is not None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _measure_all(
    args: argparse.Namespace, cells: list[Cell], proc: Path, busy: bool
) -> int:
    cpu = cpu_model(proc)
    with Workers() as workers:
        matmul = workers.matmul()
        entries = []
        for number, cell in enumerate(cells, 1):
            timing, work = measure(
                cell, workers, proc, rounds=args.rounds, seconds=args.seconds,
                force=args.force,
            )  # fmt: skip
            entries.append(summary(cell, timing, work, matmul))
            ratio = entries[-1]["stacked_to_loop"]["median"]
            print(
                f"{number}/{len(cells)} {cell.dataset} {cell.net}, {cell.members:,} "
                f"members: stacked / loop {ratio:.2f}",
                flush=True,
            )
    results = {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "busy": busy,
        "quick": args.quick,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "versions": records.versions(),
        "matmul_gflops": matmul,
        "cells": entries,
    }
    slug = re.sub(r"[^a-z0-9]+", "-", cpu.lower()).strip("-")
    path = args.out / f"ensemble-{slug}.json"
    records.write_json(path, results)
    print(f"\n{machine_line(results)}\n\n{plain(table(results))}\n\nwritten: {path}")
    if args.markdown:
        write_markdown(args.markdown, results)
    missed = not all(entry["reached"] for entry in entries)
    return 1 if missed and not (busy or args.quick) else 0


if __name__ == "__main__":
    raise SystemExit(main())
