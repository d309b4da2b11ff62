"""What a study looks like in MLflow, read from its artefact folders alone.

A parent run stands for the study; below it, one run for each target, one for the
shadows of each target, and one for each attack. Nothing here imports MLflow.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from whatelse import records
from whatelse.studies.resolve import Artefact, Resolved

LAYOUT = 1  # of the runs below; another number mirrors the parent anew
_TARGET_METRICS = ("train_accuracy", "test_accuracy")
HEADLINES = (
    "attack/auc",
    "attack/precision",
    "attack/recall",
    "attack/accuracy",
    "target/train_accuracy",
    "target/test_accuracy",
)
"""What tables of attacks show, in this order."""
_ROWS_IN_NOTE = 40  # a tag holds 8,000 characters


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    name: str
    value: float
    step: int = 0


@dataclass(frozen=True)
class Content:
    """What is logged once in a run's life.

    Attributes
    ----------
    params : dict of str to str
        Resolved settings, flattened.
    points : list of Point
        Metrics and curves.
    files : list of (Path, str)
        Files to attach, and the folder of the run's artefacts that takes them.
    note : str
        The description, in Markdown.
    whole : bool
        Whether nothing more will come; if not, the run stays open.
    """

    params: dict[str, str]
    points: list[Point]
    files: list[tuple[Path, str]] = field(default_factory=list)
    note: str = ""
    whole: bool = True


@dataclass(frozen=True)
class DataUsed:
    """The data set of a run: name (a stand-in says so), digest, rows, title, folder."""

    name: str
    digest: str
    records: int
    title: str
    folder: str


@dataclass(frozen=True)
class Child:
    """A run below the study's.

    Attributes
    ----------
    key, record : str
        Which folder below the results, and the digest of what lies there: together
        its identity.
    name : str
        Shown in the list of runs.
    tags : dict of str to str
        Rule, place, commit, data: kept up to date in a finished run as well.
    data : DataUsed or None
        None if the data set's folder is gone.
    start, end : int
        Milliseconds since 1970.
    read : callable
        Returns the content; called only if the run is not complete in MLflow.
    """

    key: str
    record: str
    name: str
    tags: dict[str, str]
    data: DataUsed | None
    start: int
    end: int
    read: Callable[[], Content]


@dataclass(frozen=True)
class Attachment:
    """Files of the parent run: a figure, or the claims."""

    name: str
    record: str
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Tree:
    """A study's runs, as they should be.

    Attributes
    ----------
    study, title, description : str
        From the study file.
    children : list of Child
        Targets, shadows, attacks; those whose folders have records.
    keys : set of str
        Of all children that the study has, recorded or not.
    attachments : list of Attachment
        Recorded figures and claims.
    attached : set of str
        Names of all attachments that the study has, recorded or not.
    verdicts : dict of str to int or None
        How many claims had which verdict; None before they are judged.
    variables : list of str
        Of the attacks' grids.
    num_missing : int
        Children and attachments that have no record yet.
    state : str
        One digest over all of it.
    """

    study: str
    title: str
    description: str
    children: list[Child]
    keys: set[str]
    attachments: list[Attachment]
    attached: set[str]
    verdicts: dict[str, int] | None
    variables: list[str]
    num_missing: int
    state: str

    def note(self) -> str:
        """Return the parent's description: what it is, results, where to look."""
        rows = []
        for child in self.children:
            if child.tags["whatelse.role"] != "attack":
                continue
            mean = {point.name: point.value for point in child.read().points}
            cells = [f"{mean[m]:.3f}" if m in mean else "" for m in HEADLINES]
            where = child.data.name if child.data else ""
            rows.append(f"| {' | '.join([child.name, where, *cells])} |")
        names = [name.rpartition("/")[2].replace("_", " ") for name in HEADLINES]
        heads = ["attack", "data", *names]
        lines: list[str] = []
        if rows:
            rule = "|---|---|" + "--:|" * len(HEADLINES)
            lines += [f"| {' | '.join(heads)} |", rule, *rows[:_ROWS_IN_NOTE]]
            if len(rows) > _ROWS_IN_NOTE:
                lines.append(f"\n... and {len(rows) - _ROWS_IN_NOTE} more attacks.")
            lines += [
                "",
                "Means over replicates; train and test accuracy are the target's, the "
                "rest is the attack's.",
                "",
            ]
        if self.verdicts is not None:
            counts = ", ".join(f"{n} {name}" for name, n in self.verdicts.items() if n)
            lines += [f"**Claims**: {counts or 'none'}.", ""]
        lines += [
            f"**{self.title}.** {self.description.strip()}",
            "",
            "**Artifacts** of this run hold the figures and the table of claims "
            "(`claims/claims.html`). **Child runs**: `attack` (metrics, ROC), `target` "
            "(settings, loss curve), `shadows` (mean loss curve).",
        ]
        return "\n".join(lines)


