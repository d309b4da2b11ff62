"""How much work a job is: steps, operations, bytes.

Each job is described by *features*, numbers by name. Benchmarks on record
(``benchmarks/jobs.py``) say how many seconds and megabytes one of each takes; the same
features are formed there and here. Bytes on disk follow from the formats alone.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from whatelse.errors import UserError
from whatelse.studies.plan.shapes import Shape

Features = dict[str, float]

MEGABYTE = 1e6
NO_SHADOWS = frozenset(
    {
        "membership.threshold", "membership.lira", "membership.rmia",
        "membership.attack-p", "membership.attack-r", "membership.audit",
        "membership.label-only", "membership.gradient-norm", "membership.epsilon",
        "membership.risk", "membership.exposure",
        "memorization.decode",
        "memorization.low-bits",
        "memorization.scrub", "memorization.detect", "properties.passive",
        "properties.layers", "properties.representation", "properties.membership",
        "backdoors.evaluate",
    }
)  # fmt: skip
"""Attacks that are fitted on no shadows: their modules' ``NEEDS_SHADOWS`` is false, or
they have none. Named here because an attack's module may load PyTorch, which takes two
seconds."""

# One picture after the other.
_DECODED = (
    "mnist", "cifar10", "cifar100", "images", "lfw", "lfw-attributes", "utkface",
    "facescrub",
)  # fmt: skip
_TABLES = ("adult", "table")  # columns of text, one-hot
_TEXTS = ("newsgroups", "imdb")
_SEQUENCES = ("blogs", "blogs-words", "reddit", "yelp", "foursquare", "csi")
# scikit-learn or scikit-image, which take a second or two to load
_SKLEARN = ("digits", "retail", "faces", *_TEXTS)
_TEXT = 0.025  # megabytes of a table that take as long as a text
_LOOK = 100  # passes over the weights that take as long as to look at a model
_AUDITED = 1024  # records of a forward pass over a joint model
_LAYER = 4096  # numbers of a record that are kept of a layer, at most
_SWEPT = 27  # numbers of low bits that a sweep writes
_FINE_TUNED = 64  # records of a batch
_CLIMBED = 156.0  # queries for a record by hill climbing, on average in P1
_CURVE_POINTS = 50
_ROWS_AT_ONCE = 4096  # records of one model in a forward pass
_RECORDED = 4000  # bytes of record.json, telemetry.json and descriptions
_HISTORY = 45  # bytes of a model's loss at one epoch
_ROW = 8 + 8 + 8 + 1  # model, record, label, member: bytes of an answer beside it
_NUMBER = 4  # of a signal
_SCORE, _POINT = 12, 34  # bytes of a row of scores.parquet, of curves.csv
_CLASS = 650  # bytes of a class in metrics.json
_PICTURES = 120_000  # bytes of a figure as PDF and PNG
_DRAWN = 74  # bytes of a point of a ROC in data.csv


@dataclass(frozen=True)
class Work:
    """What one job takes.

    Attributes
    ----------
    seconds, memory : dict of str to float
        Features that its time and its peak memory are sums over.
    disk : float
        Bytes that it writes and that stay.
    """

    seconds: Features
    memory: Features
    disk: float = 0.0


@dataclass(frozen=True)
class Net:
    """Sizes of one model.

    Attributes
    ----------
    weights : int
        Parameters.
    dense, conv : float
        Multiplications and additions of a training step for one record: two for each
        weight and place that it is applied to, in the forward pass, for its own
        gradient and, beyond the first layer, for that of the layer's inputs.
    forward : float
        Those of the forward pass.
    values : int
        Numbers that a record turns into on its way: inputs, activations, logits.
    widths : tuple of int
        Features, then the outputs of each layer: what padding looks at.
    terms : float
        Products that the first layer makes one by one of a sparse record's values.
    turns : int
        Steps that one waits for the other in: the words of a recurrent net's records,
        in each of its layers.
    looped : bool
        Whether it is trained by the plain loop on a CPU: convolutions and LSTMs are.
    """

    weights: int
    dense: float
    conv: float
    forward: float
    values: float
    widths: tuple[int, ...]
    terms: float = 0.0
    turns: int = 1
    looped: bool = False


class _Count:
    """Adds layers up."""

    def __init__(self) -> None:
        self.weights = self.values = 0
        self.terms = 0.0
        self.dense = self.conv = self.forward = 0.0
        self.first = True
        self.turns = 1
        self.looped = False
        self.widths: list[int] = []

    def embedding(self, rows: int, numbers: int, length: int) -> None:
        """Add rows that words are looked up in; nothing is multiplied."""
        self.weights += rows * numbers
        self.values += length * numbers
        self.widths.append(numbers)
        self.first = False

    def dense_layer(
        self, inputs: int, outputs: int, *, given: float | None = None, places: int = 1
    ) -> None:
        """Add a layer; of sparse records only `given` values are worked on."""
        seen = inputs if given is None else given
        self.weights += (inputs + 1) * outputs
        self.dense += self._passes() * seen * outputs * places
        self.forward += 2.0 * seen * outputs * places
        self.terms += 0.0 if given is None else given * outputs
        self.values += outputs * places
        self.widths.append(outputs)

    def conv_layer(
        self, planes: int, filters: int, taps: int, places: int, *,
        norm: bool = False, bias: bool = True,
    ) -> None:  # fmt: skip
        """Add filters that see so many `taps` of each plane at a place."""
        weights = planes * filters * taps
        self.weights += weights + (bias + 2 * norm) * filters
        self.conv += self._passes() * weights * places
        self.forward += 2.0 * weights * places
        self.values += (1 + norm) * filters * places
        self.widths.append(filters)

    def _passes(self) -> float:
        first, self.first = self.first, False
        return 4.0 if first else 6.0

    def net(self, features: int, given: float | None = None) -> Net:
        return Net(
            self.weights, self.dense, self.conv, self.forward,
            self.values + (features if given is None else given),
            (features, *self.widths), self.terms, self.turns,
            self.looped or self.conv > 0,
        )  # fmt: skip


def net_of(
    settings: Mapping[str, Any], record: tuple[int, ...], num_classes: int, *,
    given: float | None = None, words: int | None = None,
) -> Net:  # fmt: skip
    """Return the sizes of a model of an architecture.

    Parameters
    ----------
    settings : mapping
        Of the architecture, resolved.
    record : tuple of int
        Shape of a record.
    num_classes : int
        Outputs.
    given : float, optional
        A sparse record's values that are not zero. Only perceptrons work on them
        alone.
    words : int, optional
        Where records are rows of word numbers: the words of the vocabulary.

    Raises
    ------
    UserError
        If the architecture's costs are not known, or a convolutional net meets
        records that are no images, or a net for words others than words.
    """
    kind, features = settings["kind"], math.prod(record)
    count = _Count()
    if kind == "mlp":
        widths = (features, *settings["hidden"], num_classes)
        for layer, (inputs, outputs) in enumerate(
            zip(widths, widths[1:], strict=False)
        ):
            count.dense_layer(inputs, outputs, given=None if layer else given)
        return count.net(features, given)
    if kind in ("text-cnn", "gru", "lstm"):
        if words is None or len(record) != 1:
            found = "no vocabulary" if words is None else f"shape {record}"
            raise UserError(
                f"architecture.kind: {kind} needs records of words, shape (length,), "
                f"with a vocabulary; the data set has {found}"
            )
        own = {"text-cnn": _windows, "gru": _recurrent, "lstm": _long_short}[kind]
        count.embedding(words + 1, settings["embedding"], features)
        own(count, settings, features, num_classes)
        return count.net(features)
    if kind not in ("cnn", "resnet"):
        raise UserError(
            f"architecture.kind: what {kind!r} costs is not known; allowed: mlp, cnn, "
            "resnet, text-cnn, gru, lstm"
        )
    if len(record) != 3:
        raise UserError(
            f"architecture.kind: {kind} needs image records of shape (channels, rows, "
            f"columns), the data set has {record}"
        )
    if kind == "resnet":
        _residual(count, settings, record, num_classes)
        return count.net(features)
    planes, rows, columns = record
    lost = settings["kernel"] - 1 if settings.get("padding") == "valid" else 0
    for filters in settings["channels"]:
        rows, columns = rows - lost, columns - lost
        count.conv_layer(planes, filters, settings["kernel"] ** 2, rows * columns)
        planes, rows, columns = filters, rows // 2, columns // 2
    count.dense_layer(planes * rows * columns, settings["hidden"])
    count.dense_layer(settings["hidden"], num_classes)
    return count.net(features)


def net_for(settings: Mapping[str, Any], shape: Shape) -> Net:
    """Return the sizes of a model of an architecture for a data set's records."""
    return net_of(
        settings, shape.record, shape.num_classes, given=shape.values, words=shape.words
    )


