"""What a study resolves to: the artefacts, their specs, inputs and sources.

Snakemake's rules, the tracker, ``whatelse adopt`` and ``whatelse show`` all read this
one description. Nothing here looks at data: counts and keys follow from the study file.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from whatelse.adversaries import ADVERSARIES
from whatelse.attack_kinds import KINDS
from whatelse.backdoors.adversary_settings import Sentence
from whatelse.claims.command import published_keys
from whatelse.claims.published import published_files, read_published
from whatelse.claims.results import Instance as Found
from whatelse.claims.results import looked_at
from whatelse.claims.settings import Claim, FallsWith, GrowsWith, Several
from whatelse.datasets.loaders import LOADERS, OWN
from whatelse.datasets.registry import FETCHED
from whatelse.errors import UserError
from whatelse.figures.settings import refuse_undrawn, shown_by
from whatelse.models.settings import Label, Queries, Ranks, Signals
from whatelse.records import canonical_json, key_of
from whatelse.shadow_data import SHADOW_DATA
from whatelse.sources import PACKAGE, closure
from whatelse.steps import STEPS
from whatelse.studies import grammar
from whatelse.studies.grammar import (
    Collaborative,
    DerivedDataset,
    External,
    Instance,
    Study,
    Trained,
)
from whatelse.tamperings import TAMPERINGS

PUBLISHED = PACKAGE.parents[1] / "data" / "published"
_BUNDLED = ("digits", "faces")
_OF_TRAINING = {
    "architecture", "training", "split", "members", "non_members", "unit",
    "tampering",
}  # fmt: skip


Points = Mapping[str, list[Instance]]


@dataclass(frozen=True)
class Artefact:
    """One folder that a rule makes.

    Attributes
    ----------
    kind : str
        Which rule: dataset, preprocess, synthesise, train, collaborate, query, import,
        attack, figure, claims.
    folder : str
        Where, e.g. ``results/models/<key>/block_0-8`` (models 0 to 7).
    spec : dict
        What the verb is told, resolved.
    inputs : dict of str to list of str
        Upstream folders by role.
    modules : tuple of str
        The import closure of these is the code that makes it.
    labels : dict
        What it is called: name, grid, replicate, models, ...
    files : tuple of str
        Plain input files: a user's own data.
    """

    kind: str
    folder: str
    spec: dict[str, Any]
    inputs: dict[str, list[str]] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def spec_json(self) -> str:
        """The spec as the verb's argument."""
        return canonical_json(self.spec)

    @property
    def upstream(self) -> list[str]:
        """All upstream folders."""
        return [folder for folders in self.inputs.values() for folder in folders]


@dataclass(frozen=True)
class Resolved:
    """A study and its artefacts, upstream first."""

    path: Path
    study: Study
    artefacts: list[Artefact]

    def of(self, kind: str) -> list[Artefact]:
        """Return the artefacts of a kind."""
        return [artefact for artefact in self.artefacts if artefact.kind == kind]