def read_tree(resolved: Resolved, results: str | Path) -> Tree:
    """Read what is on disk of a study.

    Parameters
    ----------
    resolved : Resolved
        The study's artefacts.
    results : str or Path
        The folder that holds them all.

    Returns
    -------
    Tree
        Folders without ``record.json`` are left out.

    Raises
    ------
    UserError
        If a file of a recorded folder is missing or broken.
    """
    reader = _Reader(resolved, Path(results))
    children = [child for child in reader.children() if child is not None]
    attachments = list(reader.attachments())
    attached = {_attachment_name(a) for a in resolved.artefacts if _attached(a)}
    num_missing = len(reader.keys) - len(children) + len(attached) - len(attachments)
    variables = sorted({v for a in resolved.of("attack") for v in a.labels["grid"]})
    study = resolved.study
    return Tree(
        study.study,
        study.title,
        study.description,
        children,
        reader.keys,
        attachments,
        attached,
        reader.verdicts(),
        variables,
        num_missing,
        records.key_of(
            {
                "layout": LAYOUT,
                "missing": num_missing,
                "study": [study.study, study.title, study.description],
                "children": [[c.key, c.record, c.name, c.tags] for c in children],
                "keys": sorted(reader.keys),
                "attachments": [[a.name, a.record] for a in attachments],
            }
        ),
    )


