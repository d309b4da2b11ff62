"""Scores of the reference attacks, against one record at a time from the formulas."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy.stats import norm

from whatelse.membership import (
    attack_p,
    attack_r,
    compared,
    gradient_norm,
    label_only,
    lira,
    rmia,
)
from whatelse.membership.compared import Compared
from whatelse.membership.settings import MembershipAttack

MODULES: dict[str, Any] = {
    "lira": lira, "rmia": rmia, "attack-p": attack_p, "attack-r": attack_r,
    "label-only": label_only, "gradient-norm": gradient_norm,
}  # fmt: skip


def settings(kind: str, **changes: Any) -> Any:
    given = json.dumps({"kind": f"membership.{kind}", **changes})
    return TypeAdapter(MembershipAttack).validate_json(given)


def case(
    signal: str, *, references: int = 8, rows: int = 50, others: int = 30,
    queries: int = 1, seed: int = 0,
) -> Compared:  # fmt: skip
    """Signals of models that are surer of what they were trained on."""
    rng = np.random.default_rng(seed)
    inside = np.zeros((references, rows), dtype=bool)
    inside[0::2] = rng.random((references // 2, rows)) < 0.5
    inside[1::2] = ~inside[0::2]

    def draw(*shape: int, leak: Any = 0.0) -> np.ndarray:
        margin = rng.normal(size=(*shape, queries), scale=3) + 3 * np.asarray(leak)
        value = {
            "margin": margin, "log_probability": -np.logaddexp(0, -margin),
            "right": margin > 0, "gradient_norm": margin,
        }[signal]  # fmt: skip
        return value.astype(np.float32)

    return Compared(
        observed=draw(rows, leak=(rng.random(rows) < 0.5)[:, None]),
        references=draw(references, rows, leak=inside[..., None]),
        inside=inside,
        others=draw(others),
        references_on_others=draw(references, others),
    )


def scores(kind: str, given: Compared, **changes: Any) -> np.ndarray:
    module = MODULES[kind]
    found = module.score(settings(kind, **changes), given)
    assert found.dtype == np.float64
    assert found.shape == (len(given.observed),)
    return np.asarray(found)


# ---- LiRA, by Algorithm 1 and Eq. 4


def deviations(
    given: Compared, row: int, query: int, kind: bool, variance: str
) -> tuple[float, float]:
    """Mean and deviation of a record's margins, with (or without) it in training."""
    own = [
        float(given.references[m, row, query])
        for m in range(len(given.references))
        if given.inside[m, row] == kind
    ]
    mean = sum(own) / len(own)
    if variance == "per-example":
        return mean, math.sqrt(sum((x - mean) ** 2 for x in own) / (len(own) - 1))
    squares, freedom = 0.0, 0
    for other in range(given.references.shape[1]):
        theirs = given.references[given.inside[:, other] == kind, other, query]
        theirs = theirs.astype(np.float64)
        squares += float(((theirs - theirs.mean()) ** 2).sum())
        freedom += len(theirs) - 1
    return mean, math.sqrt(squares / freedom)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("variance", ["per-example", "global"])
def test_lira_online_is_the_ratio_of_two_normals(variance: str, queries: int) -> None:
    given = case("margin", queries=queries)
    found = scores("lira", given, variance=variance)
    for row in range(len(found)):
        expected = 0.0
        for query in range(queries):
            phi = float(given.observed[row, query])
            for kind, sign in ((True, 1), (False, -1)):
                mean, deviation = deviations(given, row, query, kind, variance)
                expected += sign * float(norm.logpdf(phi, mean, deviation))
        assert found[row] == pytest.approx(expected, abs=1e-6, rel=1e-9)


@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("variance", ["per-example", "global"])
def test_lira_offline_is_the_one_sided_tail(variance: str, queries: int) -> None:
    given = case("margin", queries=queries)
    found = scores("lira", given, variance=variance, mode="offline")
    tails = []
    for row in range(len(found)):
        tail = 1.0
        for query in range(queries):
            mean, deviation = deviations(given, row, query, False, variance)
            tail *= float(norm.sf(float(given.observed[row, query]), mean, deviation))
        assert found[row] == pytest.approx(-math.log(tail), abs=1e-6, rel=1e-9)
        tails.append(1 - tail)
    if queries == 1:  # the paper's score has the same order
        np.testing.assert_array_equal(np.argsort(found), np.argsort(tails))


