"""Seconds and memory of every step of the workflow, on small and larger inputs.

Each verb is run as a rule runs it, in a process of its own on one thread, and so is
Snakemake around a small study. Least squares with no negative parts then tell what one
of each feature (``whatelse.studies.plan.work``) takes. ``whatelse plan`` reads the
result; ``docs/planning.md`` says more.

CPU seconds are taken: on one thread they are what an idle machine would take, and they
bear some company. On a GPU (``--device cuda``) it is the clock, and training only.
"""

import argparse
import datetime
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from whatelse import records
from whatelse.errors import UserError
from whatelse.seeding import stream
from whatelse.studies.plan import work
from whatelse.studies.plan.costs import CPU, GPU
from whatelse.studies.plan.shapes import KNOWN, Shape
from whatelse.studies.plan.workload import Workload
from whatelse.studies.resolve import Artefact, Resolved, load_study

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(Path(__file__).resolve().parent))

from ensemble import busy_reason, cpu_model  # noqa: E402

Features = dict[str, float]

ADAM = {"kind": "adam", "learning_rate": 0.001}
BITS, IMAGES = (16000, (500,), 40), (6000, (3, 32, 32), 10)
WIDE = (60000, (800,), 10)  # for what the size of the data costs
# (hidden, batch, members, epochs, models): what stacks of perceptrons cost.
STACKS = (
    ([], 96, 960, 24, 31),
    ([128], 96, 960, 8, 31),
    ([128], 128, 3840, 6, 8),
    ([512], 512, 2560, 6, 6),
    ([512], 32, 320, 12, 6),
    ([256, 256], 64, 640, 12, 8),
)
# (architecture, batch, members, models): the plain loop.
LOOPS = (
    ({"kind": "cnn", "channels": [16, 32], "kernel": 3}, 64, 640, 2),
    ({"kind": "cnn", "channels": [32, 32], "kernel": 5}, 128, 384, 2),
    ({"kind": "cnn", "channels": [64], "kernel": 3}, 32, 256, 2),
    ({"kind": "resnet", "widths": [16, 32], "blocks": 2}, 64, 192, 2),
)
# (shadows, tested records, classes, attack): attacks on made-up outputs.
ATTACKS: tuple[tuple[int, int, int, dict[str, Any]], ...] = (
    (20, 100, 10, {}),
    (20, 800, 10, {}),
    (30, 1200, 30, {}),
    (6, 6000, 60, {"batch_size": 512, "epochs": 10}),
    (20, 6000, 2, {"batch_size": 512, "epochs": 5}),
    (10, 400, 10, {"kind": "random-forest", "trees": 20}),
    (10, 4000, 10, {"kind": "random-forest", "trees": 20}),
    (10, 400, 10, {"kind": "gradient-boosting", "rounds": 20}),
    (10, 4000, 10, {"kind": "gradient-boosting", "rounds": 20}),
)
# On a GPU one step takes as long for few models as for many: packs differ here.
PACKS = (1, 8, 32)
WORST = 20
_ENTRY = "from whatelse.cli import entry; entry()"
REPLICATES = 4


@dataclass
class Measured:
    """One job.

    Attributes
    ----------
    what : str
        In words.
    seconds, megabytes : float
        CPU seconds (the clock's on a GPU) and peak memory; 0 where not measured.
    work, memory : dict of str to float
        Features of its time and of its memory.
    """

    what: str
    seconds: float
    megabytes: float
    work: Features
    memory: Features


