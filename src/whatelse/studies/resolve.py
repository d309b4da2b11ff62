"""What a study resolves to: the artefacts, their specs, inputs and sources.

Snakemake's rules, the tracker, ``whatelse adopt`` and ``whatelse show`` all read this
one description. Nothing here looks at data: counts and keys follow from the study file.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from whatelse.attacks import KINDS
from whatelse.claims.command import published_keys
from whatelse.claims.published import read_published
from whatelse.datasets.prepare import LOADERS, OWN
from whatelse.datasets.registry import FETCHED
from whatelse.errors import UserError
from whatelse.records import canonical_json, key_of
from whatelse.sources import PACKAGE, closure
from whatelse.studies import grammar
from whatelse.studies.grammar import External, Instance, Study, Trained

PUBLISHED = PACKAGE.parents[1] / "data" / "published"
_BUNDLED = ("digits",)


@dataclass(frozen=True)
class Artefact:
    """One folder that a rule makes.

    Attributes
    ----------
    kind : {"dataset", "train", "query", "import", "attack", "figure", "claims"}
        Which rule.
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


class _Resolver:
    def __init__(
        self, path: Path, study: Study, results: Path, replicates: int | None
    ) -> None:
        self.path, self.study, self.results = path, study, results
        self.replicates = replicates
        self.made: dict[str, Artefact] = {}

    def resolve(self) -> list[Artefact]:
        points = {
            section: grammar.instances(self.path, self.study, section)
            for section in grammar.SECTIONS
        }
        for dataset in points["datasets"]:
            self._dataset(dataset)
        attacks: dict[str, list[Artefact]] = {}
        for attack in points["attacks"]:
            models = self._entry(points, attack, "models", attack.settings.models)
            releases: list[Instance | None] = [None]
            if attack.settings.release != grammar.FULL:
                releases = [
                    *self._entry(points, attack, "releases", attack.settings.release)
                ]
            for model in models:
                for release in releases:
                    for made in self._attack(points, attack, model, release):
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
        self, points: Mapping[str, list[Instance]], user: Instance, section: str,
        entry: str,
    ) -> list[Instance]:  # fmt: skip
        found = [point for point in points[section] if point.entry == entry]
        if not found:
            known = sorted({point.entry for point in points[section]}) or ["none"]
            raise UserError(
                f"{self.path}: {user.section}.{user.entry}.{section}: {entry!r} is not "
                f"in {section}; allowed: {', '.join(known)}"
            )
        return found

    def _grid(self, *points: Instance | None) -> grammar.Grid:
        grid: grammar.Grid = {}
        for point in filter(None, points):
            for variable, value in point.grid.items():
                if variable in grid and grid[variable] != value:
                    raise UserError(
                        f"{self.path}: {point.section}.{point.entry}.foreach: the grid "
                        f"variable {variable} is also one of an entry that it refers to"
                    )
                grid[variable] = value
        return grid

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
                labels={"name": point.name},
                files=files,
            )
        )

    def _attack(
        self, points: Mapping[str, list[Instance]], attack: Instance, model: Instance,
        release: Instance | None,
    ) -> Iterable[Artefact]:  # fmt: skip
        release_settings = release.settings if release else grammar.default_release()
        if isinstance(model.settings, External):
            grid = self._grid(model, release, attack)
            outputs = [[self._imported(model.settings).folder]]
            yield self._attack_on(attack, grid, outputs)
            return
        datasets = self._entry(points, model, "datasets", model.settings.dataset)
        for dataset in datasets:
            grid = self._grid(dataset, model, release, attack)
            outputs = self._outputs(dataset, model, release_settings)
            yield self._attack_on(attack, grid, outputs)

    def _attack_on(
        self, attack: Instance, grid: grammar.Grid, outputs: list[list[str]]
    ) -> Artefact:
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
        }
        name = grammar.instance_name(attack.entry, grid)
        return self._add(
            Artefact(
                "attack",
                self._folder("attacks", self.study.study, name),
                spec,
                {
                    f"outputs.{number}": folders
                    for number, folders in enumerate(outputs)
                },
                ("whatelse.attacks", KINDS[attack.settings.kind]),
                {"name": attack.entry, "instance": name, "grid": grid},
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

    def _outputs(
        self, dataset: Instance, model: Instance, release: Any
    ) -> list[list[str]]:
        """Add a model entry's blocks and their outputs; return the outputs' folders."""
        settings: Trained = model.settings
        data = self._dataset(dataset)
        count = settings.replicates
        if self.replicates is not None:
            count = min(count, self.replicates)
        release_spec = release.model_dump(mode="json")
        # The models' own grid: attacks of several grid points share them.
        grid = self._grid(dataset, model)
        found = []
        for replicate in range(count):
            spec = {
                "architecture": settings.architecture.model_dump(mode="json"),
                "training": settings.training.model_dump(mode="json"),
                "members": settings.members,
                "non_members": settings.non_members,
                "seed": self.study.seed,
                "replicate": replicate,
            }
            key = key_of({"data": data.spec, "spec": spec})
            name = grammar.instance_name(model.entry, grid)
            folders = []
            for block, first in enumerate(
                range(0, settings.shadows + 1, settings.block)
            ):
                stop = min(first + settings.block, settings.shadows + 1)
                # Named by its models: studies that share a family but ask for other
                # numbers of shadows share the blocks that are the same.
                folder = f"block_{first}-{stop}"
                labels = {
                    "name": name, "entry": model.entry, "grid": grid, "key": key,
                    "replicate": replicate, "block": block, "models": f"{first}:{stop}",
                }  # fmt: skip
                trained = self._add(
                    Artefact(
                        "train",
                        self._folder("models", key, folder),
                        spec,
                        {"data": [data.folder]},
                        ("whatelse.training.command",),
                        labels,
                    )
                )
                asked = self._add(
                    Artefact(
                        "query",
                        self._folder("outputs", key, key_of(release_spec), folder),
                        release_spec,
                        {"data": [data.folder], "block": [trained.folder]},
                        ("whatelse.training.query",),
                        labels,
                    )
                )
                folders.append(asked.folder)
            found.append(folders)
        return found

    def _named(
        self, user: str, names: Iterable[str], attacks: Mapping[str, list[Artefact]]
    ) -> list[str]:
        folders = []
        for name in names:
            if name not in attacks:
                raise UserError(
                    f"{self.path}: {user}: {name!r} is no attack of this study; "
                    f"allowed: {', '.join(sorted(attacks))}"
                )
            folders += [attack.folder for attack in attacks[name]]
        return folders

    def _figure(
        self, name: str, settings: Any, attacks: Mapping[str, list[Artefact]]
    ) -> None:
        self._add(
            Artefact(
                "figure",
                self._folder("figures", self.study.study, name),
                {
                    "study": self.study.study,
                    "name": name,
                    "settings": settings.model_dump(mode="json"),
                },
                {"attacks": self._named(f"figures.{name}", settings.attacks, attacks)},
                ("whatelse.figures.command", f"whatelse.figures.{settings.kind}"),
                {"name": name, "kind": settings.kind, "title": settings.title},
            )
        )

    def _claims(self, attacks: Mapping[str, list[Artefact]]) -> None:
        published = os.path.relpath(PUBLISHED)
        files = set()
        for number, claim in enumerate(self.study.claims):
            self._named(f"claims[{number}].attack", [claim.attack], attacks)
            keys = list(published_keys(claim))
            read_published(Path(published), keys)  # refuses ids that are not there
            files |= {f"{published}/{key.split('/')[0]}.yaml" for key in keys}
        self._add(
            Artefact(
                "claims",
                self._folder("claims", self.study.study),
                {
                    "study": self.study.study,
                    "claims": [c.model_dump(mode="json") for c in self.study.claims],
                },
                {"attacks": self._named("claims", attacks, attacks)},
                ("whatelse.claims.command",),
                {"name": self.study.study},
                tuple(sorted(files)),
            )
        )