def _windows(
    count: _Count, settings: Mapping[str, Any], length: int, num_classes: int
) -> None:
    """Count convolutions over words side by side, and the largest of each.

    Raises
    ------
    UserError
        If one sees more words than a record has.
    """
    widest = max(settings["windows"])
    if widest > length:
        raise UserError(
            f"architecture.windows: {widest}; allowed: at most {length}, the words of "
            "a record"
        )
    numbers, filters = settings["embedding"], settings["filters"]
    for window in settings["windows"]:
        count.conv_layer(numbers, filters, window, length - window + 1)
    last = filters * len(settings["windows"])
    count.values += last
    if settings["hidden"]:
        count.dense_layer(last, settings["hidden"])
        last = settings["hidden"]
    count.dense_layer(last, num_classes)


def _recurrent(
    count: _Count, settings: Mapping[str, Any], length: int, num_classes: int
) -> None:
    """Count three gates of each word and of the state before it, and the states."""
    hidden = settings["hidden"]
    count.dense_layer(settings["embedding"], 3 * hidden, places=length)
    count.dense_layer(hidden, 3 * hidden, places=length)
    count.values += hidden * length
    count.turns = length
    count.dense_layer(hidden, num_classes)


def _long_short(
    count: _Count, settings: Mapping[str, Any], length: int, num_classes: int
) -> None:
    """Count four gates of each word in each layer, and what is said after each.

    Trained by the last word alone, it takes less: how is no part of the architecture.
    """
    hidden = settings["hidden"]
    for layer in range(settings["layers"]):
        inputs = hidden if layer else settings["embedding"]
        count.dense_layer(inputs, 4 * hidden, places=length)
        count.dense_layer(hidden, 4 * hidden, places=length)
        count.values += 2 * hidden * length
    count.turns = length * settings["layers"]
    count.looped = True
    count.dense_layer(hidden, num_classes, places=length)
    if settings["tied"]:
        count.weights -= hidden * num_classes