class Bench:
    """A folder in which verbs are run, and what was measured there."""

    def __init__(self, folder: Path, node: str, device: str) -> None:
        self.folder, self.node, self.device = folder, node, device
        self.measured: list[Measured] = []
        self.workload = Workload()

    def call(self, *words: str) -> tuple[float, float, float]:
        """Run a verb; return its CPU seconds, seconds by the clock, and megabytes.

        Raises
        ------
        UserError
            If it fails.
        """
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DO_NOT_TRACK": "true",
        }
        log = self.folder / "log"
        started = time.perf_counter()
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen(
                [sys.executable, "-c", _ENTRY, *words], cwd=self.folder,
                env=environment, stdout=file, stderr=subprocess.STDOUT,
            )  # fmt: skip
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        passed = time.perf_counter() - started
        if process.returncode:
            end = " ".join(log.read_text(encoding="utf-8").split())[-300:]
            raise UserError(f"whatelse {words[0]} failed: {end}")
        return used.ru_utime + used.ru_stime, passed, used.ru_maxrss / 1024

    def keep(
        self, what: str, words: Sequence[str], own: work.Work, *, clock: bool = False
    ) -> None:
        """Run a verb and keep what it took."""
        cpu, passed, megabytes = self.call(*words)
        seconds = passed if clock else cpu
        self.measured.append(
            Measured(what, seconds, megabytes, own.seconds, own.memory)
        )
        print(f"  {what}: {seconds:.2f} s, {megabytes:.0f} MB", flush=True)

    def make(self, resolved: Resolved, kinds: Sequence[str]) -> None:
        """Make the artefacts of some kinds, each in a process of its own."""
        by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
        self.workload.look_at(resolved.of("dataset"))
        for artefact in resolved.artefacts:
            if artefact.kind in kinds:
                own = self.workload.of(artefact, by_folder, node=self.node)
                name = artefact.labels.get("name", artefact.kind)
                self.keep(
                    f"{artefact.kind} {name}", self.words(artefact), own,
                    clock=self.node == GPU,
                )  # fmt: skip

    def words(self, artefact: Artefact) -> list[str]:
        """Return the verb that makes an artefact, as its rule calls it."""
        spec = ["--spec", artefact.spec_json, "--out", artefact.folder]
        inputs = artefact.inputs
        device = ["--device", self.device]
        if artefact.kind == "dataset":
            return ["datasets", "prepare", *spec, "--raw", str(self.folder)]
        if artefact.kind == "train":
            return [
                "train", *spec, *device, "--data", *inputs["data"], "--models",
                str(artefact.labels["models"]), "--progress",
                str(self.folder / "progress" / records.key_of(artefact.folder)),
            ]  # fmt: skip
        if artefact.kind == "query":
            return [
                "query", *spec, *device, "--data", *inputs["data"], "--block",
                *inputs["block"],
            ]  # fmt: skip
        if artefact.kind == "import":
            return ["import", *spec]
        if artefact.kind == "attack":
            given = [w for role, own in inputs.items() for w in ("--input", role, *own)]
            return ["attack", *spec, *given]
        published = ["--published", str(ROOT / "data" / "published")]
        more = published if artefact.kind == "claims" else []
        return [artefact.kind, *spec, "--attacks", *inputs["attacks"], *more]

    def study(self, name: str, **sections: Any) -> Resolved:
        """Write a study file and resolve it."""
        whole = {
            "study": name, "question": "membership", "title": name, "seed": 1,
            **sections,
        }  # fmt: skip
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(whole), encoding="utf-8")
        return load_study(path, self.folder / "results")


# ---- what is measured


def stacks(bench: Bench, *, quick: bool) -> None:
    """Train and ask stacks of perceptrons, on digits and on made-up bits."""
    attacks, models = {}, {}
    chosen = STACKS[:1] if quick else STACKS
    packs = PACKS if bench.node == GPU and not quick else (0,)
    for number, (hidden, batch, members, epochs, count) in enumerate(chosen):
        for pack in packs:
            name = f"stack{number}-{pack}"
            models[name] = _entry(
                "bits", {"kind": "mlp", "hidden": hidden}, batch, members,
                1 if quick else epochs, pack or count,
            )  # fmt: skip
            attacks[name] = {"kind": "membership.threshold", "models": name}
    datasets = {"bits": _arrays(bench.folder, *BITS)}
    if not quick:
        datasets["wide"] = _arrays(bench.folder, *WIDE)
        net = {"kind": "mlp", "hidden": [16]}
        models["wide"] = _entry("wide", net, 128, 12000, 1, 3)
        attacks["wide"] = {"kind": "membership.threshold", "models": "wide"}
    study = bench.study("stacks", datasets=datasets, models=models, attacks=attacks)
    bench.make(study, ("dataset", "train", "query"))


