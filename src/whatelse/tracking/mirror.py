"""Bring MLflow in line with a study's files: what is there is never logged twice.

Runs are found by the tags with which they are created, so that a tracker that was
killed at any moment leaves nothing that the next one would not find and complete.
"""

import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from mlflow.entities import (
    Dataset,
    DatasetInput,
    Experiment,
    InputTag,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient

from whatelse.errors import UserError
from whatelse.tracking.store import (
    COMPLETE,
    KEY,
    RECORD,
    STATE,
    Place,
    location_of,
    same_location,
)
from whatelse.tracking.tree import (
    IDENTITY,
    Child,
    Content,
    DataUsed,
    Point,
    Tree,
)

SUPERSEDED = "whatelse.superseded_by"
_ATTACHED = "whatelse.attached."  # + name: digest of the record of what is attached
_NOTE, _NAME, _PARENT = "mlflow.note.content", "mlflow.runName", "mlflow.parentRunId"
_VIEW = "attacks"  # MLflow's shared views are tags of the experiment
_TAGS_AT_ONCE, _METRICS_AT_ONCE = 100, 1000  # limits of log_batch
_FEW = 20  # runs that are looked for one by one
_T = TypeVar("_T")


class Mirror:
    """One study in one tracking store.

    Parameters
    ----------
    client : MlflowClient
        The store.
    place : Place
        Where it is.
    tree : Tree
        What should be there.
    """

    def __init__(self, client: MlflowClient, place: Place, tree: Tree) -> None:
        self.client, self.place, self.tree = client, place, tree
        self.num_new = self.num_completed = self.num_removed = 0

    def update(self) -> dict[str, Any]:
        """Log what is recorded, remove what is superseded, and say what is there.

        Returns
        -------
        dict
            What ``--out`` holds: store, experiment, runs.
        """
        self.experiment = self._experiment()
        runs = self._runs()
        parent = self._parent(runs)
        finished = [
            (child, self._bring(child, runs, parent)) for child in self.tree.children
        ]
        self._clear(runs)
        self._finish(parent)
        return self._index(parent, finished)

    def follow(
        self, pending: Sequence[Child], *, whole: bool, seconds: float = math.inf
    ) -> list[Child]:
        """Log what is new of some children, as long as the time allows.

        Parameters
        ----------
        pending : sequence of Child
            Those that changed since they were logged.
        whole : bool
            Whether to look for runs that are no longer part of the study.
        seconds : float, optional
            Start no second child after so long: other trackers wait.

        Returns
        -------
        list of Child
            Those that were logged. If these are all, so is the study.
        """
        end = time.monotonic() + seconds
        self.experiment = self._experiment()
        if whole or len(pending) > _FEW:
            runs = self._runs()
        else:
            keys = [self.tree.study, *(child.key for child in pending)]
            runs = [run for key in keys for run in self._runs(key)]
        parent = self._parent(runs)
        done: list[Child] = []
        for child in pending:
            if done and time.monotonic() > end:
                return done
            self._bring(child, runs, parent)
            done.append(child)
        if whole:
            self._clear(runs)
        self._finish(parent)
        return done

    def _bring(self, child: Child, runs: Sequence[Run], parent: Run) -> Run:
        """Bring a child in line; remove the runs that it replaces."""
        same = [run for run in runs if run.data.tags.get(KEY) == child.key]
        run, old = self._child(child, same, parent.info.run_id)
        for other in old:
            self._remove(other, run.info.run_id)
        return run

    def _clear(self, runs: Sequence[Run]) -> None:
        """Remove the runs of what is no longer part of the study."""
        for run in runs:
            key = run.data.tags.get(KEY, self.tree.study)
            if key != self.tree.study and key not in self.tree.keys:
                self._remove(run, "no longer part of the study")

    def _finish(self, parent: Run) -> None:
        """Bring the study's own run in line."""
        self._attach(parent)
        self._verdicts(parent)
        self._close_parent(parent)

    def _experiment(self) -> Experiment:
        name = self.tree.study
        location = location_of(self.place, name)
        found = self.client.get_experiment_by_name(name)
        if found is None:
            made = self.client.create_experiment(name, artifact_location=location)
            found = self.client.get_experiment(made)
        elif found.lifecycle_stage != "active":
            self.client.restore_experiment(found.experiment_id)
        if not same_location(found.artifact_location, location):
            raise UserError(
                f"{self.place.shown}: experiment {name!r} keeps its files in "
                f"{found.artifact_location}, not in {location}: was the folder moved? "
                "Move the database away; tracking again makes it anew from the results"
            )
        page = _page(found)
        tags = {
            _NOTE: f"**{self.tree.title}** ([attacks side by side]({page}))\n\n"
            f"{self.tree.description}",
            f"mlflow.sharedViewState.{_VIEW}": self._view(),
        }
        for tag, value in tags.items():
            if found.tags.get(tag) != value:
                self.client.set_experiment_tag(found.experiment_id, tag, value)
        return found

    def _view(self) -> str:
        """Return the columns of MLflow's table that show the attacks side by side."""
        columns = [f"params.`{variable}`" for variable in self.tree.variables]
        columns += [f"metrics.`{name}`" for name in self.tree.headlines]
        columns.append("tags.`whatelse.dataset`")
        view = {
            "searchFilter": "tags.`whatelse.role` = 'attack'",
            # by time, MLflow would fold the attacks under their parent
            "orderByKey": f"metrics.`{self.tree.headlines[0]}`",
            "orderByAsc": False,
            "selectedColumns": columns,
        }
        return json.dumps(view)

    def _runs(self, key: str | None = None) -> list[Run]:
        """Return all runs that a tracker made, or those of a key, oldest first."""
        wanted = f"tags.`{KEY}` = '{key}'" if key is not None else ""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment.experiment_id],
                filter_string=wanted,
                run_view_type=ViewType.ACTIVE_ONLY,
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            found += [run for run in page if KEY in run.data.tags]
            token = page.token
            if not token:
                return found

    def _parent(self, runs: Sequence[Run]) -> Run:
        tags = {KEY: self.tree.study, "whatelse.role": "study"}
        for run in runs:
            if run.data.tags[KEY] == self.tree.study:
                return run
        start = min((child.start for child in self.tree.children), default=None)
        self.num_new += 1
        return self.client.create_run(
            self.experiment.experiment_id, start, tags, self.tree.study
        )

    def _child(
        self, child: Child, same: Sequence[Run], parent: str
    ) -> tuple[Run, list[Run]]:
        """Find or make a child's run and complete it; return it and those it replaces.

        The tags that identify it are created with it, in one step.
        """
        current = [run for run in same if _is_of(run, child)]
        # the furthest: another tracker may have been killed while it replaced a run
        current.sort(key=lambda r: (COMPLETE not in r.data.tags,
                                    RECORD not in r.data.tags))  # fmt: skip
        tags = {**child.tags, _PARENT: parent, _NAME: child.name}
        if child.record:
            tags[RECORD] = child.record
        if current:
            run = current[0]
        else:
            run = self.client.create_run(
                self.experiment.experiment_id, child.start, tags, child.name
            )
            self.num_new += 1
        # What is being trained again, from the same, has nothing to add to its run.
        if child.record or RECORD not in run.data.tags:
            self._tag(run, tags)
            if COMPLETE not in run.data.tags:
                self._fill(run, child)
        return run, [other for other in same if other.info.run_id != run.info.run_id]

    def _fill(self, run: Run, child: Child) -> None:
        content = child.read()
        if child.data and not (run.inputs and run.inputs.dataset_inputs):
            self.client.log_inputs(run.info.run_id, [_dataset(child.data)])
        self._log(run, content, child.end)
        for file, folder in content.files:
            self.client.log_artifact(run.info.run_id, str(file), folder or None)
        self._tag(run, {_NOTE: content.note})
        if content.whole:
            self.client.set_terminated(run.info.run_id, "FINISHED", child.end)
            self.client.set_tag(run.info.run_id, COMPLETE, "yes")
            self.num_completed += 1

    def _log(self, run: Run, content: Content, time: int) -> None:
        """Log the params and points that the run does not have."""
        params = [
            Param(name, value)
            for name, value in content.params.items()
            if name not in run.data.params
        ]
        for some in _batches(params, _TAGS_AT_ONCE):
            self.client.log_batch(run.info.run_id, params=some)
        metrics = [
            Metric(point.name, point.value, time, point.step)
            for point in self._new(run, content.points)
        ]
        for batch in _batches(metrics, _METRICS_AT_ONCE):
            self.client.log_batch(run.info.run_id, metrics=batch)

    def _new(self, run: Run, points: Sequence[Point]) -> Iterator[Point]:
        """Yield points at steps that the run does not have."""
        steps: dict[str, set[int]] = {}
        for point in points:
            if point.name in run.data.metrics and point.name not in steps:
                history = self.client.get_metric_history(run.info.run_id, point.name)
                steps[point.name] = {old.step for old in history}
            if point.step not in steps.get(point.name, ()):
                yield point

    def _tag(self, run: Run, tags: dict[str, str]) -> None:
        """Set the tags that differ."""
        different = [
            RunTag(tag, value)
            for tag, value in tags.items()
            if run.data.tags.get(tag) != value
        ]
        for some in _batches(different, _TAGS_AT_ONCE):
            self.client.log_batch(run.info.run_id, tags=some)

    def _remove(self, run: Run, reason: str) -> None:
        """Take a run out of sight; `mlflow gc` removes such runs for good."""
        self._tag(run, {SUPERSEDED: reason})
        if run.info.status == "RUNNING":
            self.client.set_terminated(run.info.run_id, "KILLED")
        self.client.delete_run(run.info.run_id)
        self.num_removed += 1

    def _attach(self, parent: Run) -> None:
        """Attach new figures and claims to the parent; remove those that are gone."""
        run_id, tags = parent.info.run_id, parent.data.tags
        for attachment in self.tree.attachments:
            tag = _ATTACHED + attachment.name
            if tags.get(tag) != attachment.record:
                for file in attachment.files:
                    self.client.log_artifact(run_id, str(file), attachment.name)
                self.client.set_tag(run_id, tag, attachment.record)
        for tag in sorted(tags):
            name = tag.removeprefix(_ATTACHED)
            if tag.startswith(_ATTACHED) and name not in self.tree.attached:
                store = get_artifact_repository(
                    parent.info.artifact_uri, tracking_uri=self.place.uri
                )
                store.delete_artifacts(name)
                self.client.delete_tag(run_id, tag)

    def _verdicts(self, parent: Run) -> None:
        """Log how many claims had which verdict, where that changed."""
        if self.tree.verdicts is None:
            return
        run_id, old = parent.info.run_id, parent.data.metrics
        counts = {f"claims/{name}": n for name, n in self.tree.verdicts.items()}
        gone = [name for name in old if name.startswith("claims/")]
        for name, count in (dict.fromkeys(gone, 0) | counts).items():
            if old.get(name) != count:
                step = 0
                if name in old:
                    history = self.client.get_metric_history(run_id, name)
                    step = 1 + max(point.step for point in history)
                self.client.log_metric(run_id, name, count, step=step)

    def _close_parent(self, parent: Run) -> None:
        run_id = parent.info.run_id
        end = max((child.end for child in self.tree.children), default=None)
        self._tag(parent, {_NOTE: self.tree.note(), _NAME: self.tree.study})
        if self.tree.num_missing:
            if parent.info.status != "RUNNING":
                self.client.update_run(run_id, status="RUNNING")
        elif (parent.info.status, parent.info.end_time) != ("FINISHED", end):
            self.client.set_terminated(run_id, "FINISHED", end)
        self._tag(parent, {STATE: self.tree.state})

    def _index(self, parent: Run, finished: list[tuple[Child, Run]]) -> dict[str, Any]:
        return {
            "state": self.tree.state,
            "tracking_uri": self.place.shown,
            "experiment": {
                "id": self.experiment.experiment_id,
                "name": self.experiment.name,
                "page": _page(self.experiment),
            },
            "parent": _reference(parent),
            "runs": {
                child.key: {
                    "name": child.name,
                    "record": child.record,
                    **_reference(run),
                }
                for child, run in finished
            },
        }


def _is_of(run: Run, child: Child) -> bool:
    """Return whether a run of the child's key is the child's."""
    tags = run.data.tags
    if child.record and RECORD in tags:
        return bool(tags[RECORD] == child.record)
    # one of the two is of models in training: are they trained from the same?
    return IDENTITY in child.tags and tags.get(IDENTITY) == child.tags[IDENTITY]


def _batches(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


def _page(experiment: Experiment) -> str:
    """Return where in MLflow's pages the attacks stand side by side."""
    return (
        f"#/experiments/{experiment.experiment_id}/runs"
        f"?workflowType=machine_learning&viewStateShareKey={_VIEW}"
    )


def _reference(run: Run) -> dict[str, str]:
    return {"run_id": run.info.run_id, "artifact_uri": run.info.artifact_uri}


def _dataset(data: DataUsed) -> DatasetInput:
    digest = data.digest[:12]  # of 36 characters that MLflow allows
    source = json.dumps({"uri": data.folder})
    profile = json.dumps({"num_rows": data.records, "title": data.title})
    return DatasetInput(
        Dataset(data.name, digest, "local", source, profile=profile),
        [InputTag("mlflow.data.context", "training")],
    )
