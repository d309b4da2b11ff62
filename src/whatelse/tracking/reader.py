"""Read what is on disk of a study: its tree of runs, from artefact folders alone."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from whatelse import records
from whatelse.errors import UserError
from whatelse.studies.resolve import Artefact, Resolved
from whatelse.tracking.disk import HISTORY, Disk, Facts, Losses, Work, read_losses
from whatelse.tracking.tree import (
    IDENTITY,
    LAYOUT,
    Attachment,
    Child,
    Content,
    DataUsed,
    Point,
    Tree,
)

_TARGET_METRICS = ("train_accuracy", "test_accuracy", "benign_test_accuracy")


def read_tree(
    resolved: Resolved, results: str | Path, disk: Disk | None = None
) -> Tree:
    """Read what is on disk of a study.

    Parameters
    ----------
    resolved : Resolved
        The study's artefacts.
    results : str or Path
        The folder that holds them all.
    disk : Disk, optional
        What an earlier call has read and need not be read again.

    Returns
    -------
    Tree
        Folders without ``record.json`` are left out.

    Raises
    ------
    UserError
        If a file of a recorded folder is missing or broken.
    """
    reader = _Reader(resolved, Path(results), disk or Disk())
    found = [child for child in reader.children() if child is not None]
    children = [child for child in found if child.record]
    live = [child for child in found if not child.record]
    attachments = list(reader.attachments())
    attached = {_attachment_name(a) for a in resolved.artefacts if _attached(a)}
    num_missing = len(reader.keys) - len(children) + len(attached) - len(attachments)
    variables = sorted({v for a in resolved.of("attack") for v in a.labels["grid"]})
    study = resolved.study
    return Tree(
        study.study,
        study.question,
        study.title,
        study.description,
        children,
        live,
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

    def __init__(self, resolved: Resolved, results: Path, disk: Disk) -> None:
        self.results, self.disk = results, disk
        self.artefacts = resolved.artefacts
        self.by_folder = {artefact.folder: artefact for artefact in resolved.artefacts}
        self.keys: set[str] = set()
        self.families: dict[str, list[Artefact]] = defaultdict(list)
        self.attacked: dict[str, tuple[str, int]] = {}
        self.controls = _controls(resolved, self.by_folder)
        for artefact in resolved.artefacts:
            if artefact.kind in ("train", "collaborate"):
                self.families[str(Path(artefact.folder).parent)].append(artefact)
            if artefact.kind == "attack" and disk.recorded(artefact.folder):
                for number, source in self._replicates(artefact):
                    self.attacked.setdefault(source, (artefact.folder, number))

    def children(self) -> Iterator[Child | None]:
        """Yield every child of the study; None for those without records."""
        for blocks in self.families.values():
            # Beside a target whose shadows are elsewhere there is a control alone.
            own = [block for block in blocks if block.folder not in self.controls]
            if 0 in _models(blocks[0]):
                yield self._target(own or blocks)
            if own and _models(own[-1]).stop > 1:
                yield self._shadows(own)
        for artefact in self.artefacts:
            if artefact.kind == "import":
                yield self._imported(artefact)
            elif artefact.kind == "attack":
                yield self._attack(artefact)

    def attachments(self) -> Iterator[Attachment]:
        """Yield recorded figures and claims."""
        for artefact in self.artefacts:
            facts = self.disk.recorded(artefact.folder) if _attached(artefact) else None
            if facts:
                folder = Path(artefact.folder)
                record = self.disk.json(folder / records.RECORD)
                yield Attachment(
                    _attachment_name(artefact),
                    facts.digest,
                    tuple(folder / name for name in sorted(record["outputs"])),
                )

    def verdicts(self) -> dict[str, int] | None:
        """Return the counts of the claims' verdicts."""
        for artefact in self.artefacts:
            if artefact.kind == "claims" and self.disk.recorded(artefact.folder):
                found = self.disk.json(Path(artefact.folder) / "claims.json")
                return dict(sorted(found["counts"].items()))
        return None

    def _target(self, blocks: Sequence[Artefact]) -> Child | None:
        block = blocks[0]
        spec = _params({**block.spec, "models": 1})
        name = f"target {_words(block.labels['entry'], block.labels)}"

        def read() -> Content:
            loss = _loss_of_target(read_losses(Path(block.folder, HISTORY)))
            accuracies = self._accuracies(block.folder)
            seconds = self._facts(block).telemetry["seconds"]
            cost = [Point("cost/seconds_of_block", seconds)]
            note = _about_target(block)
            whole = accuracies is not None
            return Content(
                spec, [*(accuracies or []), *loss, *cost], note=note, whole=whole
            )

        found = self._child("target", block.folder, [block], name, read)
        work = None if found else self._work(block)
        if work is None:
            return found
        loss = _loss_of_target(work.losses)
        note = "In training. `train/loss` is the loss over the epochs or rounds so far."
        content = Content(spec, loss, note=note, whole=False)
        return self._live("target", block.folder, [block], name, [work], content)

    def _shadows(self, blocks: Sequence[Artefact]) -> Child | None:
        first = blocks[0]
        count = _models(blocks[-1]).stop - 1
        spec = _params({**first.spec, "models": count})
        name = f"shadows of {_words(first.labels['entry'], first.labels)}"
        folder = str(Path(first.folder).parent / "shadows")

        def read() -> Content:
            loss = _loss_of_shadows(
                [read_losses(Path(block.folder, HISTORY)) for block in blocks]
            )
            seconds = sum(self._facts(block).telemetry["seconds"] for block in blocks)
            note = (
                f"{count} models trained like the target, on other records: their "
                "outputs teach the attack. `train/loss` is the mean over them."
            )
            points = [*loss, Point("cost/seconds", seconds), _num_finished(count)]
            return Content(spec, points, note=note)

        found = self._child("shadows", folder, blocks, name, read)
        if found or not count:
            return found
        works = [self._done_or_work(block) for block in blocks]
        begun = [work for work in works if work is not None]
        if not any(work and _models(block).stop > 1
                   for work, block in zip(works, blocks, strict=True)):  # fmt: skip
            return None
        newest = max(begun, key=lambda work: work.start)
        # What was trained from something else is about to be trained anew.
        begun = [work for work in begun if work.identity == newest.identity]
        finished = sum(len(work.finished - {0}) for work in begun)
        points = [_num_finished(finished)]
        if len(begun) == len(blocks):
            points += _loss_of_shadows([work.losses for work in begun], count)
        note = (
            f"In training: {finished} of {count} models are finished. `train/loss` is "
            "the mean over all of them, for the epochs that all have reached."
        )
        content = Content(spec, points, note=note, whole=False)
        return self._live("shadows", folder, blocks, name, begun, content)

    def _work(self, block: Artefact) -> Work | None:
        place = Path("progress", block.labels["key"], Path(block.folder).name)
        return self.disk.work(self.results / place)

    def _done_or_work(self, block: Artefact) -> Work | None:
        facts = self.disk.recorded(block.folder)
        if facts is None:
            return self._work(block)
        losses = self.disk.losses(Path(block.folder, HISTORY), facts.identity)
        start, end = facts.telemetry["start"], facts.telemetry["end"]
        return Work(facts.identity, start, end, frozenset(_models(block)), losses)

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
            metrics = self.disk.json(folder / "metrics.json")
            files = [(folder / "metrics.json", ""), (folder / "curves.csv", "")]
            points = list(_attack_points(metrics))
            original = artefact.labels["stand_in_for"]
            return Content(params, points, files, _attack_note(metrics, original))

        name = f"attack {_words(artefact.labels['name'], artefact.labels)}"
        return self._child("attack", artefact.folder, [artefact], name, read)

    def _child(
        self, role: str, folder: str, parts: Sequence[Artefact], name: str,
        read: Callable[[], Content],
    ) -> Child | None:  # fmt: skip
        key = self._key(folder)
        self.keys.add(key)
        facts = [self.disk.recorded(part.folder) for part in parts]
        known = [one for one in facts if one is not None]
        if len(known) < len(parts):
            return None
        digests = [one.digest for one in known]
        used = [one.telemetry for one in known]
        last = max(used, key=lambda telemetry: telemetry["end"])
        newest = max(known, key=lambda one: int(one.telemetry["start"]))
        commit = last.get("commit", "")
        data, tags = self._tags(role, key, parts, newest.identity)
        tags |= {
            "whatelse.commit": commit,
            "whatelse.host": ", ".join(sorted({u.get("host", "") for u in used})),
            "whatelse.device": ", ".join(sorted({u.get("device", "") for u in used})),
            "mlflow.source.git.commit": commit.removesuffix("+"),
        }
        tags = {tag: value for tag, value in tags.items() if value}
        record = digests[0] if len(digests) == 1 else records.key_of(digests)
        attack = self.attacked.get(folder)
        measured = self.disk.recorded(attack[0]) if attack else None
        version = [record, name, tags, measured.digest if measured else None]
        return Child(
            key,
            record,
            name,
            tags,
            data,
            min(u["start"] for u in used),
            last["end"],
            read,
            records.key_of(version),
        )

    def _live(
        self, role: str, folder: str, parts: Sequence[Artefact], name: str,
        works: Sequence[Work], content: Content,
    ) -> Child:  # fmt: skip
        key = self._key(folder)
        identity = works[0].identity
        data, tags = self._tags(role, key, parts, identity)
        # All points are final: there can only be more of them.
        version = [identity, name, content.note, len(content.points)]
        return Child(
            key,
            "",
            name,
            {tag: value for tag, value in tags.items() if value},
            data,
            min(work.start for work in works),
            max(work.end for work in works),
            lambda: content,
            records.key_of(version),
        )

    def _key(self, folder: str) -> str:
        return Path(folder).relative_to(self.results).as_posix()

    def _tags(
        self, role: str, key: str, parts: Sequence[Artefact], identity: str
    ) -> tuple[DataUsed | None, dict[str, str]]:
        data, about = self._data(parts[0])
        return data, {
            "whatelse.key": key,
            "whatelse.role": role,
            "whatelse.rule": parts[0].kind,
            IDENTITY: identity,
            "whatelse.data": data.digest if data else "",
            "whatelse.dataset": data.name if data else "",
            "whatelse.stand_in_for": about.get("stand_in_for") or "",
            "mlflow.source.name": f"whatelse {parts[0].kind}",
            "mlflow.source.type": "LOCAL",
        }

    def _facts(self, artefact: Artefact) -> Facts:
        facts = self.disk.recorded(artefact.folder)
        if facts is None:
            raise UserError(f"{artefact.folder}: its record is gone; track again")
        return facts

    def _accuracies(self, folder: str) -> list[Point] | None:
        """Return a target's accuracies: the attack on it measured them."""
        if folder not in self.attacked:
            return None
        attack, number = self.attacked[folder]
        metrics = self.disk.json(Path(attack) / "metrics.json")
        reports = [r for r in metrics["replicates"] if r["replicate"] == number]
        if not reports:  # the attack was run on fewer replicates than were trained
            return None
        found = reports[0].get("target", {})
        return [
            Point(f"target/{name}", found[name]["value"])
            for name in _TARGET_METRICS
            if found.get(name)
        ]

    def _replicates(self, attack: Artefact) -> Iterator[tuple[int, str]]:
        """Yield (replicate, its first block of models or a user's file)."""
        for role, (folder, *_) in attack.inputs.items():
            kind, _, number = role.rpartition(".")
            if kind in ("models", "observations"):
                yield int(number), folder
            elif kind in ("outputs", "signals"):
                blocks = self.by_folder[folder].inputs.get("block")
                yield int(number), blocks[0] if blocks else folder

    def _data(self, artefact: Artefact) -> tuple[DataUsed | None, Mapping[str, Any]]:
        """Find the data set of an artefact upstream of it.

        What it stands in for is what the study says of an attack, if it does.
        """
        said = artefact.labels.get("stand_in_for")
        while artefact.kind not in ("dataset", "preprocess", "synthesise", "import"):
            artefact = self.by_folder[artefact.upstream[0]]
        folder = Path(artefact.folder)
        file = "outputs.json" if artefact.kind == "import" else "dataset.json"
        facts = self.disk.recorded(artefact.folder)
        if facts is None:
            return None, {}
        about = self.disk.json(folder / file)
        about = {**about, "stand_in_for": said or about.get("stand_in_for")}
        original = about["stand_in_for"]
        name = about.get("name") or artefact.labels["name"]
        used = DataUsed(
            name + (f" (stand-in for {original})" if original else ""),
            facts.digest,
            about["records"],
            about.get("title") or name,
            folder.relative_to(self.results).as_posix(),
        )
        return used, about


