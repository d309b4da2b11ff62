"""An attribute told from what a net makes of a record: ``properties.representation``.

Song & Shmatikov (ICLR 2020), Secs. 3 and 4. The attacker has representations of some
records whose attribute it knows, and learns to tell that of others; censoring tries to
prevent it; de-censoring undoes that.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatelse.datasets.attributes import numbers_of
from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import majority, rate
from whatelse.measures.spread import spread
from whatelse.models.features import laid_out, module_of
from whatelse.models.outputs import about_dataset
from whatelse.models.stacked import initial
from whatelse.properties.censoring import (
    Encoder,
    censored,
    classifier,
    cut,
    fit,
    put_back,
    represent,
)
from whatelse.properties.settings import (
    Adversarial,
    Fitting,
    Information,
    Representation,
)
from whatelse.seeding import stream
from whatelse.training.blocks import Block, load_block


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Infer the attribute from representations of the target of every replicate."""
    settings = Representation.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    names, attribute = numbers_of(dataset, settings.attribute, "attribute")
    reports: list[dict[str, Any]] = []
    scores = []
    for number, (folder, *_) in enumerate(replicates_of(inputs, "models")):
        block = load_block(folder)
        report, rows = _replicate(
            settings, dataset, block, attribute, spec.seed, number
        )
        reports.append(report)
        scores.append(rows)
    columns = {
        name: [report["attribute"][name] for report in reports]
        for name in reports[0]["attribute"]
    }
    columns["test_accuracy"] = [r["target"]["test_accuracy"]["value"] for r in reports]
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {
            "replicates": reports,
            "summary": {name: spread(values) for name, values in columns.items()},
            "values": names.tolist(),
        },
        pd.concat(scores, ignore_index=True),
        pd.DataFrame(
            [{"replicate": r["replicate"], **r["attribute"]} for r in reports]
        ),
    )


def _replicate(
    settings: Representation, dataset: Dataset, block: Block,
    attribute: NDArray[np.int64], seed: int, number: int,
) -> tuple[dict[str, Any], pd.DataFrame]:  # fmt: skip
    members = np.flatnonzero(block.plan.train[0])
    free = block.held_out
    known, asked = np.array_split(
        stream(seed, "auxiliary", number).permutation(free), 2
    )
    missing = set(attribute[asked].tolist()) - set(attribute[known].tolist())
    if len(asked) < 20 or missing or len(set(attribute[known].tolist())) < 2:
        raise UserError(
            f"attribute: {settings.attribute!r}: {len(known)} records to learn from, "
            f"{len(asked)} to tell, not all values in both; allowed: more held-out "
            "records, or another attribute"
        )
    here, there = (torch.from_numpy(dataset.floats(rows)) for rows in (known, asked))
    encoder = _encoder(
        settings, block, dataset, members, attribute[members], seed, number
    )
    sent = (represent(encoder.body, here), represent(encoder.body, there))
    attacker = _Attacker(settings.attacker, known, asked, seed, number)
    told = attacker.told(sent, attribute)
    found = {
        "attribute_accuracy": told.accuracy,
        "attribute_majority": float(
            majority(attribute[known], attribute[asked]).mean()
        ),
    }
    if isinstance(settings.defence, Adversarial | Information):
        own = _own_net(settings, block, here, dataset.labels[known], seed, number)
        back = put_back(
            sent[0], represent(own.body, here), settings.attacker, seed,
            ("back", number),
        )  # fmt: skip
        again = (represent(back, sent[0]), represent(back, sent[1]))
        found["decensored_accuracy"] = attacker.told(again, attribute).accuracy
    right = int(
        (_answers(encoder, there) == dataset.labels[asked]).sum()
        + (_answers(encoder, here) == dataset.labels[known]).sum()
    )
    coin = stream(seed, "coin", number).integers(0, 2, len(attribute))
    widest = int(sent[0].std(0).argmax())  # a unit may be silent
    planted = [own.numpy()[:, widest] for own in sent]
    middle = float(np.median(planted[0]))
    plant = np.zeros(len(attribute), dtype=np.int64)
    plant[known], plant[asked] = planted[0] > middle, planted[1] > middle
    controls = {
        kind: attacker.told(sent, column).control(what)
        for kind, what, column in (
            ("negative", "an attribute that a coin chose", coin),
            ("positive", "an attribute that one feature tells", plant),
        )
    }
    return {
        "replicate": number,
        "target": {"test_accuracy": rate(right, len(free))},
        "attribute": found,
        "controls": controls,
    }, pd.DataFrame(
        {
            "replicate": number, "record": asked, "value": attribute[asked],
            "told": told.values,
        }
    )  # fmt: skip


