"""The grammar of a study file; ``config/README.md`` is its manual.

An entry of ``datasets``, ``models``, ``releases`` or ``attacks`` may carry ``foreach``:
field paths with lists of values. It then stands for every point of that grid.
"""

import itertools
import json
import re
from collections.abc import Hashable, Iterator, Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    create_model,
    model_validator,
)

from whatelse.arguments import validation_line
from whatelse.backdoors.adversary_settings import (
    BackdoorAdversary,
    Cars,
    Cluster,
    Records,
)
from whatelse.backdoors.cars import CLASS as CARS_ARE
from whatelse.backdoors.settings import BackdoorAttack
from whatelse.claims.settings import Claim
from whatelse.datasets.canaries import Canaries
from whatelse.datasets.phrases import Phrases
from whatelse.datasets.settings import DatasetSettings
from whatelse.datasets.split import Split
from whatelse.datasets.task import Task
from whatelse.errors import UserError
from whatelse.figures.settings import FigureSettings
from whatelse.membership.settings import MembershipAttack
from whatelse.membership.shadow_data_settings import Real, ShadowData
from whatelse.memorization.carrier_settings import CapacityAbuse, Lsb, Tampering
from whatelse.memorization.settings import MemorizationAttack
from whatelse.models.settings import (
    ArchitectureSettings,
    Probabilities,
    ReleaseSettings,
)
from whatelse.properties.adversary_settings import (
    MembershipAdversary,
    PropertyAdversary,
)
from whatelse.properties.settings import PropertyAttack
from whatelse.training.federated_settings import (
    Averaging,
    ByAttribute,
    ByLot,
    Deal,
    Protocol,
    rounds_of,
)
from whatelse.training.settings import (
    CentralTraining,
    TrainingSettings,
    refuse_to_hold_back,
    refuse_unprivate,
)

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,59}$")]
Grid = dict[str, Any]
Adversary = Annotated[
    PropertyAdversary | MembershipAdversary | BackdoorAdversary,
    Field(discriminator="kind"),
]
FULL = "full"
_MERGE = "tag:yaml.org,2002:merge"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DerivedDataset(_Entry):
    """A data set that a step makes from another."""

    base: Name = Field(..., alias="from", description="A data set of this study.")
    preprocess: Annotated[
        Split | Task | CapacityAbuse | Canaries | Phrases, Field(discriminator="kind")
    ]


