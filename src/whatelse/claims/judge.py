"""Verdicts: our numbers held to what a study claims. No files, no randomness."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from whatelse.claims.published import FROM_MEMORY, Published
from whatelse.claims.results import Instance, looked_at, number_of, value_of
from whatelse.claims.settings import (
    Above,
    Alike,
    Below,
    Between,
    Claim,
    Comparable,
    FallsWith,
    GrowsWith,
    LowerBound,
    NotBelow,
    Relation,
    Several,
    UpperBound,
    Within,
)
from whatelse.errors import UserError
from whatelse.measures.controls import holm
from whatelse.measures.spread import spread

Verdict = Literal[
    "reproduced",
    "missed",
    "not comparable",
    "shape only",
    "shown only",
    "not judged: one seed",
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Every verdict on a claim, in the order in which they are counted."""

FOUND = 0.75
"""A planted leak is found if the lower end of its AUC's interval is above this."""

ALPHA = 0.05
"""Chance that a study without fault fails any of its negative controls."""

# Bounds are decimal numbers; 0.678 - 0.648 must not be more than 0.03.
_ROUNDING = 1e-9


def judge(
    claim: Claim,
    instances: Sequence[Instance],
    *,
    published: Mapping[str, Published],
    place: str,
) -> dict[str, Any]:
    """Hold a study's results to one claim.

    Parameters
    ----------
    claim : Claim
        What is claimed.
    instances : sequence of Instance
        Every attack of the study.
    published : mapping of str to Published
        By key; has all that the claim names.
    place : str
        How messages call the claim, e.g. ``claims[2]``.

    Returns
    -------
    dict
        The claim's row: the claim, the published number, ours (the mean over seeds,
        or the difference that is judged), the points that were looked at, the
        verdict and the reason in words.

    Raises
    ------
    UserError
        If the claim's conditions do not fit what exists, or the published number
        cannot be used as asked.
    """
    paper = published[claim.published] if claim.published else None
    relation = claim.relation
    found = looked_at(claim, instances, place=place)
    if isinstance(relation, GrowsWith | FallsWith):
        points, ours, verdict, reason = _trend(claim, relation, found, place)
    elif isinstance(relation, Above | Below | NotBelow | Alike):
        points, ours, verdict, reason = _order(claim, relation, found, place)
    elif isinstance(relation, Several):
        points, ours, verdict, reason = _several(claim, relation, found, place)
    else:
        points, ours, verdict, reason = _bound(claim, relation, found, paper, place)
    originals = sorted({p["stand_in_for"] for p in points if p["stand_in_for"]})
    remarks = []
    if isinstance(relation, Within) and paper and paper.number.mark == FROM_MEMORY:
        verdict = "shown only"
        remarks.append("the published number is from memory and decides nothing")
    elif isinstance(relation, Within) and originals:
        verdict = "shape only"
        remarks.append("numbers of different data sets are not held to each other")
    elif claim.comparable:
        far = _too_far(claim.comparable, points[0], published, place)
        if far:
            verdict, reason = "not comparable", f"{far} ({reason})"
    if originals:
        remarks.append(f"on a stand-in for {', '.join(originals)}")
    return {
        "claim": claim.claim,
        "attack": claim.attack,
        "where": claim.where,
        "metric": claim.metric,
        "relation": relation_words(relation),
        "published": _published_row(paper) if paper else None,
        "ours": ours,
        "points": points,
        "stand_in_for": originals,
        "verdict": verdict,
        "reason": "; ".join([reason, *remarks]),
    }


def judge_controls(instances: Sequence[Instance]) -> dict[str, Any]:
    """Hold all controls of a study to what they must show.

    Parameters
    ----------
    instances : sequence of Instance
        Every attack of the study.

    Returns
    -------
    dict
        ``claims``: the two statements, each with ``holds`` and the reason. ``positive``
        and ``negative``: a row for every control; p-values of negative controls are
        corrected by Holm's method over all of them.
    """
    positive: list[dict[str, Any]] = []
    negative: list[dict[str, Any]] = []
    missing: list[dict[str, Any]] = []
    counted: set[tuple[str, str]] = set()
    for instance in instances:
        for replicate in instance.replicates:
            head = {"instance": instance.folder, "replicate": replicate["replicate"]}
            controls = replicate.get("controls") or {}
            for sign, rows in (("positive", positive), ("negative", negative)):
                shared = controls.get(sign, {}).get("shared")
                if shared and (sign, shared) in counted:
                    continue  # one control of several attacks counts once
                counted.add((sign, shared or ""))
                if sign in controls:
                    rows.append({**head, **controls[sign]})
                else:
                    missing.append({**head, "sign": sign})
    adjusted, rejected = holm([row["p_value"] for row in negative], ALPHA)
    for row, value, failed in zip(negative, adjusted, rejected, strict=True):
        row.update(adjusted_p_value=value, passed=not failed)
    for row in positive:
        row["passed"] = row["auc"]["low"] > FOUND
    return {
        "claims": [
            _control_claim(
                "Every planted leak is found (positive controls)",
                positive,
                [row for row in missing if row["sign"] == "positive"],
                f"lower end of the AUC's 95% interval above {FOUND:g}",
            ),
            _control_claim(
                "No leak is found where there is none (negative controls)",
                negative,
                [row for row in missing if row["sign"] == "negative"],
                f"two-sided p above {ALPHA:g} after Holm's correction",
            ),
        ],
        "positive": positive,
        "negative": negative,
    }