def loops(bench: Bench, *, quick: bool) -> None:
    """Train and ask convolutional nets on made-up images."""
    attacks, models = {}, {}
    chosen = LOOPS[:1] if quick else LOOPS
    packs = PACKS if bench.node == GPU and not quick else (0,)
    for number, (architecture, batch, members, count) in enumerate(chosen):
        for pack in packs:
            name = f"loop{number}-{pack}"
            models[name] = _entry(
                "images", architecture, batch, 64 if quick else members, 1,
                pack or count,
            )  # fmt: skip
            attacks[name] = {"kind": "membership.threshold", "models": name}
    bench.make(
        bench.study(
            "loops", datasets={"images": _arrays(bench.folder, *IMAGES)},
            models=models, attacks=attacks,
        ),
        ("dataset", "train", "query"),
    )  # fmt: skip


def attacks(bench: Bench, *, quick: bool) -> None:
    """Take in made-up outputs, attack them, draw and judge the results."""
    models, entries = {}, {}
    for number, (shadows, tested, classes, settings) in enumerate(
        ATTACKS[:1] if quick else ATTACKS
    ):
        name = f"made{number}"
        path = _outputs(bench.folder / f"{name}.npz", shadows, tested, classes)
        models[name] = {"external": path.name}
        attack_model = settings
        if settings.get("kind", "mlp") == "mlp" and (settings or quick):
            training = {"optimizer": {"kind": "adam", "learning_rate": 0.01}}
            training |= settings or {"epochs": 1}
            attack_model = {"kind": "mlp", "training": training}
        entries[name] = {
            "kind": "membership.shadow", "models": name, "sparse_classes": "pool",
            **({"attack_model": attack_model} if attack_model else {}),
        }  # fmt: skip
    entries["none"] = {"kind": "membership.threshold", "models": "made0"}
    few, many = ["made0"], [name for name in entries if name != "none"]
    figures = {
        f"{kind}{number}": {"kind": kind, "title": "Made up", "attacks": own}
        for kind in ("class_cdf", "roc", "table")
        for number, own in enumerate((few, many))
    }
    study = bench.study("attacks", models=models, attacks=entries, figures=figures)
    bench.make(study, ("import", "attack", "figure", "claims"))


def sources(bench: Bench, raw: Path | None) -> None:
    """Prepare digits, and what raw files are at hand."""
    entries: list[dict[str, Any]] = [{"source": "digits"}]
    for name in sorted(KNOWN):
        if name != "digits" and raw and (raw / name / "fetched.json").exists():
            entries.append({"source": name})
    if raw and (raw / "retail" / "fetched.json").exists():
        entries += [{"source": "retail", "classes": n, "seed": 0} for n in (2, 20, 100)]
    for number, spec in enumerate(entries):
        source = spec["source"]
        shape = _shape(spec)
        out = str(bench.folder / "prepared" / str(number))
        words = [
            "datasets", "prepare", "--spec", json.dumps(spec), "--raw",
            str((raw or bench.folder).resolve()), "--out", out,
        ]  # fmt: skip
        bench.keep(f"dataset {source}", words, work.prepare(spec, shape))
        place = raw or bench.folder
        words = ["datasets", "fetch", source, "--raw", str(place.resolve())]
        bench.keep(f"fetch {source}", words, work.fetch())


