"""The jobs of a study, what is made already, and what the rest takes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from whatelse import records
from whatelse.datasets.registry import FETCHED, default_registry, read_registry
from whatelse.errors import UserError
from whatelse.studies.adopt import same_spec
from whatelse.studies.plan import work
from whatelse.studies.plan.costs import CPU, GPU, Costs
from whatelse.studies.plan.profiles import Profile
from whatelse.studies.plan.schedule import Task, makespan, merged, submissions
from whatelse.studies.plan.work import NO_SHADOWS, Features, Work
from whatelse.studies.plan.workload import (
    Workload,
    models_of,
    num_models,
    outputs_of,
)
from whatelse.studies.resolve import Artefact, Resolved, code_paths

TRACK, FETCH = "track", "fetch"


@dataclass(frozen=True)
class Job:
    """One job of the workflow.

    Attributes
    ----------
    kind : str
        The artefact's, or ``fetch`` or ``track``.
    folder : str
        What it makes.
    needs : tuple of str
        What it is made from.
    node : {"cpu", "gpu"}
        Where the profile runs it.
    seconds : float or None
        There; None without a benchmark on record.
    cpu_seconds : float
        On one core of a CPU.
    memory : float
        Megabytes at its peak, on a CPU node.
    disk : float
        Bytes that stay.
    models : int
        That it trains.
    progress : float
        Bytes of finished models beside its block until the study is done.
    made : bool
        Whether it is done already.
    block : int
        The number of its block of models in the study; -1 for other jobs.
    """

    kind: str
    folder: str
    needs: tuple[str, ...]
    node: str
    seconds: float | None
    cpu_seconds: float
    memory: float
    disk: float
    models: int
    progress: float
    made: bool
    block: int = -1


@dataclass(frozen=True)
class Wall:
    """When a study is done.

    Attributes
    ----------
    seconds : float
        From start to report, the queue aside.
    known : bool
        False if the time of GPU jobs is that of a CPU, for want of a benchmark.
    submissions : int
        To a scheduler; 0 on one machine.
    """

    seconds: float
    known: bool
    submissions: int


class Estimator:
    """Estimates studies under a profile.

    Parameters
    ----------
    costs : dict of str to Costs
        By kind of node.
    profile : Profile
        How jobs are run.
    """

    def __init__(self, costs: Mapping[str, Costs], profile: Profile) -> None:
        self.costs, self.profile = costs, profile
        self._workload = Workload()

    def jobs(self, resolved: Resolved, results: Path, *, afresh: bool) -> list[Job]:
        """Return the jobs of a study, upstream first.

        Parameters
        ----------
        resolved : Resolved
            The study.
        results : Path
            Where artefacts lie.
        afresh : bool
            Count nothing as made.
        """
        by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
        numbers = {a.folder: number for number, a in enumerate(resolved.of("train"))}
        for block in resolved.of("train"):  # shadow data: with the first that learns it
            numbers.setdefault(block.inputs["data"][0], numbers[block.folder])
        self._look_at(resolved)
        found: dict[str, Job] = {}
        for artefact in resolved.artefacts:
            made = (
                not afresh
                and whole(artefact)
                and all(found[need].made for need in artefact.upstream)
            )
            fetched = [name for name in artefact.files if Path(name).name == FETCHED]
            for name in fetched:
                # What is prepared already needs no raw files.
                there = made or (not afresh and Path(name).exists())
                found[name] = self._job(FETCH, name, (), work.fetch(), there)
            own = self._workload.of(artefact, by_folder)
            on_gpu = own
            if artefact.kind == "train" and self._node("train") == GPU:
                on_gpu = self._workload.of(artefact, by_folder, node=GPU)
            above = [artefact.folder]
            if artefact.kind == "query":
                above = artefact.inputs["block"]
            found[artefact.folder] = self._job(
                artefact.kind, artefact.folder, (*artefact.upstream, *fetched), own,
                made, on_gpu, num_models(artefact), numbers.get(above[0], -1),
            )  # fmt: skip
        index = str(results / "tracking" / f"{resolved.study.study}.json")
        made = (
            not afresh and Path(index).exists() and all(j.made for j in found.values())
        )
        found[index] = self._job(
            TRACK, index, tuple(by_folder), work.track(len(by_folder)), made
        )
        return list(found.values())

    def shadow_attacks(self, resolved: Resolved) -> list[tuple[Artefact, int, int]]:
        """Return the attacks that are fitted on trained shadows.

        Returns
        -------
        list of (Artefact, int, int)
            With the records of each kind that a target is tested on, and the
            replicates.
        """
        by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
        self._look_at(resolved)
        found = []
        for attack in resolved.of("attack"):
            outputs = by_folder[attack.upstream[0]]
            without = attack.spec["settings"]["kind"] in NO_SHADOWS
            if without or outputs.kind != "query" or not outputs_of(attack):
                continue
            block = by_folder[outputs.inputs["block"][0]]
            tested = self._workload.tested(block) // 2
            found.append((attack, tested, len(outputs_of(attack))))
        return found

    def _look_at(self, resolved: Resolved) -> None:
        kinds = ("dataset", "preprocess", "synthesise")
        self._workload.look_at(a for a in resolved.artefacts if a.kind in kinds)

    def wall(self, jobs: list[Job]) -> Wall:
        """Return how long the jobs that are not done take under the profile."""
        left = [job for job in jobs if not job.made]
        if not left:
            return Wall(0.0, True, 0)
        known = all(job.seconds is not None for job in left)
        tasks = [self._task(job) for job in left]
        start = self._time({"workflow.start": 1.0, "workflow.artefact": len(jobs)})
        figures = sum(job.kind == "figure" for job in jobs)
        report = self._time({"report.start": 1.0, "report.figure": figures})
        if not self.profile.submits:
            limits = {**self.profile.limits, "cores": float(self.profile.slots)}
            return Wall(start + makespan(tasks, limits) + report, known, 0)
        # Blocks are numbered through the study; each run of neighbours is a group.
        components = dict(self.profile.components)
        components |= {task.group: len(tasks) for task in tasks if "/" in task.group}
        bundles = submissions(tasks, components)
        again = self._time({"workflow.start": 1.0})
        limits = {**self.profile.limits, "cores": self.profile.width}
        sent = merged(bundles, limits, start=again)
        local = [replace(task, holds={}) for task in tasks if task.local]
        done = makespan([*sent, *local], {"jobs": float(self.profile.slots)})
        return Wall(start + self.profile.wait + done + report, known, len(bundles))

    def _time(self, features: Features) -> float:
        return self.costs[CPU].time(features)

    def _task(self, job: Job) -> Task:
        rule = self.profile.rules[job.kind]
        holds = {"cores": float(min(rule.threads, self.profile.slots))}
        for name in self.profile.limits:
            holds[name] = rule.number(name) or 0.0
        group = rule.group
        if rule.by_block:
            group += f"/{job.block // self.profile.components.get(group, 1)}"
        seconds = job.cpu_seconds if job.seconds is None else job.seconds
        overhead = self._time({"workflow.job": 1.0})
        return Task(job.folder, seconds + overhead, job.needs, holds, group, rule.local)

    def _node(self, kind: str) -> str:
        return GPU if self.profile.rules[kind].gpu else CPU

    def _job(
        self, kind: str, folder: str, needs: tuple[str, ...], own: Work, made: bool,
        on_gpu: Work | None = None, models: int = 0, block: int = -1,
    ) -> Job:  # fmt: skip
        node = self._node(kind)
        cpu_seconds = self.costs[CPU].time(own.seconds)
        seconds: float | None = cpu_seconds
        if node == GPU:
            costs = self.costs.get(GPU)
            seconds = costs.time((on_gpu or own).seconds) if costs else None
        return Job(
            kind, folder, needs, node, seconds, cpu_seconds,
            self.costs[CPU].peak(own.memory), own.disk, models,
            own.disk if kind == "train" else 0.0, made, block,
        )  # fmt: skip


def whole(artefact: Artefact) -> bool:
    """Return whether a folder is what the study asks for, bytes not looked at.

    Its record is there and of these settings and sources, and so is every file that it
    vouches for.
    """
    folder = Path(artefact.folder)
    if not (folder / records.RECORD).exists():
        return False
    try:
        record = records.read_json(folder / records.RECORD)
        code, spec, outputs = record["code"], dict(record["spec"]), record["outputs"]
    except (UserError, KeyError, TypeError, ValueError):
        return False
    return (
        same_spec(artefact, spec)
        and code == _code_digest(artefact.modules)
        and all((folder / name).exists() for name in outputs)
    )


@cache
def _code_digest(modules: tuple[str, ...]) -> str:
    return records.files_digest(code_paths(modules))


def with_shadows(resolved: Resolved, shadows: int) -> Resolved:
    """Return a study with at most so many shadows a target.

    Blocks are cut where the last shadow is; nothing else changes.
    """
    kept: dict[str, Artefact] = {}
    for artefact in resolved.artefacts:
        cut = artefact
        if artefact.kind in ("train", "query"):
            first, stop = models_of(artefact)
            if first > shadows:
                continue
            last = min(stop, shadows + 1)
            cut = replace(
                artefact, labels={**artefact.labels, "models": f"{first}:{last}"}
            )
        elif artefact.kind == "attack":
            inputs = {
                role: [folder for folder in folders if folder in kept]
                for role, folders in artefact.inputs.items()
            }
            cut = replace(artefact, inputs=inputs)
        kept[artefact.folder] = cut
    return replace(resolved, artefacts=list(kept.values()))


def most_shadows(resolved: Resolved) -> int:
    """Return the most shadows that a target of a study has; 0 without models."""
    return max((models_of(a)[1] - 1 for a in resolved.of("train")), default=0)


def downloads(jobs: Iterable[Job]) -> float:
    """Return the bytes of the raw files that are still to be fetched."""
    registry = read_registry(default_registry())
    missing = [
        Path(job.folder).parent.name
        for job in jobs
        if job.kind == FETCH and not job.made
    ]
    return float(
        sum(
            max((edition.bytes or 0 for edition in file.editions), default=0)
            for source in missing
            for file in registry[source].files
        )
    )