class Trained(_Entry):
    """Models to train: a target and its shadows for each replicate."""

    dataset: Name = Field(..., description="A data set of this study.")
    architecture: ArchitectureSettings
    training: CentralTraining
    split: Literal["random", "given", "halves", "coins"] = Field(
        "random",
        description="random: each model draws members and held-out records from all. "
        "given: from the two parts of the data set's own split. halves: each is "
        "trained on half of the same records, and shadows are reference models: they "
        "hold each record in exactly half of them, and serve all replicates. coins: "
        "each is trained on the training part of a data set with canaries, and on each "
        "canary by a fair coin.",
    )
    members: int | None = Field(
        None,
        ge=2,
        description="Training-set size of every model; needed with a random split, the "
        "whole training part of a given one if left out. With halves, twice as many "
        "records take part, all if left out; the others are the population.",
    )
    non_members: int | None = Field(
        None,
        ge=2,
        description="Records held out to test a model on; as many as members if left "
        "out, or the whole test part of a given split.",
    )
    unit: str | None = Field(
        None,
        min_length=1,
        description="An attribute of the data set, e.g. author, whose values are dealt "
        "out whole: members and non_members count authors, not records.",
    )
    tampering: Tampering | None = Field(
        None, description="What an adversary does inside training."
    )
    independent: bool = Field(
        False,
        description="Initial weights and batches of their own. Otherwise models of one "
        "number and replicate begin alike in all entries, which pairs them.",
    )
    shadows: int = Field(
        ..., ge=0, le=100_000, description="Shadow models a target; 0 for none."
    )
    shadow_data: ShadowData = Field(
        Real(), description="What shadows are trained and tested on (P1 Sec. V-C)."
    )
    replicates: int = Field(
        1, ge=1, le=1000, description="Targets, each with its own draw and shadows."
    )
    block: int = Field(
        8, ge=2, le=4096, description="Models that are trained and stored together."
    )

    @property
    def has_own_shadow_data(self) -> bool:
        """Whether shadows learn from other data than the target's."""
        return not isinstance(self.shadow_data, Real)

    @model_validator(mode="after")
    def _random_needs_a_size(self) -> "Trained":
        if self.split == "random" and self.members is None:
            raise ValueError("members: needed with a random split")
        return self

    @model_validator(mode="after")
    def _coins_decide(self) -> "Trained":
        for name in ("members", "non_members"):
            if self.split == "coins" and getattr(self, name) is not None:
                raise ValueError(
                    f"{name}: {getattr(self, name)}; allowed with coins: left out (the "
                    "training part, and canaries by their coins)"
                )
        return self

    @model_validator(mode="after")
    def _private_if_asked(self) -> "Trained":
        refuse_unprivate(self.architecture, self.training)
        if self.training.privacy and self.tampering:
            raise ValueError(
                f"tampering: {self.tampering.kind}, which looks at records beside the "
                "gradients; allowed with training.privacy: left out"
            )
        return self

    @model_validator(mode="after")
    def _holds_nothing_back(self) -> "Trained":
        refuse_to_hold_back(self.split, self.training)
        return self

    @model_validator(mode="after")
    def _halves_come_in_pairs(self) -> "Trained":
        if self.split == "halves" and self.shadows % 2:
            raise ValueError(
                f"shadows: {self.shadows} do not hold each record in half of them; "
                "allowed with halves: an even number"
            )
        if self.split == "halves" and self.non_members is not None:
            raise ValueError(
                f"non_members: {self.non_members}; allowed with halves: left out (a "
                "model is tested on the half that it was not trained on)"
            )
        return self

    @model_validator(mode="after")
    def _units_are_drawn_by_lot(self) -> "Trained":
        if self.unit and self.split != "random":
            raise ValueError(f"unit: {self.unit}; allowed with split: random")
        if self.unit and self.has_own_shadow_data:
            raise ValueError(
                f"shadow_data: {self.shadow_data.kind}; allowed with unit: real "
                f"(records that are made belong to no {self.unit})"
            )
        return self

    @model_validator(mode="after")
    def _shadows_have_their_data(self) -> "Trained":
        kind = self.shadow_data.kind
        if not self.has_own_shadow_data:
            return self
        if self.split == "halves":
            raise ValueError(
                f"shadow_data: {kind}; allowed with halves: real (reference models "
                "are trained on the records that the target is asked about)"
            )
        if self.split == "coins":
            raise ValueError(
                f"shadow_data: {kind}; allowed with coins: real (an audit asks about "
                "canaries, and shadows share the other records with the target)"
            )
        if self.members is None:
            raise ValueError(f"members: needed with shadow_data {kind}")
        if not self.shadows:
            raise ValueError(f"shadows: 0; allowed with shadow_data {kind}: 1 or more")
        return self


class Continued(_Entry):
    """Models that start from those of another entry, one from each."""

    base: Name = Field(..., alias="from", description="An entry of `models`.")
    training: TrainingSettings | None = Field(
        None, description="Trained on, on the same records; not at all if left out."
    )
    tampering: Tampering | None = Field(
        None, description="What an adversary does to them, or inside this training."
    )

    @model_validator(mode="after")
    def _changes_something(self) -> "Continued":
        if self.training is None and not isinstance(self.tampering, Lsb):
            raise ValueError(
                "training: left out; allowed with tampering lsb alone, which needs none"
            )
        return self