def workflow(bench: Bench, *, quick: bool) -> None:
    """Run a small study through Snakemake; tell its own share and the report's."""
    replicates = 1 if quick else REPLICATES
    study = bench.study(
        "small",
        datasets={"digits": {"source": "digits"}},
        models={
            "net": {
                **_entry("digits", {"kind": "mlp", "hidden": [16]}, 32, 64, 2, 3),
                "replicates": replicates,
            }
        },
        attacks={
            "none": {"kind": "membership.threshold", "models": "net"},
            "shadow": {
                "kind": "membership.shadow",
                "models": "net",
                "sparse_classes": "pool",
            },
        },
        figures={"roc": {"kind": "roc", "title": "Made up", "attacks": ["none"]}},
    )
    # First without Snakemake: small data, and attacks on several replicates.
    bench.make(study, ("dataset", "train", "query", "attack"))
    for folder in {Path(artefact.folder) for artefact in study.artefacts}:
        shutil.rmtree(folder, ignore_errors=True)
    path = str(study.path)
    command = ["run", path, "--cores", "1"]
    print("  a small study through Snakemake", flush=True)
    total = bench.call(*command)[0]
    jobs = total - sum(
        records.read_json(file)["cpu_seconds"]
        for file in (bench.folder / "results").rglob("telemetry.json")
        if any(str(file).startswith(artefact.folder) for artefact in study.artefacts)
    )
    larger = load_study(bench.folder / "attacks.yaml", bench.folder / "results")
    for each in (larger, study):
        uri = f"sqlite:///{bench.folder / each.study.study}.db"
        words = ["track", str(each.path), "--uri", uri, "--out", "track.json"]
        bench.keep("track", words, work.track(len(each.artefacts)))
    jobs -= bench.measured[-1].seconds
    nothing = bench.call(*command)[0]
    (bench.folder / "results" / "report.html").unlink()
    report = bench.call(*command)[0] - nothing
    many = bench.study(
        "many",
        datasets={"digits": {"source": "digits"}},
        models={
            "net": {
                **_entry("digits", {"kind": "mlp", "hidden": [16]}, 32, 64, 2, 3),
                "replicates": 2 if quick else 200,
            }
        },
        attacks={"none": {"kind": "membership.threshold", "models": "net"}},
    )
    dry = {
        len(own.artefacts): bench.call("run", str(own.path), "--cores", "1", "-n")[0]
        for own in (study, many)
    }
    (few, first), (lots, last) = dry.items()
    each = max(0.0, (last - first) / (lots - few))
    num_jobs = len(study.artefacts) + 1
    # A run that finds nothing to do is start and end; the rest is for the jobs.
    start = nothing - each * few
    found = {
        "workflow.start": start,
        "workflow.artefact": each,
        "workflow.job": max(0.0, (jobs - nothing - report) / num_jobs),
        "report.start": report,
    }
    for name, seconds in found.items():
        bench.measured.append(Measured(name, max(seconds, 0.0), 0.0, {name: 1.0}, {}))
        print(f"  {name}: {seconds:.3f} s", flush=True)


def _entry(
    dataset: str, architecture: dict[str, Any], batch: int, members: int, epochs: int,
    count: int,
) -> dict[str, Any]:  # fmt: skip
    return {
        "dataset": dataset, "architecture": architecture,
        "training": {"optimizer": ADAM, "epochs": epochs, "batch_size": batch},
        "members": members, "shadows": max(1, count - 1), "block": max(2, count),
    }  # fmt: skip


def _arrays(
    folder: Path, num_records: int, record: tuple[int, ...], num_classes: int
) -> dict[str, Any]:
    """Write made-up records; return the data set's entry."""
    rng = stream(0, "benchmark")
    path = folder / f"arrays-{num_records}.npz"
    high = 256 if len(record) == 3 else 2
    np.savez(
        path,
        inputs=rng.integers(0, high, (num_records, *record), dtype=np.uint8),
        labels=rng.permutation(np.arange(num_records) % num_classes),
    )
    return {"source": "npz", "path": path.name}


