"""Every defence where it must work, and where it must not."""

import numpy as np
import pytest
import torch
from torch import Tensor

from whatelse.seeding import stream
from whatelse.training.aggregation import aggregate
from whatelse.training.federated_settings import (
    Clip,
    Defence,
    Flame,
    Krum,
    Median,
    Outliers,
    TrimmedMean,
)

COUNT, WIDTH, HOSTILE = 9, 200, 0


def changes(scale: float, toward: float = -1.0) -> Tensor:
    """Return benign changes about one direction, and a hostile one in the first place.

    `toward` -1: against the others; 1: with them.
    """
    rng = np.random.default_rng(3)
    direction = rng.normal(size=WIDTH)
    direction /= np.linalg.norm(direction)
    whole = direction + 0.05 * rng.normal(size=(COUNT, WIDTH))
    other = rng.normal(size=WIDTH)
    other -= other @ direction * direction
    whole[HOSTILE] = scale * (0.3 * toward * direction + other / np.linalg.norm(other))
    return torch.from_numpy(whole.astype(np.float32))


def near() -> Tensor:
    """Return benign changes, and one that trained close to the model (P4 Sec. 4.3)."""
    sent = changes(1.0)
    sent[HOSTILE] = 0.98 * sent[1:].mean(0) + 0.02 * sent[HOSTILE]
    return sent


def move(defence: Defence, sent: Tensor) -> tuple[Tensor, "np.ndarray"]:
    return aggregate(defence, sent, stream(1, "defence"))


def damage(defence: Defence, sent: Tensor) -> float:
    """Return how far a move is from the benign mean, in lengths of that."""
    moved, _ = move(defence, sent)
    benign = sent[1:].mean(0)
    return float((moved - benign).norm() / benign.norm())


@pytest.mark.parametrize(
    "defence",
    [
        Clip(kind="clip", norm=1.0),
        Median(kind="median"),
        TrimmedMean(kind="trimmed-mean", trim=1),
        Krum(kind="krum", attackers=1),
        Krum(kind="krum", attackers=1, kept=5),
        Outliers(kind="outliers", by="norm"),
        Outliers(kind="outliers", by="cosine"),
        Flame(kind="flame"),
    ],
    ids=lambda d: f"{d.kind}-{getattr(d, 'by', getattr(d, 'kept', ''))}",
)
def test_a_change_of_great_length_does_little(defence: Defence) -> None:
    sent = changes(100.0)
    assert damage(defence, sent) < 0.75
    # without a defence it does everything
    assert float((sent.mean(0) - sent[1:].mean(0)).norm()) > 10


@pytest.mark.parametrize(
    ("defence", "sent"),
    [
        # train-and-scale: as long as is allowed
        (Clip(kind="clip", norm=3.0), changes(2.8)),
        (Outliers(kind="outliers", by="norm"), changes(1.0)),
        # in the others' direction, however long
        (Outliers(kind="outliers", by="cosine"), changes(50.0, toward=8.0)),
        # inside the spread of the others
        (Krum(kind="krum", attackers=1, kept=9), changes(100.0)),
        # in the midst of the others, so near that it is the nearest
        (Krum(kind="krum", attackers=1), near()),
        # of the others' cluster, and no longer
        (Flame(kind="flame", noise=0.0), changes(0.3, toward=10.0)),
    ],
    ids=["clip", "norm", "cosine", "krum that keeps all", "krum", "flame"],
)
def test_who_knows_a_defence_walks_past_it(defence: Defence, sent: Tensor) -> None:
    _, shares = move(defence, sent)
    # the others may suffer in its place
    assert shares[HOSTILE] >= 1 / COUNT - 1e-6


def test_median_and_trimmed_mean_are_scipys() -> None:
    from scipy.stats import trim_mean

    sent = changes(5.0)
    for count in (COUNT, COUNT - 1):
        own = sent[:count]
        moved, shares = move(Median(kind="median"), own)
        np.testing.assert_allclose(moved, np.median(own, axis=0), rtol=1e-6)
        assert shares.sum() == pytest.approx(1)
    moved, _ = move(TrimmedMean(kind="trimmed-mean", trim=2), sent)
    np.testing.assert_allclose(moved, trim_mean(sent, 2 / COUNT), rtol=1e-5)


def test_a_hidden_minority_escapes_median_where_it_stays_inside() -> None:
    """Not what a median is for: it bounds outliers, not small steps of many."""
    sent = changes(1.0)
    sent[: COUNT // 2 + 1] = sent[HOSTILE]
    assert damage(Median(kind="median"), sent) > 0.9


def test_more_than_are_trimmed_pull_a_trimmed_mean() -> None:
    sent = changes(10.0)
    assert damage(TrimmedMean(kind="trimmed-mean", trim=2), sent) < 0.75
    colluding = sent.clone()
    colluding[:3] = sent[HOSTILE]
    benign = sent[3:].mean(0)

    def pulled(trim: int) -> float:
        moved, _ = move(TrimmedMean(kind="trimmed-mean", trim=trim), colluding)
        hostile = sent[HOSTILE] / sent[HOSTILE].norm()
        return float((moved - benign) @ hostile)

    assert pulled(2) > 1
    assert pulled(3) < 0.25 * pulled(2)


def test_krum_is_the_papers() -> None:
    sent = changes(4.0)
    near = COUNT - 1 - 2
    scores = []
    for i in range(COUNT):
        others = [j for j in range(COUNT) if j != i]
        away = sorted(float((sent[i] - sent[j]).norm() ** 2) for j in others)
        scores.append(sum(away[:near]))
    _, shares = move(Krum(kind="krum", attackers=1), sent)
    assert shares[int(np.argmin(scores))] == 1
    _, shares = move(Krum(kind="krum", attackers=1, kept=3), sent)
    assert set(np.flatnonzero(shares)) == set(np.argsort(scores)[:3])


def test_of_an_even_number_the_median_is_between_the_middle_two() -> None:
    ahead = np.linspace(1.0, 1.001, 8, dtype=np.float32)
    sent = torch.from_numpy(np.outer([1.0, 1.0, 3.0, 3.0], ahead).astype(np.float32))
    moved, _ = move(Flame(kind="flame", noise=0.0), sent)
    # the long two are cut to 2
    np.testing.assert_allclose(moved, 1.5 * ahead, rtol=1e-5)


def test_flame_keeps_the_largest_cluster_and_cuts_to_the_median() -> None:
    sent = changes(1.0, toward=-5.0)
    _, shares = move(Flame(kind="flame", noise=0.0), sent)
    assert shares[HOSTILE] == 0
    assert (shares > 0).sum() > COUNT / 2
    long = int(shares.argmax())
    sent[long] *= 10
    moved, cut = move(Flame(kind="flame", noise=0.0), sent)
    assert cut[long] == pytest.approx(shares[long] / 10, rel=0.1)
    noisy, _ = move(Flame(kind="flame", noise=0.5), sent)
    spread = float((noisy - moved).std())
    assert spread == pytest.approx(0.5 * float(sent.norm(dim=1).median()), rel=0.2)
    again, _ = move(Flame(kind="flame", noise=0.5), sent)
    assert torch.equal(noisy, again)


@pytest.mark.parametrize(
    ("defence", "message"),
    [
        (Krum(kind="krum", attackers=4), "4 of 9 selected; allowed: at least 11"),
        (Krum(kind="krum", attackers=1, kept=10), "kept: 10; allowed: 1..9"),
        (TrimmedMean(kind="trimmed-mean", trim=5), "allowed: at least 11 selected"),
    ],
)
def test_too_few_changes_are_refused(defence: Defence, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        move(defence, changes(1.0))