class Collaborative(_Entry):
    """A joint model of several participants, for each replicate."""

    dataset: Name = Field(..., description="A data set of this study.")
    architecture: ArchitectureSettings
    base: Name | None = Field(
        None,
        alias="from",
        description="An entry of joint models that these start from, one from each.",
    )
    collaboration: Protocol
    participants: int = Field(..., ge=2, le=100_000)
    split: Literal["random", "given"] = Field(
        "random",
        description="random: some records are held out, by lot. given: those of the "
        "data set's own test part.",
    )
    held_out: float = Field(
        0.2, gt=0, lt=1, description="Share of records held out, of a random split."
    )
    deal: Deal = Field(ByLot(), description="How records are dealt out.")
    adversary: Adversary | None = Field(
        None, description="What a participant does to learn of others, or to the model."
    )
    replicates: int = Field(1, ge=1, le=1000, description="Joint models.")

    @model_validator(mode="after")
    def _adversary_sees_every_round(self) -> "Collaborative":
        if isinstance(self.adversary, BackdoorAdversary):
            return self
        chosen = getattr(self.collaboration, "selected", None)
        if self.adversary and chosen not in (None, self.participants):
            raise ValueError(
                "collaboration.selected: with an adversary that looks all take part; "
                "allowed: left out"
            )
        if self.adversary and getattr(self.collaboration, "defence", None):
            raise ValueError(
                "collaboration.defence: not with an adversary that looks, which takes "
                "what it sees for a sum; allowed: left out"
            )
        return self

    @model_validator(mode="after")
    def _adversary_sees_enough(self) -> "Collaborative":
        if isinstance(self.adversary, PropertyAdversary):
            self.adversary.refuse_too_short(rounds_of(self.collaboration))
        return self

    @model_validator(mode="after")
    def _enough_are_selected(self) -> "Collaborative":
        protocol = self.collaboration
        if not isinstance(protocol, Averaging):
            return self
        selected = protocol.selected or self.participants
        if selected > self.participants:
            raise ValueError(
                f"collaboration.selected: {selected}; allowed: 1..{self.participants}, "
                "the participants"
            )
        if protocol.defence:
            try:
                protocol.defence.refuse(selected)
            except ValueError as error:
                raise ValueError(f"collaboration.defence.{error}") from None
        return self

    @model_validator(mode="after")
    def _backdoor_can_be_done(self) -> "Collaborative":
        adversary, protocol = self.adversary, self.collaboration
        if not isinstance(adversary, BackdoorAdversary):
            return self
        if not isinstance(protocol, Averaging):
            raise ValueError("collaboration.kind: gradients; allowed: averaging")
        if protocol.weights != "equal":
            raise ValueError(
                "collaboration.weights: records; allowed with a backdoor: equal, as P4"
            )
        if adversary.attackers >= self.participants:
            raise ValueError(
                f"adversary.attackers: {adversary.attackers}; allowed: "
                f"1..{self.participants - 1}, fewer than participants"
            )
        if adversary.share and adversary.share * adversary.attackers >= 1:
            raise ValueError(
                f"adversary.share: {adversary.share} of {adversary.attackers} "
                f"attackers each; allowed: below {1 / adversary.attackers:.3g}, which "
                "leaves the others some"
            )
        if adversary.share and isinstance(self.deal, ByAttribute):
            raise ValueError(
                "deal.kind: attribute; allowed with adversary.share: lot, dirichlet"
            )
        if adversary.training.loss != protocol.loss:
            raise ValueError(
                f"adversary.training.loss: {adversary.training.loss}; allowed: "
                f"{protocol.loss}, as collaboration.loss"
            )
        selected = protocol.selected or self.participants
        if adversary.rounds and adversary.attackers > selected:
            raise ValueError(
                f"adversary.attackers: {adversary.attackers}; allowed: 1..{selected}, "
                "the selected of a round, or rounds left out"
            )
        if adversary.rounds and max(adversary.rounds) >= protocol.rounds:
            raise ValueError(
                f"adversary.rounds: {max(adversary.rounds)}; allowed: "
                f"0..{protocol.rounds - 1}"
            )
        if adversary.rounds and len({*adversary.rounds}) < len(adversary.rounds):
            raise ValueError(
                f"adversary.rounds: {list(adversary.rounds)}; allowed: each round once"
            )
        return self

    @model_validator(mode="after")
    def _backdoor_wants_another_class(self) -> "Collaborative":
        # here and not in its settings: nothing that was trained is made again for it
        adversary = self.adversary
        if not isinstance(adversary, BackdoorAdversary):
            return self
        chosen = adversary.backdoor
        true = CARS_ARE if isinstance(chosen, Cars) else getattr(chosen, "of", None)
        if true and adversary.target == true:
            raise ValueError(
                f"adversary.target: {adversary.target!r} is the class of the "
                "backdoor's records already; allowed: another"
            )
        return self

    @property
    def withheld(self) -> dict[str, Any] | None:
        """Which records attackers alone hold; None without a backdoor."""
        if not isinstance(self.adversary, BackdoorAdversary):
            return None
        chosen = self.adversary.backdoor
        if isinstance(chosen, Records):
            return {"rows": {*chosen.train, *chosen.held_out, *chosen.excluded}}
        if isinstance(chosen, Cars | Cluster):  # all groups, and the whole cluster
            return chosen.model_dump(include={"kind", "of", "clusters", "which"})
        return {}  # a pattern or a sentence needs none