def _encoder(
    settings: Representation, block: Block, dataset: Dataset,
    members: NDArray[np.int64], attribute: NDArray[np.int64], seed: int, number: int,
) -> Encoder:  # fmt: skip
    """Return the net whose representations are sent."""
    if settings.defence is None:
        return cut(_net(block, block.model(0)))
    net = _fresh(block, seed, "fresh", number)
    if isinstance(settings.defence, Adversarial | Information):
        inputs = torch.from_numpy(dataset.floats(members))
        return censored(
            net, inputs, dataset.labels[members], attribute, settings.defence,
            settings.fitting, seed, number,
        )  # fmt: skip
    return cut(net)  # random weights: what the attacker could tell without training


def _own_net(
    settings: Representation, block: Block, inputs: Tensor,
    labels: NDArray[np.int64], seed: int, number: int,
) -> Encoder:  # fmt: skip
    """Return the attacker's net for the task, trained on its own records alone.

    The victim's net without censoring is not for the attacker to have.
    """
    net = _fresh(block, seed, "own", number)
    task = torch.from_numpy(labels)
    fit(
        net,
        lambda rows: functional.cross_entropy(net(inputs[rows]), task[rows]),
        len(inputs), settings.fitting, seed, ("own", number),
    )  # fmt: skip
    return cut(net.eval())


def _fresh(block: Block, seed: int, name: str, number: int) -> nn.Module:
    """Return a net of a block's architecture, its weights drawn from a stream."""
    return _net(block, initial(block.architecture, stream(seed, name, number)))


def _net(block: Block, tensors: dict[str, Tensor]) -> nn.Module:
    """Return a net of a block's architecture, laid out as the CPU is fast with."""
    net = module_of(block.architecture, tensors)
    laid_out(net, torch.device("cpu"))
    return net


@dataclass(frozen=True)
class _Told:
    """What the attacker said of the records that it was asked about.

    Attributes
    ----------
    values : ndarray of int64, shape (asked,)
        The value that it said.
    odds : ndarray of float, shape (asked,)
        Of the last value against the first.
    truth : ndarray of int64, shape (asked,)
        The true value.
    """

    values: NDArray[np.int64]
    odds: NDArray[np.float64]
    truth: NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """The share that was right."""
        return float((self.values == self.truth).mean())

    def control(self, what: str) -> Control:
        """Return it as a control, of a column of two values."""
        return control_of(what, self.odds, self.truth > 0)


@dataclass(frozen=True)
class _Attacker:
    """Who learns a column from the representations of some records, to tell others'.

    Attributes
    ----------
    fitting : Fitting
        How its net is trained.
    known, asked : ndarray of int64
        The records that it learns from, and those that it is asked about.
    seed, number : int
        Name its streams.
    """

    fitting: Fitting
    known: NDArray[np.int64]
    asked: NDArray[np.int64]
    seed: int
    number: int

    def told(
        self, points: tuple[Tensor, Tensor], column: NDArray[np.int64]
    ) -> _Told:  # fmt: skip
        """Fit its net on representations of the known, and ask it of the others'."""
        here, there = (own.to(torch.float32) for own in points)
        scale, shift = here.std(0) + 1e-6, here.mean(0)
        net = classifier(
            (here - shift) / scale, column[self.known], self.fitting, self.seed,
            ("attacker", self.number),
        )  # fmt: skip
        with torch.inference_mode():
            logits = net((there - shift) / scale)
        return _Told(
            logits.argmax(1).numpy(),
            (logits[:, -1] - logits[:, 0]).numpy(),
            column[self.asked],
        )


def _answers(encoder: Encoder, inputs: Tensor) -> NDArray[np.int64]:
    whole: nn.Module = nn.Sequential(encoder.body, encoder.head)
    answers: NDArray[np.int64] = represent(whole, inputs).argmax(1).numpy()
    return answers