@cache
def code_paths(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Return the sources of some modules, relative to the working directory."""
    return tuple(os.path.relpath(path) for path in closure(*modules))


def load_study(
    path: str | Path, results: str | Path = "results", *, replicates: int | None = None
) -> Resolved:
    """Read a study file and resolve it.

    Parameters
    ----------
    path : str or Path
        The study file.
    results : str or Path, optional
        Where artefacts lie.
    replicates : int, optional
        At most so many replicates of every entry, for a quicker look.

    Returns
    -------
    Resolved

    Raises
    ------
    UserError
        In one line: the file, the field, the value and what is allowed.
    """
    path, results = Path(path), Path(results)
    study = grammar.read_study(path)
    resolver = _Resolver(path, study, results, replicates)
    return Resolved(path, study, resolver.resolve())


@dataclass(frozen=True)
class Family:
    """Models of one entry at one grid point, over all replicates.

    Attributes
    ----------
    entry : str
        The entry.
    grid : dict
        Of the entry and all that it refers to.
    data : Artefact
        What is trained on.
    spec : dict
        Of the training, but for replicate and the key of the base.
    settings : Trained
        How many replicates and shadows, and how they are packed.
    base : Family or None
        What the models start from.
    """

    entry: str
    grid: grammar.Grid
    data: Artefact
    spec: dict[str, Any]
    settings: Trained
    base: "Family | None"

    @property
    def name(self) -> str:
        """The entry with its grid point."""
        return grammar.instance_name(self.entry, self.grid)


def _single_out(
    place: str, claim: Claim, attacks: Mapping[str, list[Artefact]]
) -> None:
    """Refuse conditions that fit no instance, or several, before anything is made."""
    relation = claim.relation
    names = {*claim.where, *(getattr(relation, "where", None) or {})}
    if isinstance(relation, GrowsWith | FallsWith | Several):
        names.add(relation.variable)
    about = {claim.attack, getattr(relation, "attack", None) or claim.attack}
    found = [
        Found(
            made.labels["instance"],
            made.labels["name"],
            made.labels["grid"],
            {},
            [],
            {},
        )
        for name in about
        for made in attacks.get(name, [])
    ]
    # What a data set says of itself, and whose seeds are paired, is known later.
    if names <= {name for instance in found for name in instance.grid}:
        looked_at(claim, found, place=place)


def _stand_ins(attacks: Iterable[Artefact]) -> dict[str, str]:
    """Return what the study says that data stand in for, by the attack's folder."""
    said = {
        attack.labels["instance"]: attack.labels["stand_in_for"] for attack in attacks
    }
    return {name: original for name, original in said.items() if original}


def _layout(settings: Trained, replicate: int) -> Iterator[tuple[int, int, int]]:
    """Yield the blocks of a replicate: whose they are, first model, one after the last.

    Reference models of halves are replicate 0's and serve all. Their blocks grow with
    their number up to `block`, so that studies of 2, 4, 8, 16, ... share them.
    Where shadows learn from data of their own, a target has one on real records beside
    it, for the negative control.
    """
    if settings.has_own_shadow_data:
        yield replicate, 0, 2
        return
    models = settings.shadows + 1
    if settings.split != "halves":
        for first in range(0, models, settings.block):
            yield replicate, first, min(first + settings.block, models)
        return
    yield replicate, 0, 1
    first = 1
    while first < models:
        size = min(settings.block, max(2, first - 1))
        yield 0, first, min(first + size, models)
        first += size


class _Resolver:
    def __init__(
        self, path: Path, study: Study, results: Path, replicates: int | None
    ) -> None:
        self.path, self.study, self.results = path, study, results
        self.replicates = replicates
        self.made: dict[str, Artefact] = {}
        self.open: list[tuple[str, str]] = []  # entries that none may lead back to

    def resolve(self) -> list[Artefact]:
        points = {
            section: grammar.instances(self.path, self.study, section)
            for section in grammar.SECTIONS
        }
        for dataset in points["datasets"]:
            # a data set that nothing learns from is made all the same
            for _ in self._datasets(points, dataset, dataset.entry):
                pass
        attacks: dict[str, list[Artefact]] = {}
        for attack in points["attacks"]:
            releases: list[Instance | None] = [None]
            if attack.settings.release != grammar.FULL:
                releases = [
                    *self._entry(points, attack, "releases", attack.settings.release)
                ]
            for release in releases:
                for made in self._attacks_on(points, attack, release):
                    attacks.setdefault(attack.entry, []).append(made)
        for name, settings in self.study.figures.items():
            self._figure(name, settings, attacks)
        self._claims(attacks)
        return list(self.made.values())

    def _add(self, artefact: Artefact) -> Artefact:
        return self.made.setdefault(artefact.folder, artefact)

    def _folder(self, *parts: str) -> str:
        return str(self.results.joinpath(*parts))

    def _own(self, name: str) -> str:
        """Return a user's path, given relative to the study file."""
        return os.path.normpath(self.path.parent / name)

    def _entry(
        self, points: Points, user: Instance, section: str, entry: str
    ) -> list[Instance]:
        found = [point for point in points[section] if point.entry == entry]
        if not found:
            known = sorted({point.entry for point in points[section]}) or ["none"]
            raise UserError(
                f"{self.path}: {user.section}.{user.entry}.{section}: {entry!r} is not "
                f"in {section}; allowed: {', '.join(known)}"
            )
        return found

    @contextlib.contextmanager
    def _entered(self, point: Instance) -> Iterator[None]:
        """Refuse an entry that leads back to itself."""
        if (point.section, point.entry) in self.open:
            raise UserError(
                f"{self.path}: {point.section}.{point.entry}.from: leads back to "
                "itself; allowed: another entry"
            )
        self.open.append((point.section, point.entry))
        yield
        self.open.pop()

    def _datasets(
        self, points: Points, user: Instance, entry: str
    ) -> Iterator[tuple[Artefact, grammar.Grid]]:
        """Yield a data set entry's artefacts, with those that they are made from."""
        for point in self._entry(points, user, "datasets", entry):
            if not isinstance(point.settings, DerivedDataset):
                yield self._dataset(point), point.grid
                continue
            with self._entered(point):
                bases = [*self._datasets(points, point, point.settings.base)]
            for base, grid in bases:
                yield (
                    self._derived(point, base),
                    self._joined(point, grid, point.grid),
                )

    def _dataset(self, point: Instance) -> Artefact:
        settings = point.settings
        spec = settings.model_dump(mode="json")
        files: tuple[str, ...] = ()
        if settings.source in OWN:
            spec["path"] = self._own(settings.path)
            files = (spec["path"],)
        elif settings.source not in _BUNDLED:
            files = (f"resources/{settings.source}/{FETCHED}",)
        return self._add(
            Artefact(
                "dataset",
                self._folder("datasets", f"{settings.source}-{key_of(spec)}"),
                spec,
                modules=(
                    "whatelse.datasets.prepare",
                    LOADERS[settings.source].partition(":")[0],
                ),
                labels={"name": point.name, "identity": spec},
                files=files,
            )
        )

    def _derived(self, point: Instance, base: Artefact) -> Artefact:
        spec = point.settings.preprocess.model_dump(mode="json")
        identity = {"spec": spec, "from": base.labels["identity"]}
        return self._add(
            Artefact(
                "preprocess",
                self._folder("datasets", spec["kind"], key_of(identity)),
                spec,
                {"data": [base.folder]},
                ("whatelse.datasets.derived", STEPS[spec["kind"]]),
                {"name": point.name, "identity": identity},
            )
        )

    def _families(self, points: Points, point: Instance) -> Iterator[Family]:
        """Yield the families of one point of an entry of models trained here."""
        settings = point.settings
        if isinstance(settings, Trained):
            spec = settings.model_dump(mode="json", include=_OF_TRAINING)
            spec |= {"base": None, "lineage": None, "seed": self.study.seed}
            for data, grid in self._datasets(points, point, settings.dataset):
                joined = self._joined(point, grid, point.grid)
                self._refuse_mixed(point, settings, data)
                if settings.independent:
                    name = grammar.instance_name(point.entry, joined)
                    spec = {**spec, "lineage": name}
                yield Family(point.entry, joined, data, spec, settings, None)
            return
        changed = settings.model_dump(mode="json", include={"training", "tampering"})
        with self._entered(point):
            bases = [*self._trained(points, point, settings.base)]
        for base in bases:
            if base.settings.has_own_shadow_data:
                raise UserError(
                    f"{self.path}: models.{point.entry}.from: shadows of {base.name} "
                    "learn from data of their own; allowed: an entry with shadow_data "
                    "real"
                )
            yield Family(
                point.entry,
                self._joined(point, base.grid, point.grid),
                base.data,
                {**base.spec, **changed},
                base.settings,
                base,
            )

    def _refuse_mixed(self, point: Instance, settings: Trained, data: Artefact) -> None:
        """Refuse models that would take records for anything but what they are."""
        if settings.split == "coins" and data.spec.get("kind") != "canaries":
            raise UserError(
                f"{self.path}: models.{point.entry}.split: coins, and its data set has "
                "no canaries; allowed: one that preprocess: {kind: canaries} made"
            )
        if data.spec.get("kind") != "capacity-abuse":
            return
        place = f"{self.path}: models.{point.entry}"
        if settings.split != "given" or settings.members is not None:
            raise UserError(
                f"{place}.split: its data set has synthetic records to train on; "
                "allowed: split: given, without members"
            )
        if settings.tampering:
            raise UserError(
                f"{place}.tampering: its data set carries a secret already; allowed: "
                "none, or another data set"
            )

    def _trained(self, points: Points, user: Instance, entry: str) -> Iterator[Family]:
        """Yield all families of an entry of models; refuse outputs alone."""
        for point in self._entry(points, user, "models", entry):
            if isinstance(point.settings, External):
                raise UserError(
                    f"{self.path}: {user.section}.{user.entry}: {entry!r} holds "
                    "outputs alone; allowed: an entry of models that are trained here"
                )
            if isinstance(point.settings, Collaborative):
                raise UserError(
                    f"{self.path}: {user.section}.{user.entry}: {entry!r} is a joint "
                    "model; allowed: an entry without collaboration"
                )
            yield from self._families(points, point)

    def _attacks_on(
        self, points: Points, attack: Instance, release: Instance | None
    ) -> Iterator[Artefact]:
        """Yield an attack on each family of its models, through one release."""
        through = release.settings if release else grammar.default_release()
        grids = [release.grid if release else {}, attack.grid]
        needs = KINDS[attack.settings.kind].needs
        for point in self._entry(points, attack, "models", attack.settings.models):
            if isinstance(point.settings, External) and "outputs" in needs:
                grid = self._joined(attack, point.grid, *grids)
                folders = [self._imported(point.settings).folder]
                yield self._attack_on(attack, grid, {"outputs.0": folders}, None)
                continue
            if isinstance(point.settings, Collaborative) or "observations" in needs:
                yield from self._attacks_on_joint(points, attack, point, grids)
                continue
            if isinstance(point.settings, External):
                raise UserError(
                    f"{self.path}: attacks.{attack.entry}.models: {point.entry!r} "
                    f"holds outputs alone, {attack.settings.kind} needs models; "
                    "allowed: an entry of models that are trained here"
                )
            for family in self._families(points, point):
                grid = self._joined(attack, family.grid, *grids)
                inputs = self._inputs(points, attack, family, through, needs)
                carrier = self._carrier(family) if "models" in needs else None
                yield self._attack_on(attack, grid, inputs, carrier)

    def _attacks_on_joint(
        self, points: Points, attack: Instance, point: Instance,
        grids: Sequence[grammar.Grid],
    ) -> Iterator[Artefact]:  # fmt: skip
        """Yield an attack on what was observed in collaborative learning."""
        place, kind = f"{self.path}: attacks.{attack.entry}", attack.settings.kind
        settings = point.settings
        if not isinstance(settings, Collaborative):
            raise UserError(
                f"{place}.models: {point.entry!r} was not trained together, {kind} "
                "needs what was seen then; allowed: an entry with collaboration"
            )
        (need, *more) = KINDS[kind].needs
        if more or need not in ("observations", "models"):
            raise UserError(
                f"{place}.models: {point.entry!r} is a joint model, {kind} needs "
                "others; allowed: an entry without collaboration"
            )
        if attack.settings.release != grammar.FULL:
            raise UserError(
                f"{place}.release: {attack.settings.release!r}; allowed: "
                f"{grammar.FULL} (nothing is released but the joint model)"
            )
        found = settings.adversary.kind if settings.adversary else None
        if need == "observations" and found != KINDS[kind].adversary:
            raise UserError(
                f"{place}.models: {point.entry!r} has "
                f"{f'an adversary of kind {found}' if found else 'no adversary'}; "
                f"allowed: an entry with one of kind {KINDS[kind].adversary}"
            )
        if need == "observations" and getattr(settings.adversary, "rounds", 1) == ():
            raise UserError(
                f"{place}.models: {point.entry!r} has adversary.rounds: [], no round "
                "of an attack; allowed: an entry that has some, or leaves rounds out"
            )
        for data, grid in self._datasets(points, point, settings.dataset):
            own = self._joined(point, grid, point.grid)
            joined = self._joined(attack, own, *grids)
            self._refuse_unknown_words(point, data)
            inputs: dict[str, list[str]] = {}
            count = self._limited(settings.replicates)
            for replicate in range(count):
                joint = self._joint(points, point, own, data, replicate)
                inputs[f"{need}.{replicate}"] = [joint.folder]
                before = self._before(joint) if KINDS[kind].history else []
                if before:
                    inputs[f"before.{replicate}"] = before
            if entry := getattr(attack.settings, "alone", None):
                folders = self._alone(points, attack, entry, data, own, point)
                if len(folders) < count:
                    raise UserError(
                        f"{place}.alone: {entry!r} has {len(folders)} replicates; "
                        f"allowed: at least {count}"
                    )
                for replicate, folder in enumerate(folders[:count]):
                    inputs[f"alone.{replicate}"] = [folder]
            yield self._attack_on(
                attack, joined, {**inputs, "data": [data.folder]}, None
            )

    def _refuse_unknown_words(self, point: Instance, data: Artefact) -> None:
        """Refuse a sentence with words that need not be in the vocabulary."""
        backdoor = getattr(point.settings.adversary, "backdoor", None)
        known = data.spec.get("words")
        if not isinstance(backdoor, Sentence) or not known:
            return
        for word in backdoor.words:
            if word not in known:
                raise UserError(
                    f"{self.path}: models.{point.entry}: adversary.backdoor.text: "
                    f"{word!r} is not in datasets.{point.settings.dataset}.words; "
                    "allowed: words named there, which are known however rare they are"
                )

    def _before(self, joint: Artefact) -> list[str]:
        """Return the joint models that one goes back to, the latest first."""
        found: list[str] = []
        for base in joint.inputs.get("base", []):
            found += [base, *self._before(self.made[base])]
        return found

    def _alone(
        self, points: Points, attack: Instance, entry: str, data: Artefact,
        grid: grammar.Grid, joint: Instance,
    ) -> list[str]:  # fmt: skip
        """Return the joint models without an adversary on a data set, to compare."""
        place = f"{self.path}: attacks.{attack.entry}.alone"
        point, own = self._joint_like(points, attack, place, entry, data, grid)
        if point.settings.adversary:
            raise UserError(
                f"{place}: {entry!r}; allowed: an entry without an adversary"
            )
        self._refuse_unlike(place, point, joint)
        return [
            self._joint(points, point, own, data, replicate).folder
            for replicate in range(self._limited(point.settings.replicates))
        ]

    def _joint_like(
        self, points: Points, user: Instance, place: str, entry: str, data: Artefact,
        grid: grammar.Grid,
    ) -> tuple[Instance, grammar.Grid]:  # fmt: skip
        """Return the joint model of an entry on a data set, for a grid point."""
        found = []
        for point in self._entry(points, user, "models", entry):
            if not isinstance(point.settings, Collaborative):
                raise UserError(
                    f"{place}: {entry!r}; allowed: an entry with collaboration"
                )
            for other, values in self._datasets(points, point, point.settings.dataset):
                own = self._joined(point, values, point.grid)
                same = all(grid.get(key, value) == value for key, value in own.items())
                if same and other.folder == data.folder:
                    found.append((point, own))
        if len(found) != 1:
            raise UserError(
                f"{place}: {entry!r} has {len(found)} models on this data set for this "
                "grid point; allowed: one"
            )
        return found[0]

    def _joint_base(
        self, points: Points, point: Instance, grid: grammar.Grid, data: Artefact,
        replicate: int,
    ) -> Artefact | None:  # fmt: skip
        """Add the joint model that another starts from."""
        settings = point.settings
        if settings.base is None:
            return None
        place = f"{self.path}: models.{point.entry}.from"
        with self._entered(point):
            base, own = self._joint_like(
                points, point, place, settings.base, data, grid
            )
            for name in ("architecture", "participants", "split", "held_out", "deal"):
                if getattr(base.settings, name) != getattr(settings, name):
                    raise UserError(
                        f"{place}: {base.entry!r} has another {name}; allowed: the "
                        "same, so that everybody has the records they had"
                    )
            if settings.withheld is not None and (
                base.settings.withheld != settings.withheld
            ):
                raise UserError(
                    f"{place}: {base.entry!r} has no adversary that keeps the same "
                    "records from the others; allowed: one with this backdoor, and "
                    "rounds: [] if it is to be honest"
                )
            if replicate >= base.settings.replicates:
                raise UserError(
                    f"{place}: {base.entry!r} has {base.settings.replicates} "
                    f"replicates; allowed: at least {settings.replicates}"
                )
            return self._joint(points, base, own, data, replicate)

    def _refuse_unlike(self, place: str, alone: Instance, joint: Instance) -> None:
        """Refuse a comparison of models that differ in more than the adversary."""
        left, right = (
            point.settings.model_dump(mode="json", exclude={"adversary", "replicates"})
            for point in (alone, joint)
        )
        for name, value in left.items():
            if value != right[name]:
                raise UserError(
                    f"{place}: {alone.entry!r} has another {name} than "
                    f"{joint.entry!r}; allowed: the same but for the adversary"
                )

    def _joint(
        self, points: Points, point: Instance, grid: grammar.Grid, data: Artefact,
        replicate: int,
    ) -> Artefact:  # fmt: skip
        """Add a joint model."""
        settings = point.settings
        base = self._joint_base(points, point, grid, data, replicate)
        spec = {
            **settings.model_dump(
                mode="json", exclude={"dataset", "collaboration", "replicates"}
            ),
            "base": base.labels["key"] if base else None,
            "protocol": settings.collaboration.model_dump(mode="json"),
            "seed": self.study.seed,
            "replicate": replicate,
        }
        key = key_of({"data": data.labels["identity"], "spec": spec})
        adversary = settings.adversary
        modules = [ADVERSARIES[adversary.kind]] if adversary else []
        return self._add(
            Artefact(
                "collaborate",
                self._folder("collaborations", key, "joint"),
                spec,
                {
                    "data": [data.folder],
                    **({"base": [base.folder]} if base else {}),
                },
                ("whatelse.training.collaborate", *modules),
                {
                    "name": point.name, "entry": point.entry, "grid": grid,
                    "key": key, "replicate": replicate, "models": "0:1",
                },
            )
        )  # fmt: skip

    def _inputs(
        self, points: Points, attack: Instance, family: Family, release: Any,
        needs: Sequence[str],
    ) -> dict[str, list[str]]:  # fmt: skip
        """Return the folders that an attack on a family reads, by role."""
        place = f"{self.path}: attacks.{attack.entry}"
        tossed = family.settings.split == "coins"
        if tossed != ("canaries" in needs):
            raise UserError(
                f"{place}.models: {family.name} has "
                f"{'' if tossed else 'no '}canaries, {attack.settings.kind} "
                f"{'takes them for other records' if tossed else 'needs them'}; "
                f"allowed: an entry with{'out' if tossed else ''} split: coins"
            )
        released = not {"outputs", "ranks", "signals", "canaries"}.isdisjoint(needs)
        if not released and attack.settings.release != grammar.FULL:
            raise UserError(
                f"{place}.release: {attack.settings.release!r}; allowed: "
                f"{grammar.FULL} (it reads model files, and labels of its own queries)"
            )
        if "benign" in needs and not self._carrier(family):
            raise UserError(
                f"{place}.models: {family.name} carries no secret; allowed: an entry "
                "with tampering, or on a data set by capacity-abuse"
            )
        inputs: dict[str, list[str]] = {}
        if "signals" in needs:
            inputs = self._signals(place, attack, family, release)
        for replicate in range(self._count(family)):
            if "outputs" in needs:
                outputs = self._outputs(family, replicate, release)
                inputs[f"outputs.{replicate}"] = outputs
                if family.settings.has_own_shadow_data:
                    shadows = self._shadows(family, replicate, release)
                    inputs[f"shadows.{replicate}"] = shadows
                    made = self._shadow_data(family, replicate, release)
                    inputs[f"shadow_data.{replicate}"] = [made.folder]
            if "ranks" in needs:
                ranked = self._ranks(place, attack, family, replicate, release)
                inputs[f"outputs.{replicate}"] = ranked
            if "canaries" in needs:
                inputs[f"signals.{replicate}"] = self._all_signals(
                    place, attack, family, replicate, release
                )
            if "models" in needs:
                blocks = self._blocks(family, replicate)
                inputs[f"models.{replicate}"] = [block.folder for block in blocks]
        if not {"models", "data"}.isdisjoint(needs):
            inputs["data"] = [family.data.folder]
        if "benign" in needs:
            self._add_benign(points, attack, family, inputs)
        for role in ("innocent", "unseen"):
            if role in needs:
                # any number of families: the more ways to train, the better
                entry = getattr(attack.settings, role)
                others = [*self._trained(points, attack, entry)]
                self._refuse_carriers(place, role, others)
                folders = [
                    block.folder
                    for other in others
                    for replicate in range(other.settings.replicates)
                    for block in self._blocks(other, replicate)
                ]
                inputs[f"{role}.models.0"] = list(dict.fromkeys(folders))
        return inputs

    def _add_benign(
        self, points: Points, attack: Instance, family: Family,
        inputs: dict[str, list[str]],
    ) -> None:  # fmt: skip
        """Add the models that a family is compared with, as many as it has."""
        entry = attack.settings.benign
        other = self._like(points, attack, "benign", entry, family)
        if self._count(other) < self._count(family):
            raise UserError(
                f"{self.path}: attacks.{attack.entry}.benign: {entry!r} has "
                f"{self._count(other)} replicates; allowed: at least "
                f"{self._count(family)}"
            )
        self._refuse_carriers(f"{self.path}: attacks.{attack.entry}", "benign", [other])
        inputs["benign.data"] = [other.data.folder]
        for replicate in range(self._count(family)):
            blocks = self._blocks(other, replicate)
            inputs[f"benign.models.{replicate}"] = [block.folder for block in blocks]

    def _refuse_carriers(
        self, place: str, role: str, families: Iterable[Family]
    ) -> None:
        """Refuse models that carry a secret where innocent ones are asked for.

        Those that tossed coins for canaries, too: they are tested on these alone.
        """
        for family in families:
            if family.settings.split == "coins":
                raise UserError(
                    f"{place}.{role}: {family.name} has canaries; allowed: an entry "
                    "without split: coins"
                )
            if self._carrier(family):
                raise UserError(
                    f"{place}.{role}: {family.name} carries a secret; allowed: models "
                    "without tampering, on data without synthetic records"
                )

    def _like(
        self, points: Points, attack: Instance, role: str, entry: str, family: Family
    ) -> Family:
        """Return the family of an entry that agrees with another's grid point."""
        found = [
            other
            for other in self._trained(points, attack, entry)
            if all(family.grid.get(k, v) == v for k, v in other.grid.items())
        ]
        if len(found) != 1:
            raise UserError(
                f"{self.path}: attacks.{attack.entry}.{role}: {entry!r} has "
                f"{len(found)} families for {family.name}; allowed: one"
            )
        return found[0]

    def _carrier(self, family: Family) -> dict[str, Any] | None:
        """Return how a family was tampered with: what its adversary knows."""
        if family.spec["tampering"]:
            tampering: dict[str, Any] = family.spec["tampering"]
            return tampering
        preprocess = family.data.spec
        return preprocess if preprocess.get("kind") == "capacity-abuse" else None

    def _count(self, family: Family) -> int:
        return self._limited(family.settings.replicates)

    def _limited(self, count: int) -> int:
        return count if self.replicates is None else min(count, self.replicates)

    def _key(self, family: Family, replicate: int) -> str:
        spec = self._spec(family, replicate)
        return key_of({"data": family.data.labels["identity"], "spec": spec})

    def _spec(self, family: Family, replicate: int) -> dict[str, Any]:
        base = self._key(family.base, replicate) if family.base else None
        return {**family.spec, "base": base, "replicate": replicate}

    def _blocks(self, family: Family, replicate: int) -> list[Artefact]:
        """Add the blocks of a family and those that they start from."""
        bases = self._blocks(family.base, replicate) if family.base else []
        return [
            self._block(family, owner, number, models, bases[number : number + 1])
            for number, (owner, *models) in enumerate(
                _layout(family.settings, replicate)
            )
        ]

    def _block(
        self, family: Family, replicate: int, number: int, models: Sequence[int],
        base: Sequence[Artefact] = (),
    ) -> Artefact:  # fmt: skip
        """Add a block of a family, first model to the one after the last."""
        first, stop = models
        key, tampering = self._key(family, replicate), family.spec["tampering"]
        inputs = {"data": [family.data.folder]}
        if base:
            inputs["base"] = [block.folder for block in base]
        modules = [TAMPERINGS[tampering["kind"]]] if tampering else []
        # Named by its models: studies that share a family but ask for other numbers of
        # shadows share the blocks that are the same.
        return self._add(
            Artefact(
                "train",
                self._folder("models", key, f"block_{first}-{stop}"),
                self._spec(family, replicate),
                inputs,
                ("whatelse.training.command", *modules),
                {
                    "name": family.name, "entry": family.entry,
                    "grid": family.grid, "key": key, "replicate": replicate,
                    "block": number, "models": f"{first}:{stop}",
                },
            )
        )  # fmt: skip

    def _shadows(self, family: Family, replicate: int, release: Any) -> list[str]:
        """Add shadows that learn from data of their own; return their outputs."""
        settings = family.settings
        # Each on its own half of the records, tested on both: none is always a member.
        halves = {"split": "halves", "members": None, "non_members": None}
        data = self._shadow_data(family, replicate, release)
        own = replace(family, data=data, spec={**family.spec, **halves})
        asked, stop = release.model_dump(mode="json"), settings.shadows + 1
        return [
            self._asked(
                self._block(
                    own, replicate, number, (first, min(first + settings.block, stop))
                ),
                asked,
            )
            for number, first in enumerate(range(1, stop, settings.block))
        ]

    def _shadow_data(self, family: Family, replicate: int, release: Any) -> Artefact:
        """Add the data that shadows of a target learn from: for two halves."""
        settings, given = family.settings.shadow_data, family.spec
        kind = SHADOW_DATA[settings.kind]
        spec = {
            "settings": settings.model_dump(mode="json"),
            "records": 2 * given["members"],
            "release": release.model_dump(mode="json") if kind.asks else None,
            **{name: given[name] for name in ("split", "members", "non_members")},
            "seed": given["seed"],
            "replicate": replicate,
        }
        identity = {"spec": spec, "from": family.data.labels["identity"]}
        inputs = {"data": [family.data.folder]}
        if kind.asks:
            target, *_ = self._blocks(family, replicate)
            identity["target"] = target.labels["key"]
            inputs["block"] = [target.folder]
        return self._add(
            Artefact(
                "synthesise",
                self._folder("datasets", "shadow", settings.kind, key_of(identity)),
                spec,
                inputs,
                ("whatelse.membership.synthesise", kind.module),
                {"name": family.name, "identity": identity},
            )
        )

    def _outputs(self, family: Family, replicate: int, asked: Any) -> list[str]:
        """Add what a family answers to what is asked; return the folders."""
        spec = asked.model_dump(mode="json")
        return [self._asked(block, spec) for block in self._blocks(family, replicate)]

    def _ranks(
        self, place: str, attack: Instance, family: Family, replicate: int,
        release: Any,
    ) -> list[str]:  # fmt: skip
        """Add how a family's models rank the words of users; return the folders."""
        settings, unit = attack.settings, family.settings.unit
        if unit is None:
            raise UserError(
                f"{place}.models: {family.name} is dealt out by record; allowed: an "
                "entry with unit, e.g. unit: author"
            )
        if isinstance(release, Label) and settings.scale == "linear":
            raise UserError(
                f"{place}.scale: linear, and {settings.release} releases labels, with "
                "which a word ranks 0 or 1 and all in the first bin; allowed: log"
            )
        asked = Ranks(
            kind="ranks", release=release, attribute=unit, bins=settings.bins,
            scale=settings.scale,
        )  # fmt: skip
        return self._outputs(family, replicate, asked)

    def _signals(
        self, place: str, attack: Instance, family: Family, release: Any
    ) -> dict[str, list[str]]:  # fmt: skip
        """Add signals of targets and of as many reference models as are used."""
        settings = attack.settings
        if family.settings.split != "halves":
            raise UserError(
                f"{place}.models: {family.name} has no reference models; allowed: an "
                "entry with split: halves"
            )
        there = family.settings.shadows
        used = there if settings.references is None else settings.references
        least = settings.least_references
        if used > there or used < least:
            named = "references" if settings.references else "models"
            raise UserError(
                f"{place}.{named}: {used} reference models; allowed: {least}.."
                f"{max(there, least)} (shadows of {family.entry!r}: {there})"
            )
        queries = getattr(settings, "queries", Queries())
        gradients = getattr(settings, "gradients", False)
        if gradients and settings.release != grammar.FULL:
            raise UserError(
                f"{place}.release: {settings.release!r}; allowed: {grammar.FULL} "
                "(who sees weights sees all)"
            )
        spec = Signals(
            kind="signals", release=release, queries=queries, gradients=gradients
        )
        asked = spec.model_dump(mode="json")
        inputs, shared = {}, []
        for replicate in range(self._count(family)):
            target, *references = self._blocks(family, replicate)
            inputs[f"signals.{replicate}"] = [self._asked(target, asked)]
            shared = references
        folders = [
            self._asked(block, asked)
            for block in shared
            if int(block.labels["models"].split(":")[0]) <= used
        ]
        return {**inputs, "references": folders} if folders else inputs

    def _all_signals(
        self, place: str, attack: Instance, family: Family, replicate: int, release: Any
    ) -> list[str]:
        """Add signals of all models of a replicate."""
        least, there = attack.settings.least_models, family.settings.shadows + 1
        if there < least:
            raise UserError(
                f"{place}.models: {family.name} has {there} models a replicate; "
                f"allowed: at least {least} (shadows: {least - 1})"
            )
        privacy = (family.spec["training"] or {}).get("privacy")
        if privacy and privacy["delta"] != attack.settings.delta:
            raise UserError(
                f"{place}.delta: {attack.settings.delta:g}, and {family.name} is "
                f"promised epsilon at {privacy['delta']:g}; allowed: the same"
            )
        asked = Signals(kind="signals", release=release, queries=Queries())
        return self._outputs(family, replicate, asked)

    def _asked(self, block: Artefact, spec: dict[str, Any]) -> str:
        """Add what a block answers to what is asked; return its folder."""
        asked = Artefact(
            "query",
            self._folder(
                "outputs", block.labels["key"], key_of(spec), Path(block.folder).name
            ),
            spec,
            {"data": block.inputs["data"], "block": [block.folder]},
            ("whatelse.training.query",),
            block.labels,
        )
        return self._add(asked).folder

    def _joined(self, user: Instance, *grids: grammar.Grid) -> grammar.Grid:
        """Return a grid crossed with those of entries that an entry refers to."""
        joined: grammar.Grid = {}
        for grid in grids:
            for variable, value in grid.items():
                if joined.setdefault(variable, value) != value:
                    raise UserError(
                        f"{self.path}: {user.section}.{user.entry}.foreach: the grid "
                        f"variable {variable} is also one of an entry that it refers to"
                    )
        return joined

    def _attack_on(
        self, attack: Instance, grid: grammar.Grid, inputs: dict[str, list[str]],
        carrier: dict[str, Any] | None,
    ) -> Artefact:  # fmt: skip
        own = set(grammar.AttackEntry.model_fields)
        settings = {
            key: value
            for key, value in attack.settings.model_dump(mode="json").items()
            if key not in own
        }
        spec = {
            "study": self.study.study,
            "name": attack.entry,
            "grid": grid,
            "seed": self.study.seed,
            "settings": settings,
            "carrier": carrier,
        }
        name = grammar.instance_name(attack.entry, grid)
        return self._add(
            Artefact(
                "attack",
                self._folder("attacks", self.study.study, name),
                spec,
                inputs,
                ("whatelse.attacks", *KINDS[attack.settings.kind].modules),
                {
                    "name": attack.entry,
                    "instance": name,
                    "grid": grid,
                    "stand_in_for": attack.settings.stand_in_for,
                },
            )
        )

    def _imported(self, settings: External) -> Artefact:
        own = self._own(settings.external)
        spec = {"path": own, "title": settings.title}
        return self._add(
            Artefact(
                "import",
                self._folder("outputs", key_of(spec), "imported"),
                spec,
                modules=("whatelse.models.external",),
                labels={"name": settings.title or Path(own).stem},
                files=(own,),
            )
        )

    def _named(
        self, user: str, names: Iterable[str], attacks: Mapping[str, list[Artefact]]
    ) -> list[Artefact]:
        found = []
        for name in names:
            if name not in attacks:
                raise UserError(
                    f"{self.path}: {user}: {name!r} is no attack of this study; "
                    f"allowed: {', '.join(sorted(attacks))}"
                )
            found += attacks[name]
        return found

    def _figure(
        self, name: str, settings: Any, attacks: Mapping[str, list[Artefact]]
    ) -> None:
        drawn = self._named(f"figures.{name}", settings.attacks, attacks)
        for attack in drawn:
            try:
                refuse_undrawn(
                    settings.draws, attack.labels["name"],
                    attack.spec["settings"]["kind"],
                )  # fmt: skip
            except UserError as error:
                raise UserError(f"{self.path}: figures.{name}.{error}") from None
        self._add(
            Artefact(
                "figure",
                self._folder("figures", self.study.study, name),
                {
                    "study": self.study.study,
                    "name": name,
                    "settings": settings.model_dump(mode="json"),
                    "stand_ins": _stand_ins(drawn),
                },
                {"attacks": [attack.folder for attack in drawn]},
                ("whatelse.figures.command", f"whatelse.figures.{settings.kind}"),
                {
                    "name": name,
                    "title": settings.title,
                    "shows": f"{shown_by(settings)} {settings.caption}".strip(),
                },
            )
        )

    def _claims(self, attacks: Mapping[str, list[Artefact]]) -> None:
        published = os.path.relpath(PUBLISHED)
        keys = set()
        for number, claim in enumerate(self.study.claims):
            self._named(f"claims[{number}].attack", [claim.attack], attacks)
            place = f"{self.path}: claims[{number}] ({claim.claim})"
            _single_out(place, claim, attacks)
            keys |= {*published_keys(claim)}
        read_published(published, keys)  # refuses ids that are not there
        files = published_files(published, keys).values()
        judged = self._named("claims", attacks, attacks)
        self._add(
            Artefact(
                "claims",
                self._folder("claims", self.study.study),
                {
                    "study": self.study.study,
                    "claims": [c.model_dump(mode="json") for c in self.study.claims],
                    "stand_ins": _stand_ins(judged),
                },
                {"attacks": [attack.folder for attack in judged]},
                ("whatelse.claims.command",),
                {"name": self.study.study},
                tuple(str(file) for file in files),
            )
        )
