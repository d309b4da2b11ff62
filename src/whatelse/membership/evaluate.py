"""What a membership attack found, with its controls: metrics, curves, scores."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.spread import spread
from whatelse.membership.reports import (
    Attacked,
    Target,
    findings,
    halves,
    module_of,
    promised,
)
from whatelse.membership.settings import settings_of
from whatelse.membership.shadow_data_settings import ModelBased, Noisy, SynthesisSpec
from whatelse.models.outputs import CONTROL, TARGET, Outputs, load_outputs
from whatelse.records import RECORD, canonical_json, read_json

MakeScorer = Callable[..., Any]


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Run a membership attack on the outputs of each replicate."""
    settings = settings_of(spec)
    module = module_of(settings)
    replicates = [load_outputs(folders) for folders in replicates_of(inputs, "outputs")]
    others = [load_outputs(folders) for folders in replicates_of(inputs, "shadows")]
    if others:
        replicates = [*map(_with_shadows, replicates, others)]
    found = evaluate(
        module.Scorer,
        settings,
        replicates,
        needs_shadows=module.NEEDS_SHADOWS,
        seed=spec.seed,
    )
    made = [shadow_data(folder) for (folder,) in replicates_of(inputs, "shadow_data")]
    for reported, own in zip(found.metrics["replicates"], made, strict=False):
        reported["shadow_data"] = own
    if made:
        each = [own["queries"] / own["records"] for own in made]
        found.metrics["summary"]["synthesis_queries"] = spread(each)
    return found


def shadow_data(folder: Path) -> dict[str, Any]:
    """Return what is said of records that were made for shadows.

    Parameters
    ----------
    folder : Path
        Of the data set that ``whatelse synthesise`` wrote.

    Returns
    -------
    dict
        Its ``title``, ``records`` and ``remarks``, and ``queries``: how often the
        target was asked in all, searches that failed included.
    """
    dataset = open_dataset(folder)
    about = {name: dataset.info[name] for name in ("title", "records", "remarks")}
    spec = SynthesisSpec.model_validate_json(
        canonical_json(read_json(folder / RECORD)["spec"])
    )
    if isinstance(spec.settings, Noisy):  # of nobody is anything asked
        return {**about, "queries": 0}
    queries = int(dataset.attributes["queries"].sum())
    if isinstance(spec.settings, ModelBased):  # a search fails when it may ask no more
        failed = spec.records - dataset.num_records
        queries += failed * spec.settings.iter_max
    return {**about, "queries": queries}


def _with_shadows(target: Outputs, shadows: Outputs) -> Outputs:
    """Return a target's rows with those of shadows on other data in its own's place.

    The control stays: a model on real records that saw none of the target's.
    """
    kept = target.of(target.model <= TARGET)
    joined = {
        column.name: np.concatenate(
            [getattr(kept, column.name), getattr(shadows, column.name)]
        )
        for column in fields(Outputs)
        if column.name != "about" and getattr(kept, column.name) is not None
    }
    return Outputs(**joined, about=target.about)


def evaluate(
    make_scorer: MakeScorer,
    settings: Any,
    replicates: Sequence[Outputs],
    *,
    needs_shadows: bool,
    seed: int,
) -> Findings:
    """Run an attack on the target of each replicate, with both controls.

    Parameters
    ----------
    make_scorer : callable
        ``Scorer`` of the attack's module.
    settings : MembershipAttack
        The attack's.
    replicates : sequence of Outputs
        Rows of the target, of its shadows and of the control model.
    needs_shadows : bool
        Whether the attack is fitted on shadows.
    seed : int
        The study's seed.

    Returns
    -------
    Findings

    Raises
    ------
    UserError
        If the outputs lack what the attack needs.
    """
    attacked = [
        _attack(make_scorer, settings, number, replicates, needs_shadows, seed)
        for number in range(len(replicates))
    ]
    return findings(replicates[0].about, settings.false_positive_rates, attacked)