def count_verdicts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how often each verdict was given, those never given included."""
    counts = Counter(row["verdict"] for row in rows)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def relation_words(relation: Relation) -> str:
    """Return what is asked, as text: ``within 0.03 of the published number``."""
    match relation:
        case Within():
            return f"within {relation.tolerance:g} of the published number"
        case Between():
            return f"between {relation.low:g} and {relation.high:g}"
        case LowerBound():
            return f"at least {relation.bound:g}{_by(relation)}"
        case UpperBound():
            return f"at most {relation.bound:g}{_by(relation)}"
        case GrowsWith():
            return f"grows with {relation.variable}"
        case FallsWith():
            return f"falls with {relation.variable}"
        case Several():
            each = relation_words(relation.each)
            return f"{each}, for {relation.least} {relation.variable} or more"
    side = relation.kind.replace("_", " ")
    if isinstance(relation, Alike):
        side = f"within {relation.tolerance:g} of"
    elif isinstance(relation, Above | Below) and relation.margin:
        side = f"more than {relation.margin:g} {side}"
    parts = [relation.metric or "that", f"of {relation.attack}" * bool(relation.attack)]
    if relation.where is not None:
        conditions = ", ".join(f"{k}={v}" for k, v in relation.where.items())
        parts.append(f"at {conditions or 'the one instance'}")
    return " ".join([side, *filter(None, parts)])


def _by(relation: LowerBound | UpperBound) -> str:
    ends = {"low": "lower", "high": "higher"}
    if relation.by == "mean":
        return ""
    return f" by the {ends[relation.by]} end of the 95% interval"


_Judged = tuple[list[dict[str, Any]], dict[str, Any], Verdict, str]


def _bound(
    claim: Claim,
    relation: Within | Between | LowerBound | UpperBound,
    found: Sequence[Instance],
    paper: Published | None,
    place: str,
) -> _Judged:
    point = _point(found[0], claim.metric, place)
    ours = {"what": claim.metric, **_numbers(point)}
    mean = point["mean"]
    if mean is None:
        return [point], ours, "missed", f"{claim.metric} is undefined in every seed"
    match relation:
        case Within():
            assert paper is not None  # the settings ask for it
            value = _single(paper, place)
            apart = abs(mean - value)
            holds = apart <= relation.tolerance + _ROUNDING
            reason = f"the mean is {apart:.3f} from {value:g}"
        case Between():
            low, high = relation.low - _ROUNDING, relation.high + _ROUNDING
            holds = low <= mean <= high
            reason = f"the mean is {mean:.3f}"
        case LowerBound() | UpperBound():
            held = point[relation.by]
            reason = f"the mean is {mean:.3f}"
            if held is None:
                if point["replicates"] < 2:
                    words = "an interval needs two seeds at least"
                    return [point], ours, "not judged: one seed", words
                words = "undefined in all but one of the seeds"
                return [point], ours, "missed", words
            if relation.by != "mean":
                reason += f", its interval {point['low']:.3f} to {point['high']:.3f}"
            if isinstance(relation, LowerBound):
                holds = held >= relation.bound - _ROUNDING
            else:
                holds = held <= relation.bound + _ROUNDING
    reason += f", asked {relation_words(relation)}; {_seeds(point)}"
    return [point], ours, "reproduced" if holds else "missed", reason


def _trend(
    claim: Claim,
    relation: GrowsWith | FallsWith,
    found: Sequence[Instance],
    place: str,
) -> _Judged:
    variable = relation.variable
    points = [
        {
            **_point(instance, claim.metric, place),
            "label": f"{variable} {number_of(instance, variable, place=place):,g}",
        }
        for instance in found
    ]
    what = f"{claim.metric}: {points[-1]['label']} minus {points[0]['label']}"
    grows = isinstance(relation, GrowsWith)
    ours, verdict, reason = _difference(
        what,
        found[-1].by_seed(claim.metric),
        found[0].by_seed(claim.metric),
        positive=grows,
    )
    if len(points) > 2:
        reason = f"{reason}; {_monotone(points, grows=grows)}"
    return points, ours, verdict, reason


def _order(
    claim: Claim,
    relation: Above | Below | NotBelow | Alike,
    found: Sequence[Instance],
    place: str,
) -> _Judged:
    metric = relation.metric or claim.metric
    one, other = found
    points = [_point(one, claim.metric, place), _point(other, metric, place)]
    labels = _told_apart(points)
    for point, label in zip(points, labels, strict=True):
        point["label"] = label
    what = f"{labels[0]} minus {labels[1]}"
    pair = one.by_seed(claim.metric), other.by_seed(metric)
    if isinstance(relation, NotBelow):
        return points, *_mean_difference(what, *pair)
    ours, verdict, reason = _difference(
        what,
        *pair,
        positive=isinstance(relation, Above),
        tolerance=relation.tolerance if isinstance(relation, Alike) else None,
        margin=0.0 if isinstance(relation, Alike) else relation.margin,
    )
    return points, ours, verdict, reason


def _several(
    claim: Claim, relation: Several, found: Sequence[Instance], place: str
) -> _Judged:
    """Judge each instance as a bound is, and count those that hold."""
    judged = [_bound(claim, relation.each, [one], None, place) for one in found]
    variable = relation.variable
    values = [value_of(one, variable, place=place) for one in found]
    points = [
        {**point, "label": str(value)}
        for value, ((point,), *_) in zip(values, judged, strict=True)
    ]
    verdicts = [verdict for _, _, verdict, _ in judged]
    holds = [v for v, own in zip(values, verdicts, strict=True) if own == "reproduced"]
    ours = {
        "what": f"{variable} of {len(found)} with {claim.metric} "
        f"{relation_words(relation.each)}",
        "mean": len(holds), "std": None, "low": None, "high": None,
        "count": min(point["count"] for point in points), "of": len(found),
    }  # fmt: skip
    reason = f"{len(holds)} of {len(found)} hold, asked of {relation.least} at least"
    if holds:
        reason += f": {', '.join(map(str, holds))}"
    if len(holds) >= relation.least:
        return points, ours, "reproduced", reason
    if len(holds) + verdicts.count("not judged: one seed") >= relation.least:
        words = "an interval needs two seeds at least"
        return points, ours, "not judged: one seed", words
    return points, ours, "missed", reason


def _difference(
    what: str,
    first: Mapping[int, float | None],
    second: Mapping[int, float | None],
    *,
    positive: bool,
    tolerance: float | None = None,
    margin: float = 0.0,
) -> tuple[dict[str, Any], Verdict, str]:
    """Judge `first` minus `second`, paired by replicate number.

    Its sign, beyond a `margin`; with a `tolerance`, that it is nearly zero.
    """
    values = _paired(what, first, second)
    found = spread(values)
    ours = {"what": what, **_numbers(found)}
    if len(values) < 2:
        return ours, "not judged: one seed", "a difference needs two seeds at least"
    low, high = found["low"], found["high"]
    if low is None or high is None:
        return ours, "missed", "undefined in all but one of the seeds"
    if tolerance is not None:
        holds = max(-low, high) <= tolerance + _ROUNDING
    else:
        holds = low > margin if positive else high < -margin
    reason = (
        f"the difference is {found['mean']:+.3f}, 95% interval {low:+.3f} to "
        f"{high:+.3f}, paired over {found['count']} seeds"
    )
    if found["count"] < len(values):
        reason += f" ({len(values) - found['count']} more undefined)"
    return ours, "reproduced" if holds else "missed", reason


def _mean_difference(
    what: str,
    first: Mapping[int, float | None],
    second: Mapping[int, float | None],
) -> tuple[dict[str, Any], Verdict, str]:
    """Judge whether the mean of `first` minus `second` is not negative."""
    values = _paired(what, first, second)
    found = spread(values)
    ours = {"what": what, **_numbers(found)}
    if len(values) < 2:
        return ours, "not judged: one seed", "a difference needs two seeds at least"
    if found["mean"] is None:
        return ours, "missed", "undefined in every seed"
    holds = found["mean"] >= -_ROUNDING
    reason = (
        f"the difference is {found['mean']:+.3f}, the mean over {found['count']} "
        "seeds; no interval is asked for"
    )
    return ours, "reproduced" if holds else "missed", reason


def _paired(
    what: str,
    first: Mapping[int, float | None],
    second: Mapping[int, float | None],
) -> list[float | None]:
    """Return `first` minus `second` for every replicate that both have."""
    pairs = [(first[n], second[n]) for n in sorted(first.keys() & second.keys())]
    if not pairs:
        raise UserError(f"{what}: the two share no replicate, so nothing can be paired")
    return [None if a is None or b is None else a - b for a, b in pairs]


def _monotone(points: Sequence[Mapping[str, Any]], *, grows: bool) -> str:
    """Say whether the means go one way over all values of a variable."""
    known = [point for point in points if point["mean"] is not None]
    for before, after in zip(known, known[1:], strict=False):
        step = after["mean"] - before["mean"]
        if (step < 0) if grows else (step > 0):
            verb = "falls" if grows else "grows"
            return f"not monotone: {verb} from {before['label']} to {after['label']}"
    return f"monotone over {len(known)} values"


def _too_far(
    asked: Comparable,
    point: Mapping[str, Any],
    published: Mapping[str, Published],
    place: str,
) -> str | None:
    """Return why our target is not like the paper's; None if it is."""
    words = asked.metric.replace("_", " ")
    paper = published[asked.published] if asked.published else None
    if paper and paper.number.metric != asked.metric:
        raise UserError(
            f"{place}.comparable: published: {asked.published!r} is a "
            f"{paper.number.metric}; allowed: a {asked.metric}"
        )
    value = asked.value if paper is None else _single(paper, f"{place}.comparable")
    mean = point[asked.metric]
    if mean is None:
        return f"the target's {words} is unknown"
    if value is None or abs(mean - value) <= asked.tolerance + _ROUNDING:
        return None
    memory = ""
    if paper and paper.number.mark == FROM_MEMORY:
        memory = ", a number from memory"
    return (
        f"the target's {words} is {mean:.3f}, that of the paper {value:g}{memory}: "
        f"more than {asked.tolerance:g} apart"
    )