def test_lira_offline_still_tells_where_the_papers_score_rounds_to_one() -> None:
    given = case("margin")
    given.observed[:2] = [[200.0], [300.0]]
    first, second, *_ = scores("lira", given, mode="offline")
    assert first < second < np.inf


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize("variance", ["per-example", "global"])
@pytest.mark.parametrize("queries", [1, 2])
def test_lira_as_the_released_code_has_it(
    mode: str, variance: str, queries: int
) -> None:
    given = case("margin", queries=queries, references=10)
    found = scores(
        "lira", given, mode=mode, variance=variance, estimator="released-code"
    )
    references = given.references.astype(np.float64)
    rows = range(len(found))
    chosen = {
        kind: [references[given.inside[:, r] == kind, r] for r in rows]
        for kind in (True, False)
    }
    for row in rows:
        expected = 0.0
        for kind, sign in ((True, 1), (False, -1)):
            own = chosen[kind][row]
            middle = np.median(own, axis=0)
            deviation = np.std(own, axis=0)
            if variance == "global":  # plot.py: std_out = np.std(dat_in)
                whose = mode == "online" or kind
                deviation = np.std(np.concatenate(chosen[whose]))
            density = norm.logpdf(given.observed[row], middle, deviation).sum()
            if mode == "online" or not kind:
                expected += sign * density
        assert found[row] == pytest.approx(expected, abs=1e-6, rel=1e-9)


def test_answers_that_are_all_alike_give_numbers() -> None:
    given = case("margin")
    given.references[:] = np.where(given.inside, 5, -5)[..., None]
    given.observed[:] = np.float32(5)
    found = scores("lira", given, variance="per-example")
    assert np.isfinite(found).all()
    assert (found > 0).all()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"references": 63}, True), ({"references": 64}, False),
        ({"references": 128, "variance": "global"}, True),
        ({"references": 2, "variance": "per-example"}, False),
    ],
)  # fmt: skip
def test_few_references_share_one_variance(
    changes: dict[str, Any], expected: bool
) -> None:
    number = changes.pop("references")
    assert settings("lira", **changes).one_variance(number) == expected


def test_a_likelier_member_is_called_one() -> None:
    given = case("margin")
    online = settings("lira")
    score = lira.score(online, given)
    np.testing.assert_array_equal(lira.decide(online, score, given), score > 0)


@pytest.mark.parametrize("estimator", ["paper", "released-code"])
@pytest.mark.parametrize("variance", ["per-example", "global"])
@pytest.mark.parametrize("queries", [1, 6])
def test_lira_offline_calls_as_many_as_the_level_says(
    queries: int, variance: str, estimator: str
) -> None:
    offline = settings(
        "lira", mode="offline", level=0.1, variance=variance, estimator=estimator
    )
    given = case("margin", rows=4000, others=4000, queries=queries, references=16)
    # queries of a record depend on each other, as augmented images do
    for values in (given.observed, given.others):
        values[:] = values[:, :1]
    outside = dataclasses.replace(given, observed=given.others)
    score = lira.score(offline, outside)
    assert 0.08 < lira.decide(offline, score, outside).mean() < 0.12


# ---- RMIA, by Sec. 3


def prior(given: Compared, row: int, query: int, mode: str, a: float) -> float:
    chances = [math.exp(float(v)) for v in given.references[:, row, query]]
    flags = given.inside[:, row]
    outside = [c for c, inside in zip(chances, flags, strict=True) if not inside]
    inside = [c for c, inside in zip(chances, flags, strict=True) if inside]
    out = sum(outside) / len(outside)
    if mode == "online":
        return (sum(inside) / len(inside) + out) / 2
    return ((1 + a) * out + (1 - a)) / 2


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize(("gamma", "a"), [(1.0, 0.3), (2.0, 0.3), (1.5, 1.0)])
@pytest.mark.parametrize("queries", [1, 2, 3])
def test_rmia_is_the_share_of_pairs_that_are_won(
    mode: str, gamma: float, a: float, queries: int
) -> None:
    given = case("log_probability", queries=queries)
    found = scores("rmia", given, mode=mode, gamma=gamma, a=a)
    beta = 0.4
    for row in range(len(found)):
        shares = []
        for query in range(queries):
            ours = math.exp(float(given.observed[row, query]))
            ours /= prior(given, row, query, mode, a)
            won = 0
            for z in range(len(given.others)):
                outs = np.exp(given.references_on_others[:, z, query].astype(float))
                theirs = math.exp(float(given.others[z, query]))
                theirs /= ((1 + a) * outs.mean() + 1 - a) / 2
                won += ours / theirs >= gamma
            shares.append(won / len(given.others))
        if queries == 1:
            assert found[row] == pytest.approx(shares[0], abs=1e-6)
        votes = sum(share >= beta for share in shares)
        assert (found[row] >= beta) == (votes > queries / 2)


def test_rmia_orders_those_who_beat_as_many_by_their_likelihoods() -> None:
    given = case("log_probability", rows=400, others=5)
    found = scores("rmia", given)
    expecting = rmia.expected(given.references, given.inside, online=True, a=0.3)
    ratio = (given.observed - expecting)[:, 0]
    shares = np.round(found, 6)
    assert len(np.unique(shares)) <= 6
    np.testing.assert_array_equal(np.lexsort((ratio, shares)), np.argsort(found))