def _controls(resolved: Resolved, by_folder: Mapping[str, Artefact]) -> set[str]:
    """Return the blocks of targets whose shadows are all in other blocks."""
    read: dict[bool, set[str]] = {True: set(), False: set()}
    for attack in resolved.of("attack"):
        for role, folders in attack.inputs.items():
            kind, _, number = role.partition(".")
            if kind == "outputs":
                elsewhere = f"shadows.{number}" in attack.inputs
                for asked in map(by_folder.__getitem__, folders):
                    read[elsewhere] |= {*asked.inputs.get("block", ())}
    return read[True] - read[False]


def _attached(artefact: Artefact) -> bool:
    return artefact.kind in ("figure", "claims")


def _attachment_name(artefact: Artefact) -> str:
    """Return the folder of the parent run's artefacts that takes it."""
    if artefact.kind == "figure":
        return f"figures/{artefact.labels['name']}"
    return artefact.kind


def _models(block: Artefact) -> range:
    first, _, stop = block.labels["models"].partition(":")
    return range(int(first), int(stop))


def _num_finished(count: int) -> Point:
    """Return how many models are finished; the step keeps each number apart."""
    return Point("progress/models", count, count)


def _loss_of_target(losses: Losses) -> list[Point]:
    return [
        Point("train/loss", of_models[0], epoch)
        for epoch, of_models in sorted(losses.items())
        if 0 in of_models
    ]