def _single(paper: Published, place: str) -> float:
    number = paper.number
    if number.form not in ("number", "about"):
        raise UserError(
            f"{place}: published: {paper.key!r} is {number.words!r}; allowed: a single "
            "number"
        )
    return number.values[0]


def _point(instance: Instance, metric: str, place: str) -> dict[str, Any]:
    found = instance.spread(metric)
    if found is None:
        known = sorted(name for name in instance.summary if instance.spread(name))
        raise UserError(
            f"{place}: metric: {metric!r} is unknown for [{instance.words}]; known: "
            f"{', '.join(known)}"
        )
    return {
        "label": instance.words,
        "attack": instance.name,
        "instance": instance.folder,
        "metric": metric,
        "dataset": instance.dataset["name"],
        "stand_in_for": instance.stand_in_for,
        "replicates": len(instance.replicates),
        **_numbers(found),
        **{
            name: (instance.spread(name) or {}).get("mean")
            for name in ("train_accuracy", "test_accuracy")
        },
    }


def _numbers(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("mean", "std", "count", "low", "high")}


def _told_apart(points: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return labels for the two sides of an order: metric, and what else differs."""
    names = [("of ", "attack"), ("at ", "label")]
    differ = [
        (word, name) for word, name in names if len({p[name] for p in points}) > 1
    ]
    return [
        " ".join([point["metric"], *(f"{word}{point[name]}" for word, name in differ)])
        for point in points
    ]


def _seeds(point: Mapping[str, Any]) -> str:
    count, total = point["count"], point["replicates"]
    words = "one seed" if count == 1 else f"{count} seeds"
    return words if count == total else f"{words}, undefined in {total - count} more"


def _published_row(paper: Published) -> dict[str, Any]:
    number = paper.number
    return {
        "id": paper.key,
        "paper": paper.paper.short,
        "where": number.where,
        "mark": number.mark,
        "meaning": paper.meaning,
        "dataset": number.dataset,
        "metric": number.metric,
        "value": list(number.values) if len(number.values) > 1 else number.values[0],
        "words": number.words,
        "note": number.note,
    }


def _control_claim(
    text: str,
    rows: Sequence[Mapping[str, Any]],
    missing: Sequence[Mapping[str, Any]],
    asked: str,
) -> dict[str, Any]:
    failed = [row for row in rows if not row["passed"]]
    reason = f"{len(rows) - len(failed)} of {len(rows)} pass ({asked})"
    for words, bad in (("failed", failed), ("not run", missing)):
        if bad:
            names = [f"{row['instance']} seed {row['replicate']}" for row in bad]
            reason += f"; {words}: {', '.join(names)}"
    return {"claim": text, "holds": not failed and not missing, "reason": reason}
