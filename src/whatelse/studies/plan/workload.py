"""The work of a study's artefacts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from whatelse.studies.plan import work
from whatelse.studies.plan.costs import CPU
from whatelse.studies.plan.shapes import (
    Shape,
    derived_shape,
    shadow_shape,
    shape_of,
)
from whatelse.studies.plan.work import Asked, Examined, Work
from whatelse.studies.resolve import Artefact


class Workload:
    """Knows the work of artefacts; looks each data set and file up once."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}
        self._imported: dict[str, Asked] = {}

    def look_at(self, datasets: Iterable[Artefact]) -> None:
        """Find the sizes of data sets; those that others are made from come first."""
        for artefact in datasets:
            if artefact.folder in self._shapes:
                continue
            if artefact.kind == "dataset":
                shape = shape_of(artefact)
            else:
                derived = artefact.kind == "preprocess"
                own = derived_shape if derived else shadow_shape
                shape = own(artefact.spec, self._shapes[artefact.inputs["data"][0]])
            self._shapes[artefact.folder] = shape

    def tested(self, block: Artefact) -> int:
        """Return the records that each model of a block is tested on."""
        return work.tested(block.spec, self._shapes[block.inputs["data"][0]])

    def of(
        self, artefact: Artefact, by_folder: Mapping[str, Artefact], *, node: str = CPU
    ) -> Work:
        """Return an artefact's work.

        Parameters
        ----------
        artefact : Artefact
            Its data set was looked at.
        by_folder : mapping of str to Artefact
            Those upstream.
        node : {"cpu", "gpu"}, optional
            Where it is done: some nets are trained by the plain loop on a CPU.
        """
        kind, spec = artefact.kind, artefact.spec
        if kind == "dataset":
            return work.prepare(spec, self._shapes[artefact.folder])
        if kind == "preprocess":
            return work.derive(spec, self._shapes[artefact.folder])
        if kind == "synthesise":
            shape = self._shapes[artefact.folder]
            asked = [by_folder[name].spec for name in artefact.inputs.get("block", ())]
            return work.synthesise(spec, shape, asked[0] if asked else None)
        if kind in ("train", "query"):
            family = (
                artefact if kind == "train" else by_folder[artefact.inputs["block"][0]]
            )
            shape = self._shapes[artefact.inputs["data"][0]]
            first, stop = models_of(artefact)
            if kind == "query" and spec["kind"] == "signals":
                return work.signals(spec, family.spec, shape, stop - first)
            if kind == "query" and spec["kind"] == "ranks":
                # an answer is counted, not kept: a row of bins is left of a user
                shape = replace(shape, num_classes=spec["bins"])
            if kind == "query":
                return work.query(
                    family.spec, shape, stop - first, has_target=first == 0
                )
            net = work.net_for(spec["architecture"], shape)
            stacked = node != CPU or not net.looped
            return work.train(spec, shape, stop - first, stacked=stacked)
        if kind == "collaborate":
            return work.collaborate(spec, self._shapes[artefact.inputs["data"][0]])
        if kind == "attack" and "observations.0" in artefact.inputs:
            joint = by_folder[artefact.inputs["observations.0"][0]]
            seen = _count(artefact, "observations")
            shape = self._shapes[joint.inputs["data"][0]]
            return work.inference(spec["settings"], joint.spec, shape, seen)
        if kind == "import":
            return work.external(self._external(artefact))
        if kind == "attack" and spec["settings"]["kind"] == "membership.exposure":
            block = by_folder[artefact.inputs["models.0"][0]]
            shape = self._shapes[artefact.inputs["data"][0]]
            ranked = spec["settings"]["alternatives"]
            return work.exposure(block.spec, shape, ranked, _count(artefact, "models"))
        if kind == "attack" and spec["settings"]["kind"].startswith("properties."):
            block = by_folder[artefact.inputs["models.0"][0]]
            shape = self._shapes[artefact.inputs["data"][0]]
            looked = spec["settings"]["kind"] == "properties.layers"
            own = work.layers if looked else work.representation
            return own(spec["settings"], block.spec, shape, _count(artefact, "models"))
        if kind == "attack" and "signals.0" in artefact.inputs:
            return self._compared(artefact, by_folder)
        if kind == "attack" and "data" in artefact.inputs:
            return work.memorization(
                spec["settings"], spec["carrier"], self._examined(artefact, by_folder)
            )
        if kind == "attack":
            others = outputs_of(artefact, role="shadows")
            replicates = [
                self._asked(folders, by_folder, others[number] if others else ())
                for number, folders in enumerate(outputs_of(artefact))
            ]
            return work.attack(spec["settings"], replicates)
        if kind == "figure":
            points = sum(
                self._asked(folders, by_folder).tested
                for name in artefact.upstream
                for folders in outputs_of(by_folder[name], "signals")
            )
            return work.figure(artefact.spec["settings"]["kind"], float(points))
        return work.claims()

    def _examined(
        self, artefact: Artefact, by_folder: Mapping[str, Artefact]
    ) -> Examined:
        """Return the models that a memorization attack reads."""
        block = by_folder[artefact.inputs["models.0"][0]]
        shape = self._shapes[artefact.inputs["data"][0]]
        net = work.net_for(block.spec["architecture"], shape)

        def count(role: str) -> int:
            folders = artefact.inputs.get(f"{role}.models.0", [])
            return sum(num_models(by_folder[folder]) for folder in folders)

        return Examined(
            block.spec, shape,
            _count(artefact, "models"), benign=_count(artefact, "benign.models"),
            innocent=count("innocent"), unseen=count("unseen"),
            stacked=not net.looped,
        )  # fmt: skip

    def _compared(
        self, artefact: Artefact, by_folder: Mapping[str, Artefact]
    ) -> Work:  # fmt: skip
        """Return the work of an attack on reference models."""
        targets = outputs_of(artefact, "signals")
        asked = by_folder[targets[0][0]]
        block = by_folder[asked.inputs["block"][0]]
        blocks = [
            by_folder[name]
            for name in artefact.inputs.get("references", targets[0][1:])
        ]
        models = sum(stop - start for start, stop in map(models_of, blocks))
        return work.reference(
            asked.spec, self._shapes[asked.inputs["data"][0]], self.tested(block),
            replicates=len(targets), references=models,
        )  # fmt: skip

    def _asked(
        self, folders: Sequence[str], by_folder: Mapping[str, Artefact],
        others: Sequence[str] = (),
    ) -> Asked:  # fmt: skip
        """Return the rows of a replicate's outputs; `others` are of its shadows."""
        first = by_folder[folders[0]]
        if first.kind == "import":
            return self._external(first)
        family = by_folder[first.inputs["block"][0]]
        shape = self._shapes[first.inputs["data"][0]]
        tested = self.tested(family)
        if first.spec["kind"] == "ranks":
            tested //= work.per_unit(family.spec, shape)
            bins = first.spec["bins"]
            shape = replace(shape, num_classes=bins, largest=1.0, smallest=1.0)
        numbers = [models_of(by_folder[folder]) for folder in folders]
        models = sum(stop - start for start, stop in numbers)
        rows = (models + (models > 1)) * tested
        shadow_rows = (models - 1) * tested
        if others:
            blocks = [by_folder[by_folder[name].inputs["block"][0]] for name in others]
            shadow_rows = sum(num_models(b) * self.tested(b) for b in blocks)
            shape, rows = self._shapes[blocks[0].inputs["data"][0]], rows + shadow_rows
        return Asked(
            tested, shadow_rows, rows, shape.num_classes, shape.largest, shape.smallest
        )

    def _external(self, artefact: Artefact) -> Asked:
        path = artefact.spec["path"]
        if path not in self._imported:
            self._imported[path] = _external(Path(path))
        return self._imported[path]


