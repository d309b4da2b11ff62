"""``whatelse plan``: what a study takes, before anything of it runs.

Nothing is run and Snakemake is not called: counts follow from the study file, sizes
from the formats, and times from benchmarks on record (docs/planning.md).
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whatelse.errors import UserError
from whatelse.records import write_json
from whatelse.studies.plan.costs import BENCHMARKS, CPU, GPU, Costs, read_costs
from whatelse.studies.plan.estimate import (
    Estimator,
    Job,
    Wall,
    downloads,
    most_shadows,
    with_shadows,
)
from whatelse.studies.plan.precision import Curve, read_curve, sampling_error
from whatelse.studies.plan.profiles import Profile, read_profile
from whatelse.studies.resolve import Resolved, load_study
from whatelse.studies.run import add_profile_argument, add_workflow_argument
from whatelse.terminal import print_table

_KINDS = (
    "fetch", "dataset", "preprocess", "synthesise", "train", "collaborate", "query",
    "import", "attack", "figure", "claims", "track",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("study", type=Path, metavar="STUDY.yaml")
    add_profile_argument(parser)
    parser.add_argument("--cores", type=int, help="default: the profile's")
    parser.add_argument(
        "--replicates", type=int, help="at most so many replicates of every entry"
    )
    parser.add_argument("--results", type=Path, default=Path("results"))
    add_workflow_argument(parser)
    parser.add_argument(
        "--benchmarks", type=Path, default=BENCHMARKS, metavar="FOLDER",
        help="benchmarks on record; default: benchmarks/results of the checkout",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers")


def run(args: argparse.Namespace) -> None:
    """Print the plan of a study."""
    for option in ("replicates", "cores"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise UserError(f"--{option}: {value}; allowed: 1 or more")
    resolved = load_study(args.study, args.results, replicates=args.replicates)
    profile = read_profile(args.workflow, args.profile, cores=args.cores)
    costs, curve = read_costs(args.benchmarks), read_curve(args.benchmarks)
    estimator = Estimator(costs, profile)
    try:
        plan = make_plan(resolved, estimator, curve, args.results)
    except UserError as error:
        line = str(error)
        raise UserError(
            line if line.startswith(str(args.study)) else f"{args.study}: {line}"
        ) from None
    if args.json:
        write_json(args.json, plan)
    print_plan(plan)


def make_plan(
    resolved: Resolved, estimator: Estimator, curve: Curve, results: Path
) -> dict[str, Any]:
    """Return the plan as plain numbers: what ``--json`` writes.

    Parameters
    ----------
    resolved : Resolved
        The study.
    estimator : Estimator
        Knows costs and profile.
    curve : Curve
        What fewer shadows cost.
    results : Path
        Where artefacts lie.

    Returns
    -------
    dict
        Times in seconds, memory in megabytes, disk in bytes.
    """
    profile, costs = estimator.profile, estimator.costs
    jobs = estimator.jobs(resolved, results, afresh=False)
    left = [job for job in jobs if not job.made]
    wall = estimator.wall(jobs)
    return {
        "study": resolved.study.study,
        "title": resolved.study.title,
        "profile": {
            "name": profile.name,
            "executor": profile.executor,
            "slots": profile.slots,
        },
        "benchmarks": {
            node: {"file": own.path.name, "machine": own.machine, "busy": own.busy}
            for node, own in costs.items()
        },
        "steps": _steps(jobs, profile),
        "models": {
            "to_train": sum(job.models for job in left),
            "there": sum(job.models for job in jobs if job.made),
        },
        "nodes": _nodes(left, costs),
        "wall": {"seconds": wall.seconds, "known": wall.known},
        "submissions": wall.submissions,
        "disk": {
            "stays": sum(job.disk for job in left),
            "meanwhile": sum(job.progress for job in left),
        },
        "download": downloads(left),
        "shadows": _shadows(resolved, estimator, curve, results),
        "precision": {
            "file": curve.path.name,
            "replicates": curve.replicates,
            "largest": curve.shadows[-1],
        },
        "attacks": {
            "with_shadows": len(estimator.shadow_attacks(resolved)),
            "all": len(resolved.of("attack")),
        },
    }


def _steps(jobs: Sequence[Job], profile: Profile) -> list[dict[str, Any]]:
    """Return a row for each kind of job that the study has."""
    rows = []
    for kind in _KINDS:
        own = [job for job in jobs if job.kind == kind]
        left = [job for job in own if not job.made]
        if not own:
            continue
        rule = profile.rules[kind]
        # What runs where Snakemake was started is bound by no scheduler.
        bound = not (rule.local and profile.submits)
        known = [job.seconds for job in left if job.seconds is not None]
        rows.append(
            {
                "kind": kind,
                "to_make": len(left),
                "there": len(own) - len(left),
                "node": own[0].node,
                "seconds": sum(known) if len(known) == len(left) else None,
                "longest_seconds": max(known, default=None),
                "time_limit_seconds": _times(rule.number("runtime"), 60)
                if bound
                else None,
                "memory_mb": max((job.memory for job in left), default=None),
                "asked_mb": rule.number("mem_mb") if bound else None,
                "disk": sum(job.disk for job in left),
            }
        )
    return rows


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _nodes(left: Sequence[Job], costs: Mapping[str, Costs]) -> list[dict[str, Any]]:
    """Return the hours on each kind of node; on a GPU only from a benchmark of one."""
    rows = []
    for node in (CPU, GPU):
        own = [job for job in left if job.node == node]
        if not own and node == GPU:
            continue
        rows.append(
            {
                "node": node,
                "jobs": len(own),
                "seconds": None
                if node not in costs
                else sum(job.seconds or 0.0 for job in own),
                "cpu_seconds": sum(job.cpu_seconds for job in own),
            }
        )
    return rows


def _shadows(
    resolved: Resolved, estimator: Estimator, curve: Curve, results: Path
) -> list[dict[str, Any]]:
    """Return the study afresh with the shadows asked for, half as many, ..., one."""
    asked = most_shadows(resolved)
    attacks = estimator.shadow_attacks(resolved)
    if not asked or not attacks:
        return []
    numbers, number = [], asked
    while number:
        numbers.append(number)
        number //= 2
    rows = []
    for number in numbers:
        own = with_shadows(resolved, number)
        jobs = estimator.jobs(own, results, afresh=True)
        wall: Wall = estimator.wall(jobs)
        change = curve.change(number, asked)
        errors = [
            math.sqrt(
                (sampling_error(tested, tested) ** 2 + change.std**2) / replicates
            )
            for _, tested, replicates in attacks
        ]
        rows.append(
            {
                "shadows": number,
                "models": sum(job.models for job in jobs),
                "cpu_seconds": sum(job.cpu_seconds for job in jobs),
                "wall_seconds": wall.seconds,
                "submissions": wall.submissions,
                "disk": sum(job.disk for job in jobs),
                "auc_change": change.mean,
                "auc_change_low": change.low,
                "auc_change_high": change.high,
                "auc_error_low": min(errors),
                "auc_error_high": max(errors),
            }
        )
    return rows


def print_plan(plan: dict[str, Any]) -> None:
    """Print a plan as tables."""
    print(f"\n{plan['title']}")
    profile, cpu = plan["profile"], plan["benchmarks"][CPU]
    slots = "jobs at once" if profile["executor"] != "local" else "cores"
    print(
        f"profile {profile['name']}: {profile['executor']}, {profile['slots']} {slots}"
        f"; times from {cpu['machine']} ({cpu['file']})"
    )
    if cpu["busy"]:
        print("warning: others worked on that machine when it was measured")
    rows = [
        ["step", "to make", "there", "time", "longest", "limit", "memory", "asked",
         "disk"]
    ]  # fmt: skip
    for step in plan["steps"]:
        rows.append(
            [
                step["kind"], str(step["to_make"]), str(step["there"]),
                *(
                    _time(step[key]) if step["to_make"] else "-"
                    for key in ("seconds", "longest_seconds")
                ),
                _time(step["time_limit_seconds"], missing="-"),
                _memory(step["memory_mb"]), _memory(step["asked_mb"]),
                _bytes(step["disk"]),
            ]
        )  # fmt: skip
    print_table(rows)
    for step in plan["steps"]:
        _warn(step)
    models = plan["models"]
    print(f"models: {models['to_train']:,} to train, {models['there']:,} there")
    for node in plan["nodes"]:
        print(_node_line(node))
    wall = f"wall time: {_time(plan['wall']['seconds'])}"
    if profile["executor"] == "local":
        wall += f" on {profile['slots']} {slots}"
    else:
        wall += f" in {plan['submissions']:,} submissions, waiting in the queue aside"
    if not plan["wall"]["known"]:
        wall += ", with a CPU's time for GPU jobs"
    print(wall)
    disk = plan["disk"]
    print(
        f"disk: {_bytes(disk['stays'])}, and {_bytes(disk['meanwhile'])} more until "
        "the study is done"
    )
    if plan["download"]:
        print(f"to be fetched: {_bytes(plan['download'])}, its time not counted")
    _print_shadows(plan)


def _warn(step: dict[str, Any]) -> None:
    if (step["memory_mb"] or 0) > (step["asked_mb"] or math.inf):
        print(
            f"warning: {step['kind']} takes {_memory(step['memory_mb'])} of memory, "
            f"{_memory(step['asked_mb'])} are asked for"
        )
    if (step["longest_seconds"] or 0) > (step["time_limit_seconds"] or math.inf):
        print(
            f"warning: the longest {step['kind']} job takes "
            f"{_time(step['longest_seconds'])}, its limit is "
            f"{_time(step['time_limit_seconds'])}"
        )


def _node_line(node: dict[str, Any]) -> str:
    if node["node"] == CPU:
        return f"cpu: {node['jobs']:,} jobs, {_hours(node['seconds'])} core-hours"
    on_cpu = f"{_hours(node['cpu_seconds'])} core-hours on a CPU"
    if node["seconds"] is None:
        return f"gpu: {node['jobs']:,} jobs, no benchmark on record ({on_cpu})"
    return f"gpu: {node['jobs']:,} jobs, {_hours(node['seconds'])} GPU-hours ({on_cpu})"


def _print_shadows(plan: dict[str, Any]) -> None:
    attacks, curve = plan["attacks"], plan["precision"]
    without = attacks["all"] - attacks["with_shadows"]
    if not plan["shadows"]:
        print("\nNo attack of this study is fitted on trained shadows.")
        return
    print("\nFewer shadows, the whole study afresh:")
    rows = [["shadows", "models", "core-hours", "wall time", "disk", "AUC changes by",
             "AUC known to"]]  # fmt: skip
    for row in plan["shadows"]:
        rows.append(
            [
                f"{row['shadows']:,}", f"{row['models']:,}", _hours(row["cpu_seconds"]),
                _time(row["wall_seconds"]), _bytes(row["disk"]), _change(row),
                _range(row["auc_error_low"], row["auc_error_high"]),
            ]
        )  # fmt: skip
    print_table(rows)
    print(
        f"AUC changes: measured on digits with {curve['replicates']} targets a size "
        f"({curve['file']}) and transferred,\nmean and range over the sizes; beyond "
        f"{curve['largest']} shadows nothing was measured. AUC known to: one standard "
        "error of\nthe mean over replicates, from the shadows' luck (digits) and the "
        "tested records (Hanley and McNeil 1982)."
    )
    if without:
        print(f"{without} of {attacks['all']} attacks are fitted on no shadows.")


def _change(row: dict[str, Any]) -> str:
    low, high = row["auc_change_low"], row["auc_change_high"]
    if not (low or high):
        return "-"
    return f"{row['auc_change']:+.3f} ({low:+.3f} to {high:+.3f})"


def _range(low: float, high: float) -> str:
    first, last = f"±{low:.3f}", f"±{high:.3f}"
    return first if first == last else f"{first} to {last}"


def _time(seconds: float | None, *, missing: str = "?") -> str:
    if seconds is None:
        return missing
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 5940:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:,.1f} h"


def _hours(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def _memory(megabytes: float | None) -> str:
    return "-" if megabytes is None else f"{megabytes:,.0f} MB"


def _bytes(count: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count:.0f} B" if count else "-"