def _outputs(path: Path, shadows: int, tested: int, classes: int) -> Path:
    """Write made-up outputs that give members away a little."""
    rng = stream(0, "outputs", path.name)
    rows = (shadows + 1) * tested
    member = np.arange(rows) % 2 == 0
    labels = rng.permutation(np.arange(rows) // 2 % classes)
    logits = rng.standard_normal((rows, classes), dtype=np.float32)
    logits[np.arange(rows), labels] += 2.0 + member
    odds = np.exp(logits)
    np.savez(
        path, probabilities=odds / odds.sum(1, keepdims=True), labels=labels,
        member=member, model=np.arange(rows) // tested,
    )  # fmt: skip
    return path


def _shape(spec: dict[str, Any]) -> Shape:
    from whatelse.studies.plan.shapes import shape_of

    return shape_of(Artefact("dataset", "nowhere", spec))


def on_record(folder: Path) -> Iterator[Measured]:
    """Yield the training times of ``benchmarks/ensemble.py``, from an idle machine.

    Two one-thread processes at a time, as in the workflow: seconds are those of one.
    """
    from ensemble import SHAPES

    for path in sorted(folder.glob("ensemble-*.json")):
        for cell in records.read_json(path)["cells"]:
            net = work.net_of(
                cell["architecture"], SHAPES[cell["dataset"]].record,
                cell["num_classes"],
            )  # fmt: skip
            settings = cell["training"]
            for strategy in ("stacked", "loop"):
                if (strategy == "stacked") == net.looped:
                    continue
                rate = cell["models_per_second"].get(f"{strategy}, 2 processes")
                features = work.training(
                    net, num_models=cell["pack"], epochs=settings["epochs"],
                    steps=-(-cell["members"] // settings["batch_size"]),
                    batch_size=settings["batch_size"], stacked=strategy == "stacked",
                )  # fmt: skip
                what = f"on record: {strategy} {cell['dataset']} {cell['net']}"
                yield Measured(what, 2 * cell["pack"] / rate, 0.0, features, {})


# ---- what follows


def fit(
    measured: Sequence[Measured], feature: Callable[[Measured], Features],
    value: Callable[[Measured], float],
) -> tuple[Features, dict[str, float]]:  # fmt: skip
    """Return what one of each feature takes, and measured to fitted for each job.

    Least squares of relative errors, no negative parts.
    """
    from scipy.optimize import nnls

    own = [one for one in measured if value(one) > 0 and feature(one)]
    names = sorted({name for one in own for name in feature(one)})
    table = np.array([[feature(one).get(name, 0.0) for name in names] for one in own])
    target = np.array([value(one) for one in own])
    scale = np.maximum(np.abs(table).max(0), 1e-300)
    weights, _ = nnls(table / scale / target[:, None], np.ones(len(own)), maxiter=10000)
    weights = weights / scale
    ratios = target / np.maximum(table @ weights, 1e-9)
    each = {
        name: float(f"{weight:.4g}")
        for name, weight in zip(names, weights, strict=True)
        if weight > 0
    }
    said = {
        f"{number:03d} {one.what}": round(float(ratio), 3)
        for number, (one, ratio) in enumerate(zip(own, ratios, strict=True))
    }
    return each, said


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results", metavar="FOLDER",
        help="where jobs-<machine>.json is written (default: benchmarks/results)",
    )  # fmt: skip
    parser.add_argument(
        "--raw", type=Path, metavar="FOLDER",
        help="fetched files: the data sets there are prepared as well",
    )  # fmt: skip
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda: training only"
    )
    parser.add_argument(
        "--force", action="store_true", help="run on a busy machine, and say so"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see that it works: little, and no GPU"
    )
    return parser.parse_args(argv)


def main(
    argv: Sequence[str] | None = None, *, proc: Path = Path("/proc"),
    wait: Callable[[float], object] = time.sleep,
) -> int:  # fmt: skip
    """Measure and tell.

    Returns
    -------
    int
        0; 2 after bad input or on a busy machine.
    """
    try:
        args = arguments(argv)
        busy = busy_reason(proc, wait)
        if busy and not args.force:
            raise UserError(f"{busy} (--force measures all the same)")
        path = _measure(args, proc, busy is not None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {path}")
    return 0


def _measure(args: argparse.Namespace, proc: Path, busy: bool) -> Path:
    node = CPU if args.device == "cpu" else GPU
    machine = cpu_model(proc) if node == CPU else _gpu_name()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place), node, args.device)
        stacks(bench, quick=args.quick)
        loops(bench, quick=args.quick)
        if node == CPU:
            attacks(bench, quick=args.quick)
            sources(bench, args.raw)
            workflow(bench, quick=args.quick)
    measured = bench.measured
    if node == GPU:
        measured = [one for one in measured if not one.what.startswith("dataset")]
    everything = [*measured, *(on_record(args.out) if node == CPU else ())]
    seconds, ratios = fit(everything, lambda one: one.work, lambda one: one.seconds)
    memory, sizes = fit(measured, lambda one: one.memory, lambda one: one.megabytes)
    slug = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    path = args.out / f"jobs-{slug}.json"
    records.write_json(
        path,
        {
            "node": node,
            "machine": machine,
            "cores": os.cpu_count(),
            "busy": busy,
            "quick": args.quick,
            "measured": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "versions": records.versions(),
            "seconds": seconds,
            "memory_mb": memory,
            "measured_to_fitted_seconds": ratios,
            "measured_to_fitted_memory": sizes,
        },
    )
    worst = sorted(ratios.items(), key=lambda item: -abs(np.log(item[1])))
    print("worst fits, measured to fitted seconds:")
    for what, ratio in worst[:WORST]:
        print(f"  {ratio:6.2f}  {what}")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.0f} CPU seconds in all")
    return path


def _gpu_name() -> str:
    import torch

    if not torch.cuda.is_available():
        raise UserError("--device: cuda is not available here; allowed: cpu")
    name: str = torch.cuda.get_device_name()
    return name


if __name__ == "__main__":
    raise SystemExit(main())
