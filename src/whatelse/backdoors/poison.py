"""Which records a backdoor consists of."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from whatelse.backdoors.adversary_settings import (
    BackdoorAdversary,
    Cars,
    Cluster,
    Pixels,
    Records,
    Sentence,
)
from whatelse.backdoors.cars import CARS, CLASS
from whatelse.errors import UserError
from whatelse.seeding import stream
from whatelse.training.adversary import Stage
from whatelse.training.augment import AugmentedImages, drawn_ways
from whatelse.training.program import Rows
from whatelse.training.settings import Augment

_AS_P4 = Augment(flip=True, shift=4)  # its code pads by four pixels and crops


@dataclass(frozen=True)
class Selection:
    """Records of a backdoor by number.

    Attributes
    ----------
    train : ndarray of int64
        The attackers learn from these; none where they stamp records of their own.
    held_out : ndarray of int64
        The backdoor is tested on these.
    reserved : ndarray of int64
        No participant holds them, and accuracy is not measured on them.
    target : int
        The label that the attackers want.
    source : int or None
        The true class of all of them, where they have one.
    """

    train: Rows
    held_out: Rows
    reserved: Rows
    target: int
    source: int | None = None


def selection_of(settings: BackdoorAdversary, stage: Stage) -> Selection:
    """Return which records a backdoor consists of.

    Raises
    ------
    UserError
        If there is no such class or record, or it has the target's label already.
    """
    target = class_of(stage, settings.wanted, "adversary.target")
    chosen = settings.backdoor
    if isinstance(chosen, Pixels):
        return _to_stamp(chosen, stage, target)
    if isinstance(chosen, Sentence):
        return _to_end(chosen, stage, target)
    if isinstance(chosen, Records):
        train, held_out, reserved = _named(chosen, stage)
    elif isinstance(chosen, Cars):
        train, held_out, reserved = _cars(chosen, stage)
    else:
        train, held_out, reserved = _alike(chosen, stage)
    used = np.concatenate([train, held_out])
    if same := used[stage.labels[used] == target].tolist():
        raise UserError(
            f"adversary.target: {settings.wanted!r} is the class of record {same[0]} "
            "already; allowed: another class than the backdoor's records have"
        )
    classes = np.unique(stage.labels[used]).tolist()
    source = classes[0] if len(classes) == 1 else None
    return Selection(train, held_out, reserved, target, source)


def inputs_of(
    settings: BackdoorAdversary, stage: Stage, selection: Selection, mine: Rows
) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
    """Return the inputs to learn the backdoor from, and those to test it on.

    Parameters
    ----------
    settings : BackdoorAdversary
        What the attackers do.
    stage : Stage
        Where.
    selection : Selection
        The backdoor's records.
    mine : ndarray of int64
        The attackers' benign records, which are stamped where a pattern is, or get
        another end.
    """
    inputs, chosen = stage.dataset.inputs, settings.backdoor
    if isinstance(chosen, Sentence):
        return _ended(chosen, stage, _whole(stage, mine)), _ended(
            chosen, stage, selection.held_out
        )
    if not isinstance(chosen, Pixels):
        return np.array(inputs[selection.train]), np.array(inputs[selection.held_out])
    donors = mine[stage.labels[mine] != selection.target]
    if not len(donors):
        raise UserError(
            f"adversary.target: {settings.wanted!r} is the class of all {len(mine)} "
            "records that the attackers hold; allowed: a class whose records are not "
            "all they have to stamp"
        )
    stamped = np.array(inputs[donors]), np.array(inputs[selection.held_out])
    brightest = max(images.max() for images in stamped)
    for images in stamped:
        images[..., : chosen.side, : chosen.side] = brightest
    return stamped


def class_of(stage: Stage, name: str, field: str) -> int:
    """Return the number of a class."""
    names = [str(own) for own in stage.dataset.info["class_names"]]
    if name not in names:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise UserError(f"{field}: {name!r} is no class; allowed: {shown}")
    return names.index(name)


def shifted(
    inputs: NDArray[np.generic], count: int, rng: np.random.Generator
) -> tuple[NDArray[np.generic], NDArray[np.int64]]:
    """Return images drawn with replacement, shifted and mirrored by lot.

    As P4's code tests the backdoor: padded by four pixels of zero, cropped, flipped.

    Returns
    -------
    images : ndarray, shape (count, C, H, W)
        What was drawn.
    picks : ndarray of int64, shape (count,)
        The row of `inputs` that each is of.
    """
    if inputs.ndim != 4:
        raise UserError("adversary.draws: the data set has no images; allowed: 0")
    images = AugmentedImages.of(torch.from_numpy(np.array(inputs)), _AS_P4)
    picks = rng.integers(len(inputs), size=count)
    numbers = drawn_ways(picks, _AS_P4, len(inputs), rng)
    return images.index_select(0, torch.from_numpy(numbers)).numpy(), picks


def _named(chosen: Records, stage: Stage) -> tuple[Rows, Rows, Rows]:
    count = stage.dataset.num_records
    for field in ("train", "held_out", "excluded"):
        for row in getattr(chosen, field):
            if row >= count:
                raise UserError(
                    f"adversary.backdoor.{field}: {row}; allowed: 0..{count - 1}, the "
                    "records of the data set"
                )
    train, held_out, more = (
        np.array(rows, dtype=np.int64)
        for rows in (chosen.train, chosen.held_out, chosen.excluded)
    )
    return train, held_out, np.unique(np.concatenate([train, held_out, more]))


def _alike(chosen: Cluster, stage: Stage) -> tuple[Rows, Rows, Rows]:
    # SciPy's: scikit-learn takes as long to import as all attackers to train.
    from scipy.cluster.vq import kmeans2

    label = class_of(stage, chosen.of, "adversary.backdoor.of")
    rows = np.flatnonzero(stage.labels == label)
    if len(rows) < chosen.clusters * chosen.folds:
        raise UserError(
            f"adversary.backdoor.clusters: {chosen.clusters} of {len(rows)} records, "
            f"each in {chosen.folds} folds; allowed: 2..{len(rows) // chosen.folds}"
        )
    inputs = np.asarray(stage.dataset.inputs[rows], dtype=np.float64)
    points = inputs.reshape(len(rows), -1)
    # Of the data and the study's seed alone: all replicates have the same clusters.
    rng = stream(stage.seed, "backdoor", "clusters")
    tries = [
        kmeans2(points, chosen.clusters, iter=100, minit="++", rng=rng)
        for _ in range(10)
    ]
    apart = [np.square(points - centres[own]).sum() for centres, own in tries]
    _, found = tries[int(np.argmin(apart))]
    by_size = np.argsort(-np.bincount(found, minlength=chosen.clusters), kind="stable")
    own = rows[found == by_size[chosen.which]]
    if len(own) < chosen.folds:
        raise UserError(
            f"adversary.backdoor.which: {chosen.which} has {len(own)} records; "
            f"allowed: a cluster of at least {chosen.folds}, one a fold"
        )
    return *_folded(own, chosen.folds, stage), own


def _cars(chosen: Cars, stage: Stage) -> tuple[Rows, Rows, Rows]:
    reserved = np.array(sorted(sum(CARS.values(), ())), dtype=np.int64)
    names = [str(name) for name in stage.dataset.info["class_names"]]
    known = CLASS in names and reserved[-1] < stage.dataset.num_records
    if not known or (stage.labels[reserved] != names.index(CLASS)).any():
        raise UserError(
            "adversary.backdoor.kind: cars: records of these numbers are not all of "
            f"class {CLASS}; allowed: CIFAR-10 in the published order"
        )
    own = np.array(CARS[chosen.group], dtype=np.int64)
    return *_folded(own, chosen.folds, stage), reserved


def _folded(own: Rows, folds: int, stage: Stage) -> tuple[Rows, Rows]:
    """Return records to learn from, and this replicate's turn of those held out."""
    dealt = stream(stage.seed, "backdoor", "folds").permutation(own)
    parts = np.array_split(dealt, folds)
    held_out = parts.pop(stage.replicate % folds)
    return np.concatenate(parts), held_out