class External(_Entry):
    """A model that you trained elsewhere, by its outputs."""

    external: str = Field(
        ...,
        min_length=1,
        description="An .npz or .parquet file of outputs, as in config/README.md.",
    )
    title: str = Field("", description="Name in figures; the file's name if empty.")


class AttackEntry(_Entry):
    """What every attack entry has beside the attack's own settings."""

    models: Name = Field(..., description="An entry of `models`; all its grid points.")
    release: Name = Field(
        FULL, description="An entry of `releases`, or full: all probabilities."
    )
    stand_in_for: str | None = Field(
        None,
        min_length=1,
        description="The paper's data that this attack's stand in for, where the "
        "registry of data sets does not say so or names others. Figures, claims and "
        "MLflow call them a stand-in; nothing is made again for it.",
    )


# Each attack's settings with the entry's fields: made here so that a new attack needs
# nothing but its settings.
_ENTRIES = [
    create_model(f"{kind.__name__}Entry", __base__=(AttackEntry, kind))
    for union in (MembershipAttack, MemorizationAttack, PropertyAttack, BackdoorAttack)
    for kind in get_args(get_args(union)[0]) or get_args(union)[:1]
]
ATTACK: Any = Annotated[reduce(or_, _ENTRIES), Field(discriminator="kind")]


class Study(_Entry):
    """One study: what is learned from, trained, attacked, drawn and claimed."""

    study: Name = Field(..., description="Its name; that of the file.")
    question: Literal["membership", "memorization", "properties", "backdoors"] = Field(
        ..., description="Which question it asks."
    )
    title: str = Field(..., min_length=1, description="Heading in report and MLflow.")
    description: str = Field("", description="A few sentences for the report.")
    seed: int = Field(
        ..., ge=0, lt=2**63, description="Every random number derives from it."
    )
    datasets: dict[Name, Any] = {}
    models: dict[Name, Any] = Field(..., min_length=1)
    releases: dict[Name, Any] = {}
    attacks: dict[Name, Any] = Field(..., min_length=1)
    figures: dict[Name, FigureSettings] = {}
    claims: tuple[Claim, ...] = ()


SECTIONS: dict[str, Any] = {
    "datasets": DatasetSettings | DerivedDataset,
    "models": Trained | Continued | Collaborative | External,
    "releases": ReleaseSettings,
    "attacks": ATTACK,
}


class Instance(BaseModel):
    """One grid point of an entry."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    section: str
    entry: str
    grid: Grid
    settings: Any

    @property
    def name(self) -> str:
        """The entry's name with the grid point: what folders are called."""
        return instance_name(self.entry, self.grid)


def instance_name(entry: str, grid: Grid) -> str:
    """Return e.g. ``net.members-100``."""
    words = [
        f"{variable}-{re.sub(r'[^A-Za-z0-9_+]+', '_', str(value)).strip('_')}"
        for variable, value in grid.items()
    ]
    return ".".join([entry, *words])