@pytest.mark.parametrize("references", [2, 8])
def test_rmia_keeps_its_level_offline(references: int) -> None:
    """As many as `level` says are called members whom the target never saw."""
    given = case("log_probability", references=references, rows=4000, others=4000)
    offline = settings("rmia", gamma=1.0, mode="offline")
    members = rmia.decide(offline, rmia.score(offline, given), given).mean()
    margin = np.random.default_rng(1).normal(size=(4000, 1), scale=3)
    given = dataclasses.replace(
        given, observed=-np.logaddexp(0, -margin).astype(np.float32)
    )
    others = rmia.decide(offline, rmia.score(offline, given), given).mean()
    assert others == pytest.approx(0.05, abs=0.012)
    assert members > 1.5 * others


def test_rmia_of_balanced_references_expects_their_mean() -> None:
    given = case("log_probability", references=4)
    got = rmia.expected(given.references, given.inside, online=True, a=0.3)
    balanced = given.inside.sum(0) == 2
    expected = np.log(np.exp(given.references.astype(float)).mean(0))
    assert balanced.all()
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_rmia_of_impossible_answers_gives_numbers() -> None:
    given = case("log_probability")
    given.references[:] = given.references_on_others[:] = np.float32(-690)
    assert np.isfinite(scores("rmia", given, a=1.0)).all()


# ---- attacks P and R


def test_attack_p_is_the_loss_and_a_quantile_of_the_population() -> None:
    given = case("log_probability", others=100)
    asked = settings("attack-p", level=0.1)
    score = attack_p.score(asked, given)
    np.testing.assert_array_equal(score, given.observed[:, 0])
    ranked = sorted(given.others[:, 0].tolist())
    called = attack_p.decide(asked, score, given)
    # ten of a hundred are above the limit
    np.testing.assert_array_equal(called, score > ranked[90])


def test_attack_r_counts_the_references_that_are_less_sure() -> None:
    given = case("log_probability", references=6)
    given.references[:, 0, 0] = given.observed[0, 0]
    asked = settings("attack-r")
    found = attack_r.score(asked, given)
    for row, score in enumerate(found):
        own = given.references[~given.inside[:, row], row, 0]
        less, tied = own < given.observed[row, 0], own == given.observed[row, 0]
        assert score == pytest.approx((less + tied / 2).mean())
    assert found[0] == 0.5
    np.testing.assert_array_equal(attack_r.decide(asked, found, given), found >= 0.95)


# ---- labels alone, and gradients


@pytest.mark.parametrize("queries", [1, 4])
def test_label_only_is_the_share_of_right_answers(queries: int) -> None:
    given = case("right", queries=queries, others=100)
    asked = settings("label-only", level=0.2)
    found = label_only.score(asked, given)
    shares = [sum(map(float, row)) / queries for row in given.observed]
    np.testing.assert_allclose(found, shares, atol=1e-12)
    called = label_only.decide(asked, found, given)
    if queries == 1:  # the gap attack
        np.testing.assert_array_equal(called, given.observed[:, 0] == 1)
        return
    limit = sorted(float(row.mean()) for row in given.others)[80]
    for share, said in zip(shares, called, strict=True):
        assert said == (share > limit or share == 1)


def test_a_short_gradient_is_a_members() -> None:
    given = case("gradient_norm", others=100)
    asked = settings("gradient-norm", level=0.1)
    score = gradient_norm.score(asked, given)
    np.testing.assert_array_equal(score, given.observed[:, 0])
    limit = sorted(given.others[:, 0].tolist())[90]
    np.testing.assert_array_equal(
        gradient_norm.decide(asked, score, given), score > limit
    )


def test_calibrated_gradients_are_lira_on_their_log_lengths() -> None:
    given = case("gradient_norm")
    asked = settings("gradient-norm", calibrated=True)
    found = gradient_norm.score(asked, given)
    for row in range(len(found)):
        expected, phi = 0.0, float(given.observed[row, 0])
        for kind, sign in ((True, 1), (False, -1)):
            mean, deviation = deviations(given, row, 0, kind, "global")
            expected += sign * float(norm.logpdf(phi, mean, deviation))
        assert found[row] == pytest.approx(expected, abs=1e-6, rel=1e-9)
    np.testing.assert_array_equal(gradient_norm.decide(asked, found, given), found > 0)


# ---- all


@pytest.mark.parametrize("kind", MODULES)
def test_chunks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = case(MODULES[kind].SIGNAL, rows=37)
    whole = scores(kind, given)
    monkeypatch.setattr(compared, "_VALUES", 5 * 8)
    assert len([*compared.chunks(given.references)]) == 8
    np.testing.assert_array_equal(scores(kind, given), whole)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("lira", {"references": 3}, "multiple of 2"),
        ("lira", {"mode": "both"}, "'online' or 'offline'"),
        ("rmia", {"gamma": 0.5}, "greater than or equal to 1"),
        ("rmia", {"a": 1.1}, "less than or equal to 1"),
        ("attack-p", {"level": 0}, "greater than 0"),
        ("attack-r", {"queries": {}}, "not permitted"),
    ],
)
def test_settings_that_cannot_be(
    kind: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        settings(kind, **changes)