class _Reader:
    """Reads the folders of one study."""

    def __init__(self, resolved: Resolved, results: Path) -> None:
        self.results = results
        self.artefacts = resolved.artefacts
        self.by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
        self.keys: set[str] = set()
        self.families: dict[str, list[Artefact]] = defaultdict(list)
        self.attacked: dict[str, tuple[str, int]] = {}
        for artefact in resolved.artefacts:
            if artefact.kind == "train":
                self.families[str(Path(artefact.folder).parent)].append(artefact)
            if artefact.kind == "attack" and _recorded(artefact.folder):
                for number, answers in _replicates(artefact):
                    source = self._source(answers)
                    self.attacked.setdefault(source, (artefact.folder, number))

    def children(self) -> Iterator[Child | None]:
        """Yield every child of the study; None for those without records."""
        for blocks in self.families.values():
            yield self._target(blocks)
            yield self._shadows(blocks)
        for artefact in self.artefacts:
            if artefact.kind == "import":
                yield self._imported(artefact)
            elif artefact.kind == "attack":
                yield self._attack(artefact)

    def attachments(self) -> Iterator[Attachment]:
        """Yield recorded figures and claims."""
        for artefact in self.artefacts:
            if _attached(artefact) and _recorded(artefact.folder):
                folder = Path(artefact.folder)
                record = records.read_json(folder / records.RECORD)
                yield Attachment(
                    _attachment_name(artefact),
                    records.artefact_digest(folder),
                    tuple(folder / name for name in sorted(record["outputs"])),
                )

    def verdicts(self) -> dict[str, int] | None:
        """Return the counts of the claims' verdicts."""
        for artefact in self.artefacts:
            if artefact.kind == "claims" and _recorded(artefact.folder):
                found = records.read_json(Path(artefact.folder) / "claims.json")
                return dict(sorted(found["counts"].items()))
        return None

    def _target(self, blocks: Sequence[Artefact]) -> Child | None:
        block = blocks[0]
        spec = _params({**block.spec, "models": 1})
        name = f"target {_words(block.labels['entry'], block.labels)}"

        def read() -> Content:
            loss = [
                Point("train/loss", losses[0], epoch)
                for epoch, losses in _losses([block]).items()
                if 0 in losses
            ]
            accuracies = self._accuracies(block.folder)
            cost = [Point("cost/seconds_of_block", _telemetry(block)["seconds"])]
            note = (
                f"Trained on {block.spec['members']} records and attacked as the "
                "target. `train/loss` is its loss over epochs. Time is that of its "
                "block: the target and its first shadows are trained together."
            )
            whole = accuracies is not None
            return Content(
                spec, [*(accuracies or []), *loss, *cost], note=note, whole=whole
            )

        return self._child("target", block.folder, [block], name, read)

    def _shadows(self, blocks: Sequence[Artefact]) -> Child | None:
        first = blocks[0]
        stop = blocks[-1].labels["models"].partition(":")[2]
        count = int(stop) - 1
        spec = _params({**first.spec, "models": count})
        name = f"shadows of {_words(first.labels['entry'], first.labels)}"

        def read() -> Content:
            loss = [
                Point("train/loss", fmean(of_shadows), epoch)
                for epoch, losses in _losses(blocks).items()
                if (of_shadows := [v for model, v in losses.items() if model > 0])
            ]
            seconds = sum(_telemetry(block)["seconds"] for block in blocks)
            note = (
                f"{count} models trained like the target, on other records: their "
                "outputs teach the attack. `train/loss` is the mean over them."
            )
            return Content(spec, [*loss, Point("cost/seconds", seconds)], note=note)

        folder = str(Path(first.folder).parent / "shadows")
        return self._child("shadows", folder, blocks, name, read)

    def _imported(self, artefact: Artefact) -> Child | None:
        def read() -> Content:
            found = self._accuracies(artefact.folder)
            note = "A model trained elsewhere; only its outputs were taken in."
            params = _params(artefact.spec)
            return Content(params, found or [], note=note, whole=found is not None)

        name = f"target {artefact.labels['name']} · external outputs"
        return self._child("target", artefact.folder, [artefact], name, read)

    def _attack(self, artefact: Artefact) -> Child | None:
        folder, spec = Path(artefact.folder), artefact.spec
        rest = {key: spec[key] for key in ("study", "name", "seed")}
        params = _params(spec["settings"] | spec["grid"] | rest)

        def read() -> Content:
            metrics = records.read_json(folder / "metrics.json")
            files = [(folder / "metrics.json", ""), (folder / "curves.csv", "")]
            points = list(_attack_points(metrics))
            return Content(params, points, files, _attack_note(metrics))

        name = f"attack {_words(artefact.labels['name'], artefact.labels)}"
        return self._child("attack", artefact.folder, [artefact], name, read)

    def _child(
        self, role: str, folder: str, parts: Sequence[Artefact], name: str,
        read: Callable[[], Content],
    ) -> Child | None:  # fmt: skip
        key = Path(folder).relative_to(self.results).as_posix()
        self.keys.add(key)
        if not all(_recorded(part.folder) for part in parts):
            return None
        digests = [records.artefact_digest(part.folder) for part in parts]
        used = [_telemetry(part) for part in parts]
        last = max(used, key=lambda telemetry: telemetry["end"])
        data, about = self._data(parts[0])
        commit = last.get("commit", "")
        found = {
            "whatelse.key": key,
            "whatelse.role": role,
            "whatelse.rule": parts[0].kind,
            "whatelse.commit": commit,
            "whatelse.host": ", ".join(sorted({u.get("host", "") for u in used})),
            "whatelse.device": ", ".join(sorted({u.get("device", "") for u in used})),
            "whatelse.data": data.digest if data else "",
            "whatelse.dataset": data.name if data else "",
            "whatelse.stand_in_for": about.get("stand_in_for") or "",
            "mlflow.source.name": f"whatelse {parts[0].kind}",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": commit.removesuffix("+"),
        }
        return Child(
            key,
            digests[0] if len(digests) == 1 else records.key_of(digests),
            name,
            {tag: value for tag, value in found.items() if value},
            data,
            min(u["start"] for u in used),
            last["end"],
            read,
        )

    def _accuracies(self, folder: str) -> list[Point] | None:
        """Return a target's accuracies: the attack on it measured them."""
        if folder not in self.attacked:
            return None
        attack, number = self.attacked[folder]
        metrics = records.read_json(Path(attack) / "metrics.json")
        reports = [r for r in metrics["replicates"] if r["replicate"] == number]
        if not reports:  # the attack was run on fewer replicates than were trained
            return None
        found = reports[0]["target"]
        return [
            Point(f"target/{name}", found[name]["value"])
            for name in _TARGET_METRICS
            if found.get(name)
        ]

    def _source(self, answers: str) -> str:
        """Return where outputs came from: a block of models, or a user's file."""
        blocks = self.by_folder[answers].inputs.get("block")
        return blocks[0] if blocks else answers

    def _data(self, artefact: Artefact) -> tuple[DataUsed | None, Mapping[str, Any]]:
        """Find the data set of an artefact upstream of it."""
        while artefact.kind not in ("dataset", "import"):
            artefact = self.by_folder[artefact.upstream[0]]
        folder = Path(artefact.folder)
        file = "dataset.json" if artefact.kind == "dataset" else "outputs.json"
        if not _recorded(artefact.folder):
            return None, {}
        about = records.read_json(folder / file)
        original = about.get("stand_in_for")
        name = about.get("name") or artefact.labels["name"]
        used = DataUsed(
            name + (f" (stand-in for {original})" if original else ""),
            records.artefact_digest(folder),
            about["records"],
            about.get("title") or name,
            folder.relative_to(self.results).as_posix(),
        )
        return used, about