class _Loader(yaml.SafeLoader):
    """Safe YAML in which a key is text and stands once: the last would win."""

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in ("tag:yaml.org,2002:str", _MERGE):
                raise yaml.YAMLError(f"line {line}: a key is no text")
            if key.value in seen:
                raise yaml.YAMLError(f"line {line}: the key {key.value} stands twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_study(path: Path) -> Study:
    """Read a study file and check all that can be known without data.

    Parameters
    ----------
    path : Path
        YAML.

    Returns
    -------
    Study
        Sections with grids are kept raw; `instances` expands them.

    Raises
    ------
    UserError
        In one line: the file, the field, the value and what is allowed.
    """
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path}: no such study file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    study: Study = _validated(str(path), Study, raw)
    if study.study != path.stem:
        raise UserError(
            f"{path}: study: {study.study!r} is not the file's name; allowed: "
            f"{path.stem!r}"
        )
    if FULL in study.releases:
        raise UserError(
            f"{path}: releases.{FULL}: the name stands for all probabilities; "
            "allowed: another name"
        )
    return study


def instances(path: Path, study: Study, section: str) -> list[Instance]:
    """Return every grid point of every entry of a section, settings checked."""
    found: list[Instance] = []
    for entry, raw in getattr(study, section).items():
        where = f"{path}: {section}.{entry}"
        for grid, point in _grid(where, raw):
            place = where + "".join(f" [{k}={v}]" for k, v in grid.items())
            settings = _validated(place, SECTIONS[section], point)
            instance = Instance(
                section=section, entry=entry, grid=grid, settings=settings
            )
            # Folders are called by it: of two with one name, one would be lost.
            if any(instance.name == other.name for other in found):
                raise UserError(
                    f"{place}: another point is called {instance.name} too; allowed: "
                    "values that differ in letters or digits"
                )
            found.append(instance)
    return found


def _validated(where: str, schema: Any, raw: Any) -> Any:
    # Through JSON: YAML's lists are tuples there, and its dates plain text.
    try:
        text = json.dumps(raw, default=str)
    except (ValueError, RecursionError):
        raise UserError(f"{where}: an entry refers to itself") from None
    # By what names another: a union's errors would be those of every choice.
    if schema is SECTIONS["models"] and isinstance(raw, Mapping):
        schema = Continued if "from" in raw else Trained
        schema = Collaborative if "collaboration" in raw else schema
        schema = External if "external" in raw else schema
    if schema is SECTIONS["datasets"] and isinstance(raw, Mapping):
        schema = DerivedDataset if "from" in raw else DatasetSettings
    try:
        return TypeAdapter(schema).validate_json(text)
    except ValidationError as error:
        raise UserError(validation_line(where, error, schema)) from None


def _grid(where: str, raw: Any) -> Iterator[tuple[Grid, Any]]:
    """Yield (grid point, entry with its values) for an entry with ``foreach``."""
    if not isinstance(raw, dict):
        raise UserError(f"{where}: {raw!r} is no entry; allowed: a mapping of fields")
    axes = raw.get("foreach", {})
    plain = {key: value for key, value in raw.items() if key != "foreach"}
    if not isinstance(axes, dict):
        raise UserError(f"{where}.foreach: allowed: a mapping of field to values")
    for field, values in axes.items():
        if not isinstance(values, list) or not values:
            raise UserError(f"{where}.foreach.{field}: allowed: a list of values")
        if len({json.dumps(v, default=str) for v in values}) < len(values):
            raise UserError(f"{where}.foreach.{field}: a value occurs twice")
    variables = [str(field).rsplit(".", 1)[-1] for field in axes]
    if len(set(variables)) < len(variables):
        raise UserError(f"{where}.foreach: two fields with one last name: {variables}")
    for values in itertools.product(*axes.values()):
        point = json.loads(json.dumps(plain, default=str))
        for field, value in zip(axes, values, strict=True):
            _set(where, point, str(field).split("."), value)
        yield dict(zip(variables, values, strict=True)), point


def _set(where: str, point: dict[str, Any], field: list[str], value: Any) -> None:
    for part in field[:-1]:
        point = point.setdefault(part, {})
        if not isinstance(point, dict):
            raise UserError(f"{where}.foreach: {'.'.join(field)}: {part} is no mapping")
    point[field[-1]] = value


def default_release() -> ReleaseSettings:
    """Return what `release: full` means."""
    return Probabilities()