def _attack(
    make_scorer: MakeScorer, settings: Any, number: int, replicates: Sequence[Outputs],
    needs_shadows: bool, seed: int,
) -> Attacked:  # fmt: skip
    outputs, other = replicates[number], replicates[number - 1]
    rows = outputs.of(outputs.model == TARGET)
    shadows = outputs.of(outputs.model > TARGET)
    if needs_shadows and not len(shadows.model):
        raise UserError(
            f"attack kind: {settings.kind} needs outputs of shadow models, and "
            "there are none; allowed without: membership.threshold"
        )
    scorer = make_scorer(settings, shadows, seed=seed, name=(number,))
    score = scorer.score(rows)
    return Attacked(
        _target(rows), score, scorer.decide(score, rows),
        controls={
            "negative": _negative(scorer, outputs, other, seed, number),
            "positive": _positive(make_scorer, settings, rows, shadows, seed, number),
        },
        # a row is an answer; of users, one for each word
        queries=1.0 if rows.asked is None else float(rows.asked.mean()),
        more=promised(rows.about),
    )  # fmt: skip


def _target(rows: Outputs) -> Target:
    if rows.asked is not None:
        return Target(rows.record, rows.label, rows.member, rows.correct, rows.asked)
    return Target(
        rows.record, rows.label, rows.member, rows.correct,
        true_probability=np.exp(rows.log_probability), entropy=rows.entropy,
    )  # fmt: skip


def _negative(
    scorer: Any, outputs: Outputs, other: Outputs, seed: int, number: int
) -> Control:
    """Send records that a model never saw through the attack as "members".

    The model is a shadow and the "members" are the target's: drawn like members, in
    their proportion and place, yet unseen. If shadows had been trained on the target's
    data, or if members and non-members differed by how they were drawn, this fails.
    Reference models saw half of the target's members each: there, the model is the
    target of another replicate. Outputs that a user brings have neither: random halves
    of the non-members stand against each other.
    """
    kind = "a model that saw neither, on the target's members and non-members"
    target = outputs.of(outputs.model == TARGET)
    control = outputs.of(outputs.model == CONTROL)
    if not len(control.model):
        kind = f"{kind}: another target"
        control = _unseen(target, other.of(other.model == TARGET))
    if not 0 < control.member.sum() < len(control.member):
        kind = "random halves of the target's non-members"
        control = target.of(~target.member)
        control = replace(control, member=_halves(control, seed, number))
    score = scorer.score(control)
    return control_of(kind, score, control.member)


def _unseen(target: Outputs, other: Outputs) -> Outputs:
    """Return another target's rows of records that it never saw, by whose ours are."""
    if not np.array_equal(target.record, other.record):
        return other.of(np.zeros(len(other.record), dtype=bool))
    unseen = ~other.member
    return replace(other.of(unseen), member=target.member[unseen])


def _positive(
    make_scorer: MakeScorer,
    settings: Any,
    target: Outputs,
    shadows: Outputs,
    seed: int,
    number: int,
) -> Control:
    """Plant a leak in outputs that have none; the attack must find it.

    Of non-members alone, a random half is called members and their outputs are moved
    halfway to the true class, the others halfway to uniform, for shadows and target
    alike. The attack is fitted and run on these as on the real ones.
    """
    planted_shadows = _plant(shadows, seed, number) if len(shadows.model) else shadows
    planted = _plant(target, seed, number)
    scorer = make_scorer(
        settings.for_control(), planted_shadows, seed=seed, name=(number, "plant")
    )
    score = scorer.score(planted)
    what = "a leak planted in the outputs of non-members"
    return control_of(what, score, planted.member)


def _plant(outputs: Outputs, seed: int, number: int) -> Outputs:
    innocent = outputs.of(~outputs.member)
    member = _halves(innocent, seed, number)
    rows, classes = innocent.probabilities.shape
    toward = np.full((rows, classes), 1.0 / classes, dtype=np.float32)
    toward[member] = 0.0
    toward[member, innocent.label[member]] = 1.0
    mixed = ((innocent.probabilities + toward) / 2).astype(np.float32)
    return replace(innocent, member=member, probabilities=mixed)


def _halves(outputs: Outputs, seed: int, number: int) -> NDArray[np.bool_]:
    """Return a random half of the rows, even within every model and class."""
    return halves(seed, number, outputs.label, outputs.model)