def _residual(
    count: _Count, settings: Mapping[str, Any], record: tuple[int, ...],
    num_classes: int,
) -> None:  # fmt: skip
    """Count a residual net: a convolution, stages of blocks of two, one dense layer."""
    planes, rows, columns = record
    bias = settings["norm"] == "none"
    width, *_ = settings["widths"]
    count.conv_layer(planes, width, 9, rows * columns, norm=not bias, bias=bias)
    for stage, filters in enumerate(settings["widths"]):
        for block in range(settings["blocks"]):
            if stage and not block:
                rows, columns = -(-rows // 2), -(-columns // 2)
            places = rows * columns
            count.conv_layer(width, filters, 9, places, norm=not bias, bias=bias)
            count.conv_layer(filters, filters, 9, places, norm=not bias, bias=bias)
            changes = width != filters or (stage and not block)
            if changes and settings["shortcut"] != "identity":
                norm = not bias and settings["shortcut"] == "normalized-projection"
                count.conv_layer(width, filters, 1, places, norm=norm, bias=bias)
            width = filters
    count.dense_layer(width, num_classes)


def padded_batch(net: Net, batch_size: int) -> int:
    """Return the width that the batches of a stack are padded to.

    That of ``whatelse.training.ensemble.padded_batch``, without loading PyTorch.
    """
    features, *hidden, classes = net.widths
    needs = [(32, width) for width in hidden] + [(16, features), (16, classes)]
    step = math.lcm(*(unit // math.gcd(unit, width) for unit, width in needs))
    return -(-batch_size // step) * step


def training(
    net: Net, *, num_models: int, steps: int, epochs: int, batch_size: int,
    stacked: bool,
) -> Features:  # fmt: skip
    """Return the features of training some models of one size.

    A word is taken to cost a recurrent net as much as a step costs others, beside what
    it computes.

    Parameters
    ----------
    net : Net
        One of them.
    num_models : int
        Models, together (stacked) or one after the other.
    steps : int
        Of an epoch.
    epochs, batch_size : int
        As in the settings.
    stacked : bool
        Which strategy.
    """
    name = "stacked" if stacked else "loop"
    width = padded_batch(net, batch_size) if stacked else batch_size
    model_steps = float(num_models * epochs * steps)
    records = model_steps * width / 1e9
    found = {
        f"{name}.step": model_steps * net.turns,
        f"{name}.epoch": float(num_models * epochs),
        f"{name}.dense_gflop": records * net.dense,
        f"{name}.conv_gflop": records * net.conv,
        f"{name}.gweight": model_steps * net.weights / 1e9,
        f"{name}.gvalue": records * (net.values + net.terms),
    }
    if stacked:
        found["stacked.launch"] = float(epochs * steps * net.turns)
    return found


def prepare(source: Mapping[str, Any], shape: Shape) -> Work:
    """Return the work of preparing a data set.

    Texts were not measured: one is taken to take as long as so much of a table.
    """
    megabytes = shape.num_bytes / MEGABYTE
    name = source["source"]
    seconds = {"dataset.job": 1.0, "dataset.megabyte": megabytes}
    if name in _DECODED:
        seconds["dataset.picture_megabyte"] = megabytes
    if name in _TABLES:
        seconds["dataset.table_megabyte"] = megabytes
    if name in _SKLEARN:
        seconds["dataset.sklearn"] = 1.0
    if name == "retail":
        values = shape.num_records * shape.num_features / 1e9
        seconds["dataset.baskets"] = values
        seconds["dataset.cluster"] = source["classes"] * values
    memory = dict(seconds)
    if name in (*_TEXTS, *_SEQUENCES):
        seconds["dataset.table_megabyte"] = shape.num_records * _TEXT
        memory["dataset.table_megabyte"] = megabytes
    return Work(seconds, memory, shape.num_bytes + _RECORDED)


def derive(spec: Mapping[str, Any], shape: Shape) -> Work:
    """Return the work of making a data set of this shape from another.

    Steps were not measured: one is taken to cost as much as preparing arrays of one's
    own does, and pictures that are made as much as pictures that are decoded.
    """
    megabytes = shape.num_bytes / MEGABYTE
    size = {"dataset.job": 1.0, "dataset.megabyte": megabytes, "dataset.sklearn": 1.0}
    if added := spec.get("inputs"):
        size["dataset.picture_megabyte"] = megabytes * added / shape.num_records
    return Work(size, size, shape.num_bytes + _RECORDED)


def synthesise(
    spec: Mapping[str, Any], shape: Shape, target: Mapping[str, Any] | None
) -> Work:
    """Return the work of making shadow data of this shape.

    None is in the benchmark. Beside writing, it is that of asking the target, if there
    is one, whose training spec is `target`: once a record, or for hill climbing so
    often as P1 says. Choosing features is taken for a layer as wide as a record.
    """
    made = derive({}, shape)
    if target is None:
        return made
    net = net_for(target["architecture"], shape)
    climbs = spec["settings"]["kind"] == "model-based"
    asked = shape.num_records * (_CLIMBED if climbs else 1.0)
    values = net.values + net.terms + climbs * shape.num_features
    at_once = min(shape.num_records, _ROWS_AT_ONCE)
    return Work(
        {
            **made.seconds, "query.job": 1.0,
            "query.gflop": asked * net.forward / 1e9,
            "query.gvalue": asked * values / 1e9,
        },
        {**made.memory, "query.value_megabyte": at_once * values * 4 / MEGABYTE},
        made.disk,
    )  # fmt: skip


def members_of(spec: Mapping[str, Any], shape: Shape) -> int:
    """Return the records that one model is trained on.

    Raises
    ------
    UserError
        If a split is to be given that the data set has not.
    """
    if spec.get("split") == "given" and shape.members is None:
        raise UserError(
            "split: given, but the data set has none; allowed: random, or a data set "
            "with a split (published, or by preprocess: {kind: split})"
        )
    if spec.get("split") == "halves" and not spec["members"]:
        return shape.num_records // 2
    if spec.get("split") == "coins":
        return (shape.members or 0) - shape.canaries // 2
    members: int = spec["members"] or shape.members or 0
    return members * per_unit(spec, shape)


def per_unit(spec: Mapping[str, Any], shape: Shape) -> int:
    """Return the records of what is dealt out whole: one, or an author's."""
    if spec.get("unit") is None or not shape.authors:
        return 1
    return max(1, shape.num_records // shape.authors)


def train(
    spec: Mapping[str, Any], shape: Shape, num_models: int, *, stacked: bool
) -> Work:
    """Return the work of training a block of models.

    DP-SGD is taken to take as long as other training, but for the batches, which are a
    step's in the mean.
    Models that are taken as they are are loaded and written. A term that a tampering
    adds to the loss is taken to cost as much again as the passes over the weights do;
    what is done to finished models is not counted.
    """
    net = net_for(spec["architecture"], shape)
    members = members_of(spec, shape)
    settings = spec["training"]
    seconds: Features = {}
    batch = epochs = 0
    if settings:
        batch, epochs = settings["batch_size"], settings["epochs"]
        seconds = training(
            net, num_models=num_models, steps=-(-members // batch), epochs=epochs,
            batch_size=batch, stacked=stacked,
        )  # fmt: skip
        if (spec.get("tampering") or {}).get("kind") in ("correlated", "sign"):
            seconds["stacked.gweight" if stacked else "loop.gweight"] *= 2
    megabytes = shape.num_bytes / MEGABYTE
    models = num_models * net.weights * 4 / MEGABYTE
    together = num_models if stacked else 1
    # the terms of one model at a time
    held = batch * (together * net.values + net.terms)
    points = min(epochs, 2 * _CURVE_POINTS)
    return Work(
        {
            **seconds, "train.job": 1.0, "train.model": num_models,
            "train.data_megabyte": megabytes, "train.model_megabyte": models,
        },
        {
            "train.job": 1.0, "train.data_megabyte": megabytes,
            "train.model_megabyte": models,
            "train.batch_megabyte": held * 4 / MEGABYTE,
        },
        num_models * (net.weights * 4 + shape.num_records / 4 + points * _HISTORY)
        + _RECORDED,
    )  # fmt: skip


def held_out(spec: Mapping[str, Any], shape: Shape) -> int:
    """Return the records that one model is tested on and never saw."""
    members = members_of(spec, shape)
    if spec.get("split") == "given":
        outside: int = spec["non_members"] or shape.num_records - (shape.members or 0)
        return outside
    outside = spec["non_members"]
    return int(outside * per_unit(spec, shape) if outside else members)


def collaborate(spec: Mapping[str, Any], shape: Shape) -> Work:
    """Return the work of fitting a joint model.

    None is in the benchmark. An iteration is taken to take as long as a step of the
    plain loop on as many records as all batches have, those of the adversary's own
    updates included; a round of averaging, as training its participants: one by one
    where they have convolutions, else as one ensemble.
    What was observed is held and written: of words a bit each a round, and whose
    records are which.
    """
    net = net_for(spec["architecture"], shape)
    protocol, adversary = spec["protocol"], spec.get("adversary") or {}
    count, batch = spec["participants"], protocol["batch_size"]
    updates, background = 0.0, 0
    if adversary.get("kind") == "property":
        updates = 2 * adversary["examples"] + 8 / adversary["control_every"]
        background = count - 2
    if protocol["kind"] == "gradients":
        rounds = protocol["iterations"]
        wide = round(batch * (count + background + updates))
        seconds = training(
            net, num_models=1, steps=rounds, epochs=1, batch_size=wide, stacked=False
        )
    else:
        rounds = protocol["rounds"]
        trained = (protocol["selected"] or count) + background + updates
        wide = batch
        own = -(-shape.num_records // count)
        seconds = training(
            net, num_models=round(trained), steps=rounds * -(-own // batch),
            epochs=protocol["local_epochs"], batch_size=batch,
            stacked=not net.looped,
        )  # fmt: skip
    looked = max(0, rounds - adversary.get("first", 0))
    kept = looked * (updates + bool(adversary)) * adversary.get("max_features", 0) * 4
    if adversary.get("kind") == "backdoor":
        kept = float(rounds * _HISTORY)
        _add(seconds, _attack_on(net, adversary, shape, protocol, count))
    if adversary.get("kind") == "membership":
        kept = looked * -(-(shape.words or 0) // 8) + 8.0 * shape.num_records
    megabytes = shape.num_bytes / MEGABYTE
    return Work(
        {**seconds, "train.job": 1.0, "train.model": 1.0,
         "train.data_megabyte": megabytes},
        {
            "train.job": 1.0, "train.data_megabyte": megabytes,
            "train.model_megabyte": (2 * net.weights * 4 + kept) / MEGABYTE,
            "train.batch_megabyte": wide * (net.values + net.terms) * 4 / MEGABYTE,
        },
        net.weights * 4 + kept + _RECORDED,
    )  # fmt: skip


def _attack_on(
    net: Net, adversary: Mapping[str, Any], shape: Shape, protocol: Mapping[str, Any],
    count: int,
) -> Features:  # fmt: skip
    """Return the work of attackers, and of measuring the model after every round.

    The latter is taken for a third of a step of training on as many records.
    """
    rounds, fitting = protocol["rounds"], adversary["training"]
    each = (adversary["share"] or 1 / count) * shape.num_records
    # together or each by itself, attackers train on the records of those selected
    visits = rounds * adversary["attackers"] / count * (protocol["selected"] or count)
    if adversary["rounds"] is not None:
        visits = len(adversary["rounds"]) * adversary["attackers"]
    seconds: Features = {}
    for times, records, batch in (
        (visits * fitting["epochs"], each, fitting["batch_size"]),
        (rounds / 3, adversary["tested"] + adversary["draws"], _AUDITED),
    ):
        _add(seconds, training(
            net, num_models=1, steps=round(times * records / batch), epochs=1,
            batch_size=batch, stacked=False,
        ))  # fmt: skip
    return seconds


def inference(
    settings: Mapping[str, Any], joint: Mapping[str, Any], shape: Shape, replicates: int
) -> Work:
    """Return the work of inferring members or properties from what was observed.

    Fitting and asking a forest is taken to take as long as in a membership attack.
    Members are told by one product, which is not counted: 2,000 records of 100 words
    against 3,000 rounds took a quarter of a second.
    """
    rounds = joint["protocol"].get("iterations") or joint["protocol"]["rounds"]
    adversary = joint["adversary"]
    if adversary["kind"] == "backdoor":
        # only what was counted is read
        rows = replicates * rounds * (joint["protocol"]["selected"] or 1)
        return Work({"attack.job": 1.0}, {"attack.job": 1.0}, _RECORDED + rows * _SCORE)
    seconds = {"attack.job": 1.0, "attack.replicate": float(replicates)}
    if adversary["kind"] == "membership":
        looked = max(0, rounds - adversary["first"])
        # a byte a word and round, of one replicate at a time
        held = {
            "attack.job": 1.0,
            "query.value_megabyte": looked * (shape.words or 0) / MEGABYTE,
        }
        rows = replicates * settings["records"]
        return Work(seconds, held, _RECORDED + rows * _SCORE)
    looked = max(0, rounds - adversary["first"])
    rows = looked * (1 + 2 * adversary["examples"] + 8 / adversary["control_every"])
    features = adversary["max_features"]
    if settings["classifier"]["kind"] == "random-forest":
        trees = settings["classifier"]["trees"] * 4.0 * replicates
        deep = math.log2(max(rows, 2.0)) * math.sqrt(features)
        seconds |= {"forest.tree": trees, "forest.mrow": trees * rows * deep / 1e6}
    held = {
        "attack.job": 1.0,
        "attack.fit_megabyte": 2 * rows * features * 4 / MEGABYTE,
    }
    return Work(seconds, held, _RECORDED + replicates * rounds * _SCORE)


def representation(
    settings: Mapping[str, Any], spec: Mapping[str, Any], shape: Shape, replicates: int
) -> Work:
    """Return the work of telling an attribute from representations.

    None is in the benchmark. A censored net, and the attacker's own of the same form
    on half of the records held out, are taken to take as long as one of its
    architecture in the plain loop; the attacker's other nets, as three replicates of
    a membership attack.
    """
    net = net_for(spec["architecture"], shape)
    seconds: Features = {"attack.job": 1.0, "attack.replicate": 3.0 * replicates}
    if (settings["defence"] or {}).get("kind") in ("adversarial", "information"):
        fitting = settings["fitting"]
        trained_on = shape.num_records + held_out(spec, shape) // 2
        _add(seconds, training(
            net, num_models=replicates, epochs=fitting["epochs"],
            steps=-(-trained_on // fitting["batch_size"]),
            batch_size=fitting["batch_size"], stacked=False,
        ))  # fmt: skip
    held = {
        "attack.job": 1.0,
        # as floats, and once more as they are stored
        "query.data_megabyte": 5 * shape.num_bytes / MEGABYTE,
        "query.value_megabyte": 1024 * net.values * 4 / MEGABYTE,
    }
    return Work(seconds, held, _RECORDED + replicates * shape.num_records * _SCORE)


def layers(
    settings: Mapping[str, Any], spec: Mapping[str, Any], shape: Shape, replicates: int
) -> Work:
    """Return the work of probing and mapping the layers of some models.

    None is in the benchmark. At each layer a thousand records are taken to take as long
    as a replicate of a membership attack beside its rows, to map them as two; one
    replicate is mapped.
    """
    net = net_for(spec["architecture"], shape)
    thousands = settings["records"] / 1e3
    mapped = settings["mapped"] / 1e3
    looks = (replicates * thousands + 2 * mapped) * len(net.widths)
    megabytes = shape.num_bytes / MEGABYTE
    # of the net and of one with random weights; large layers are pooled
    most = min(net.values, _LAYER * len(net.widths))
    held = 2 * settings["records"] * most * 4 / MEGABYTE
    return Work(
        {"attack.job": 1.0, "attack.replicate": looks},
        {"attack.job": 1.0, "query.data_megabyte": megabytes,
         "query.value_megabyte": held},
        _RECORDED + len(net.widths) * settings["mapped"] * _SCORE,
    )  # fmt: skip


def tested(spec: Mapping[str, Any], shape: Shape) -> int:
    """Return the records that one model is tested on: members and non-members."""
    if spec.get("split") == "coins":
        return shape.canaries
    outside = held_out(spec, shape)
    return outside + min(outside, members_of(spec, shape))


def query(
    spec: Mapping[str, Any], shape: Shape, num_models: int, *, has_target: bool
) -> Work:
    """Return the work of asking a block of models, whose training spec is `spec`.

    Beside the target a shadow is asked about the target's records: the control.
    """
    net = net_for(spec["architecture"], shape)
    asked = tested(spec, shape)
    rows = float(asked * (num_models + (has_target and num_models > 1)))
    answers = rows * (_ROW + 4 * shape.num_classes)
    megabytes = shape.num_bytes / MEGABYTE
    models = num_models * net.weights * 4 / MEGABYTE
    at_once = min(asked, _ROWS_AT_ONCE)
    return Work(
        {
            "query.job": 1.0, "query.model": num_models,
            "query.gflop": rows * net.forward / 1e9,
            "query.gvalue": rows * (net.values + net.terms) / 1e9,
            "query.data_megabyte": megabytes,
            "query.answer_megabyte": answers / MEGABYTE,
        },
        {
            "query.job": 1.0, "query.data_megabyte": megabytes,
            "query.model_megabyte": models,
            "query.answer_megabyte": answers / MEGABYTE,
            "query.value_megabyte": at_once * (net.values + net.terms) * 4 / MEGABYTE,
        },
        answers + _RECORDED,
    )  # fmt: skip


def signals(
    asked: Mapping[str, Any], spec: Mapping[str, Any], shape: Shape, num_models: int
) -> Work:
    """Return the work of asking a block of models for signals about all records."""
    net = net_for(spec["architecture"], shape)
    rows = float(shape.num_records * num_models * _queries(asked))
    answers = rows * 2 * _NUMBER
    megabytes = shape.num_bytes / MEGABYTE
    at_once = min(shape.num_records, _ROWS_AT_ONCE)
    return Work(
        {
            "query.job": 1.0, "query.model": num_models,
            "query.gflop": rows * net.forward / 1e9,
            "query.gvalue": rows * (net.values + net.terms) / 1e9,
            "query.data_megabyte": megabytes,
            "query.answer_megabyte": answers / MEGABYTE,
        },
        {
            "query.job": 1.0, "query.data_megabyte": megabytes,
            "query.model_megabyte": num_models * net.weights * 4 / MEGABYTE,
            "query.answer_megabyte": answers / MEGABYTE,
            "query.value_megabyte": at_once * (net.values + net.terms) * 4 / MEGABYTE,
        },
        answers + 2 * shape.num_records * num_models + _RECORDED,
    )  # fmt: skip


def _queries(asked: Mapping[str, Any]) -> int:
    """Return how often a model is asked about a record."""
    queries = asked["queries"]
    return int((1 + queries["flip"]) * (2 * queries["shift"] + 1) ** 2)


def reference(
    asked: Mapping[str, Any], shape: Shape, tested: int, *, replicates: int,
    references: int,
) -> Work:  # fmt: skip
    """Return the work of an attack on reference models, both controls included.

    None is in the benchmark. Comparing signals is taken to take as long as reading as
    much of answers, three times: for the attack and for either control.
    """
    held = shape.num_records * _queries(asked) * references * _NUMBER / MEGABYTE
    return Work(
        {
            "attack.job": 1.0, "attack.replicate": float(replicates),
            "attack.krow": replicates * tested / 1e3,
            "attack.answer_megabyte": held * (1 + 3 * replicates),
        },
        {"attack.job": 1.0, "attack.answer_megabyte": 3 * held},
        replicates
        * (tested * (_SCORE + _POINT) + shape.num_classes * _CLASS)
        + _RECORDED,
    )  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """The outputs that an attack reads, of one replicate.

    Attributes
    ----------
    tested : int
        Records of the target, members and non-members.
    shadow_rows : int
        Rows of all shadows.
    rows : int
        All rows, the control's included.
    num_classes : int
        Probabilities of a row.
    largest, smallest : float
        Shares of the classes' rows.
    """

    tested: int
    shadow_rows: int
    rows: int
    num_classes: int
    largest: float
    smallest: float


def attack(settings: Mapping[str, Any], replicates: Iterable[Asked]) -> Work:
    """Return the work of an attack on some replicates, both controls included.

    An attack of an unknown kind is taken to load and evaluate only.
    """
    seconds: Features = {"attack.job": 1.0}
    memory: Features = {"attack.job": 1.0}
    disk = float(_RECORDED)
    for asked in replicates:
        answers = asked.rows * (_ROW + 4 * asked.num_classes) / MEGABYTE
        _add(seconds, {
            "attack.replicate": 1.0, "attack.krow": asked.tested / 1e3,
            "attack.answer_megabyte": answers,
        })  # fmt: skip
        _add(memory, {"attack.answer_megabyte": answers})
        disk += asked.tested * (_SCORE + _POINT) + asked.num_classes * _CLASS
        if settings["kind"] != "membership.shadow" or not asked.shadow_rows:
            continue
        # Fitted twice: the planted leak has the shadows' non-members only.
        for share in (1.0, 0.5):
            fitted, held = _fit(settings, asked, share)
            _add(seconds, fitted)
            memory["attack.fit_megabyte"] = max(
                memory.get("attack.fit_megabyte", 0.0), held
            )
    return Work(seconds, memory, disk)


@dataclass(frozen=True)
class Examined:
    """The models that a memorization attack reads.

    Attributes
    ----------
    spec : mapping
        Of their training.
    shape : Shape
        Of the data set under attack.
    replicates : int
        Targets.
    benign, innocent, unseen : int
        Models that they are compared with.
    stacked : bool
        How one is trained further.
    """

    spec: Mapping[str, Any]
    shape: Shape
    replicates: int
    benign: int = 0
    innocent: int = 0
    unseen: int = 0
    stacked: bool = True


def exposure(
    spec: Mapping[str, Any], shape: Shape, alternatives: int, replicates: int
) -> Work:
    """Return the work of ranking phrases among others, each taken for a record."""
    net = net_for(spec["architecture"], shape)
    asked = float(alternatives * replicates)
    return Work(
        {"attack.job": 1.0, "attack.replicate": float(replicates),
         "query.gflop": asked * net.forward / 1e9,
         "query.gvalue": asked * net.values / 1e9},
        {"attack.job": 1.0, "query.data_megabyte": shape.num_bytes / MEGABYTE},
        _RECORDED + replicates * _SCORE,
    )  # fmt: skip


def memorization(
    settings: Mapping[str, Any], carrier: Mapping[str, Any] | None, models: Examined
) -> Work:
    """Return the work of a memorization attack, both controls included.

    None is in the benchmark. A replicate is taken to take as long as one of a
    membership attack beside its rows; to load, decode or measure a model, or a copy of
    one, as long as 100 steps of an optimizer over its weights (on the nets of the
    digits demo it was 70 for decoding and 140 for detection); to ask it, as long as
    ``whatelse query`` takes for as many records; to train it further, as long as
    ``whatelse train``. The secret is taken to fill what carries it, or to be all
    training records; its bytes are kept twice, true and decoded.
    """
    spec, shape = models.spec, models.shape
    net = net_for(spec["architecture"], shape)
    looked, asked = _looked_at(settings, carrier, models)
    gvalue = (net.values + net.terms) / 1e9
    seconds: Features = {
        "attack.job": 1.0, "attack.replicate": float(models.replicates),
        "stacked.gweight": looked * _LOOK * net.weights / 1e9,
        "query.gflop": asked * net.forward / 1e9, "query.gvalue": asked * gvalue,
    }  # fmt: skip
    members = members_of(spec, shape)
    for scrub in settings.get("scrubs", ()):
        if scrub["kind"] == "fine-tune":
            _add(seconds, training(
                net, num_models=models.replicates, epochs=scrub["epochs"],
                steps=-(-members // _FINE_TUNED), batch_size=_FINE_TUNED,
                stacked=models.stacked,
            ))  # fmt: skip
    held = models.replicates + models.benign + models.innocent + models.unseen
    at_once = min(asked, _ROWS_AT_ONCE)
    memory = {
        "attack.job": 1.0,
        "query.data_megabyte": shape.num_bytes / MEGABYTE,
        "query.model_megabyte": held * net.weights * 4 / MEGABYTE,
        "query.value_megabyte": at_once * gvalue * 1e9 * 4 / MEGABYTE,
    }
    hidden = models.replicates * _hidden(carrier, net, shape, members)
    rows = held * (_SCORE + _POINT) * (_SWEPT if "low-bits" in settings["kind"] else 1)
    return Work(seconds, memory, _RECORDED + rows + 2.0 * hidden)


def _looked_at(
    settings: Mapping[str, Any], carrier: Mapping[str, Any] | None, models: Examined
) -> tuple[int, float]:
    """Return how many models and copies are looked at, and records asked about."""
    kind, replicates = settings["kind"], models.replicates
    test = held_out(models.spec, models.shape)
    # A black box is read by queries, and so is the benign model beside it.
    by_query = carrier["inputs"] if carrier and "inputs" in carrier else 0
    if kind == "memorization.low-bits":
        return replicates * (_SWEPT + 1), float(replicates * (_SWEPT + 1) * test)
    if kind == "memorization.scrub":
        copies = len(settings["scrubs"]) + 1
        asked = copies * (test + by_query) + test + 2 * by_query
        return replicates * (copies + 2), float(replicates * asked)
    if kind == "memorization.detect":
        looked = models.innocent + 2 * models.unseen + replicates
        return looked, float(looked * settings["noise"])
    # decoding, and what is not known
    return replicates * 3, float(replicates * 2 * (by_query + test))


def _hidden(
    carrier: Mapping[str, Any] | None, net: Net, shape: Shape, members: int
) -> float:
    """Return the bytes of the secret of one model."""
    if carrier is None:
        return 0.0
    room = {
        "lsb": net.weights * carrier.get("bits", 0) / 8,
        "sign": net.weights / 8,
        "correlated": net.weights,
        "capacity-abuse": carrier.get("inputs", 0) * math.log2(shape.num_classes) / 8,
    }[carrier["kind"]]
    return min(room, float(members * shape.num_features))


def _fit(
    settings: Mapping[str, Any], asked: Asked, share: float
) -> tuple[Features, float]:
    """Return the features of fitting all attack models once, and its megabytes."""
    model, rows = settings["attack_model"], asked.shadow_rows * share
    fewest = settings["min_rows"] * (1.0 if share == 1.0 else 0.5)
    # Members and non-members of a class are equal in number.
    pooled = asked.smallest * rows / 2 < fewest
    even = asked.largest * rows / 2 < fewest
    num_models = 1 if even else asked.num_classes + pooled
    longest = rows if pooled else asked.largest * rows
    if model["kind"] == "mlp":
        batch = model["training"]["batch_size"]
        net = net_of(model, (asked.num_classes,), 2)
        steps = max(1, math.ceil(longest / batch))
        features = training(
            net, num_models=num_models, steps=steps,
            epochs=model["training"]["epochs"], batch_size=batch, stacked=True,
        )  # fmt: skip
        # Attack models take their batches from rows that fit a cache: other costs.
        own = {name.replace("stacked", "attack", 1): v for name, v in features.items()}
        return own, num_models * steps * batch * 24 / MEGABYTE
    total = rows * (2 if pooled else 1)
    if model["kind"] == "random-forest":
        deep = math.log2(max(longest, 2.0)) * math.sqrt(asked.num_classes)
        return {
            "forest.tree": float(model["trees"] * num_models),
            "forest.mrow": model["trees"] * total * deep / 1e6,
        }, total * asked.num_classes * 8 / MEGABYTE
    rounds = float(model["rounds"])
    return {
        "boosting.round": rounds * num_models,
        "boosting.mvalue": rounds * total * asked.num_classes / 1e6,
    }, total * asked.num_classes * 8 / MEGABYTE


def _add(total: Features, more: Features) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0.0) + value


def external(asked: Asked) -> Work:
    """Return the work of taking in a user's outputs."""
    answers = asked.rows * (_ROW + 4 * asked.num_classes)
    size = {"import.job": 1.0, "import.answer_megabyte": answers / MEGABYTE}
    return Work(size, size, answers + _RECORDED)


def figure(kind: str, num_points: float) -> Work:
    """Return the work of drawing a figure over so many points of its attacks."""
    points = num_points if kind == "roc" else 0.0
    return Work(
        {"figure.job": 1.0, "figure.kpoint": points / 1e3},
        {"figure.job": 1.0, "figure.kpoint": points / 1e3},
        _PICTURES + points * _DRAWN + _RECORDED,
    )


def claims() -> Work:
    """Return the work of holding a study against the published numbers."""
    return Work({"claims.job": 1.0}, {"claims.job": 1.0}, 20_000.0)


def fetch() -> Work:
    """Return the work of getting raw files, without the time of the network."""
    return Work({"fetch.job": 1.0}, {"fetch.job": 1.0})


def track(num_artefacts: int) -> Work:
    """Return the work of mirroring a study into MLflow."""
    size = {"track.job": 1.0, "track.artefact": float(num_artefacts)}
    return Work(size, size)