def _count(artefact: Artefact, role: str) -> int:
    """Return how many replicates an attack reads in a role."""
    return sum(own.startswith(f"{role}.") for own in artefact.inputs)


def outputs_of(
    attack: Artefact, *more: str, role: str = "outputs"
) -> list[list[str]]:  # fmt: skip
    """Return what an attack reads in a role, a list of folders a replicate.

    `more` roles count as well.
    """
    roles = (role, *more)
    return [own for role, own in attack.inputs.items() if role.split(".")[0] in roles]


def models_of(artefact: Artefact) -> tuple[int, int]:
    """Return the first model of a block and the one after its last."""
    first, stop = artefact.labels["models"].split(":")
    return int(first), int(stop)


def num_models(artefact: Artefact) -> int:
    """Return the models that an artefact's job trains."""
    if artefact.kind == "collaborate":
        return 1
    if artefact.kind != "train":
        return 0
    first, stop = models_of(artefact)
    return stop - first


def _external(path: Path) -> Asked:
    """Return the rows of a user's own outputs."""
    from whatelse.models.external import read_external

    outputs = read_external(path, path.stem)
    tested = int((outputs.model == 0).sum())
    classes = outputs.probabilities.shape[1]
    shares = np.bincount(outputs.label, minlength=classes) / max(len(outputs.label), 1)
    return Asked(
        tested, int((outputs.model > 0).sum()), len(outputs.label), classes,
        float(shares.max()), float(shares.min()),
    )  # fmt: skip