def _attached(artefact: Artefact) -> bool:
    return artefact.kind in ("figure", "claims")


def _attachment_name(artefact: Artefact) -> str:
    """Return the folder of the parent run's artefacts that takes it."""
    if artefact.kind == "figure":
        return f"figures/{artefact.labels['name']}"
    return artefact.kind


def _recorded(folder: str) -> bool:
    return (Path(folder) / records.RECORD).is_file()


def _replicates(attack: Artefact) -> Iterator[tuple[int, str]]:
    """Yield (replicate, folder of the target's outputs) of an attack."""
    for role, folders in attack.inputs.items():
        yield int(role.rpartition(".")[2]), folders[0]


def _telemetry(artefact: Artefact) -> dict[str, Any]:
    """Return a job's telemetry with start and end in milliseconds.

    Telemetry is no part of a result and may be gone: the record's time is used then.
    """
    folder = Path(artefact.folder)
    file = folder / "telemetry.json"
    if not file.is_file():
        written = int((folder / records.RECORD).stat().st_mtime * 1000)
        return {"seconds": 0.0, "start": written, "end": written}
    found: dict[str, Any] = records.read_json(file)
    start = int(found["started"] * 1000)
    return {**found, "start": start, "end": start + int(found["seconds"] * 1000)}


def _losses(blocks: Sequence[Artefact]) -> dict[int, dict[int, float]]:
    """Return the loss of each model at each epoch, epochs in order.

    A block that was killed and resumed has some points twice, equal ones, and may have
    a broken line where it was cut off.
    """
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for block in blocks:
        file = Path(block.folder) / "history.jsonl"
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        for line in text.splitlines():
            try:
                point = json.loads(line)
                found[point["epoch"]][point["model"]] = float(point["loss"])
            except (ValueError, TypeError, KeyError):
                continue
    return dict(sorted(found.items()))


def _attack_points(metrics: Mapping[str, Any]) -> Iterator[Point]:
    """Yield an attack's means, intervals, values of each replicate, and controls."""
    for name, summary in metrics["summary"].items():
        group = "target" if name in _TARGET_METRICS else "attack"
        if summary["mean"] is not None:
            yield Point(f"{group}/{name}", summary["mean"])
        for end in ("low", "high"):
            if summary[end] is not None:
                yield Point(f"interval/{name}_{end}", summary[end])
        for number, value in enumerate(summary["values"]):
            if value is not None:
                yield Point(f"replicates/{name}", value, number)
    for report in metrics["replicates"]:
        number = report["replicate"]
        for rate, found in report["attack"]["tpr_at_fpr"].items():
            if "value" in found:
                name = f"replicates/tpr_at_fpr_{rate}"
                yield Point(name, found["value"], number)
        for control, found in report["controls"].items():
            yield Point(f"control/{control}_p_value", found["p_value"], number)
            yield Point(f"control/{control}_auc", found["auc"]["value"], number)


def _attack_note(metrics: Mapping[str, Any]) -> str:
    data = metrics["dataset"]
    original = data.get("stand_in_for")
    where = data.get("title") or data["name"]
    lines = [
        f"`{metrics['kind']}` on {where}"
        + (f", **a stand-in for {original}**" if original else "")
        + f", {len(metrics['replicates'])} replicate(s). ",
        "`attack/` and `target/` are means over replicates, `replicates/` the values "
        "(step = replicate), `interval/` the 95% interval of the mean, `control/` the "
        "planted leak (positive: must be found) and records that the model never saw "
        "(negative: must not).",
    ]
    lines += [f"\n*Remark: {remark}*" for remark in data.get("remarks") or ()]
    return "\n".join(lines)


def _words(name: str, labels: Mapping[str, Any]) -> str:
    parts = [name]
    for variable, value in labels["grid"].items():
        parts.append(f"{variable} {value}")
    if "replicate" in labels:
        parts.append(f"replicate {labels['replicate']}")
    return " · ".join(parts)


def _params(spec: Mapping[str, Any]) -> dict[str, str]:
    """Flatten settings: ``training.optimizer.kind`` -> ``adam``."""
    found: dict[str, str] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            nested = _params(value)
            found |= {f"{name}.{inner}": text for inner, text in nested.items()}
        elif value is not None:
            found[name] = value if isinstance(value, str) else json.dumps(value)
    return found