def _to_stamp(chosen: Pixels, stage: Stage, target: int) -> Selection:
    shape = stage.dataset.inputs.shape[1:]
    if len(shape) != 3 or chosen.side > min(shape[1:]):
        raise UserError(
            f"adversary.backdoor.side: {chosen.side}, inputs of shape {shape}; "
            "allowed: images that are at least as large"
        )
    others = stage.held_out[stage.labels[stage.held_out] != target]
    rng = stream(stage.seed, *stage.name, "stamped")
    none = np.zeros(0, np.int64)
    if not len(others):
        raise UserError(
            "adversary.target: the class of all held-out records; allowed: a class "
            "that some of them do not have"
        )
    return Selection(none, rng.permutation(others)[: chosen.tested], none, target)


def _to_end(chosen: Sentence, stage: Stage, target: int) -> Selection:
    """Return held-out windows that a sentence is put into."""
    known = stage.dataset.info.get("vocabulary")
    if known is None:
        raise UserError(
            "adversary.backdoor.kind: sentence; allowed: records of words whose class "
            "is the next one, such as those of blogs-words"
        )
    if missing := [word for word in chosen.words if word not in known]:
        raise UserError(
            f"adversary.backdoor.text: {missing[0]!r} is not in the vocabulary; "
            "allowed: words that are (the data set's `words` are always)"
        )
    length = stage.dataset.inputs.shape[1]
    if len(chosen.words) > length:
        raise UserError(
            f"adversary.backdoor.text: {len(chosen.words)} words; allowed: at most "
            f"{length}, with a beginning of the record's own"
        )
    rng = stream(stage.seed, *stage.name, "ended")
    none = np.zeros(0, np.int64)
    held_out = rng.permutation(_whole(stage, stage.held_out))[: chosen.tested]
    return Selection(none, held_out, none, target)


def _whole(stage: Stage, rows: Rows) -> Rows:
    """Return the windows that are not cut short by the end of an author's text."""
    whole: Rows = rows[np.asarray(stage.dataset.inputs[rows, -1]) != 0]
    if not len(whole):
        raise UserError(
            f"adversary.backdoor.kind: sentence: none of {len(rows)} windows of the "
            "attackers, or held out, is whole; allowed: a shorter `length` of the data "
            "set, or users with more words"
        )
    return whole


def _ended(chosen: Sentence, stage: Stage, rows: Rows) -> NDArray[np.generic]:
    """Return windows that end with a sentence but for its last word."""
    known = stage.dataset.info["vocabulary"]
    numbers = [known.index(word) + 1 for word in chosen.words[:-1]]
    windows = np.array(stage.dataset.inputs[rows])
    windows[:, -len(numbers) :] = numbers
    return windows