def _loss_of_shadows(blocks: Sequence[Losses], count: int = 1) -> list[Point]:
    """Return the mean loss of the shadows at each epoch that `count` of them have."""
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for losses in blocks:
        for epoch, of_models in losses.items():
            found[epoch] |= of_models
    return [
        Point("train/loss", fmean(of_shadows), epoch)
        for epoch, of_models in sorted(found.items())
        if len(of_shadows := [v for m, v in of_models.items() if m > 0]) >= count
    ]


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
        for rate, found in report.get("attack", {}).get("tpr_at_fpr", {}).items():
            if "value" in found:
                name = f"replicates/tpr_at_fpr_{rate}"
                yield Point(name, found["value"], number)
        for control, found in report["controls"].items():
            yield Point(f"control/{control}_p_value", found["p_value"], number)
            yield Point(f"control/{control}_auc", found["auc"]["value"], number)


def _attack_note(metrics: Mapping[str, Any], original: str | None) -> str:
    data = metrics["dataset"]
    original = original or data.get("stand_in_for")
    where = data.get("title") or data["name"]
    lines = [
        f"`{metrics['kind']}` on {where}"
        + (f", **a stand-in for {original}**" if original else "")
        + f", {len(metrics['replicates'])} replicate(s). ",
        "`attack/` and `target/` are means over replicates, `replicates/` the values "
        "(step = replicate), `interval/` the 95% interval of the mean, `control/` a "
        "planted leak (positive: must be found) and a case without any (negative: must "
        "not).",
    ]
    lines += [f"\n*Remark: {remark}*" for remark in data.get("remarks") or ()]
    return "\n".join(lines)


def _about_target(block: Artefact) -> str:
    """Return what stands above the run of a target."""
    if block.kind == "collaborate":
        return (
            f"Trained by {block.spec['participants']} participants together. "
            "`train/loss` is their mean loss over rounds."
        )
    return (
        f"Trained on {block.spec['members'] or 'all training'} records and attacked as "
        "the target. `train/loss` is its loss over epochs. Time is that of its block: "
        "the target and its first shadows are trained together."
    )


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
