"""An attribute told from what a net makes of a record: ``properties.representation``.

Song & Shmatikov (ICLR 2020), Secs. 3 and 4. The attacker has representations of some
records whose attribute it knows, and learns to tell that of others; censoring tries to
prevent it; de-censoring undoes that.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import rate
from whatelse.measures.spread import spread
from whatelse.models.features import module_of
from whatelse.models.outputs import about_dataset
from whatelse.models.stacked import initial, initial_buffers
from whatelse.properties.censoring import (
    Encoder,
    censored,
    classifier,
    cut,
    put_back,
    represent,
)
from whatelse.properties.observe import codes_of
from whatelse.properties.settings import Adversarial, Information, Representation
from whatelse.seeding import stream
from whatelse.training.blocks import Block, load_block


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Infer the attribute from representations of the target of every replicate."""
    settings = Representation.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    attribute, names = codes_of(dataset, settings.attribute)
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
            "values": names,
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
    plain = cut(module_of(block.architecture, block.model(0)))
    encoder = _encoder(
        settings, block, plain, dataset, members, attribute[members], seed, number,
    )  # fmt: skip
    sent = (represent(encoder.body, here), represent(encoder.body, there))
    report = _told(settings, sent, attribute, known, asked, seed, number)
    found = {
        "attribute_accuracy": report["accuracy"],
        "attribute_majority": _majority(attribute[known], attribute[asked]),
    }
    if isinstance(settings.defence, Adversarial | Information):
        back = put_back(
            sent[0], represent(plain.body, here), settings.attacker, seed,
            ("back", number),
        )  # fmt: skip
        again = tuple(represent(back, points) for points in sent)
        found["decensored_accuracy"] = _told(
            settings, again, attribute, known, asked, seed, number
        )["accuracy"]
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
        kind: _control(what, _told(settings, sent, column, known, asked, seed, number))
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
            "told": report["told"],
        }
    )  # fmt: skip


def _encoder(
    settings: Representation, block: Block, plain: Encoder, dataset: Dataset,
    members: NDArray[np.int64], attribute: NDArray[np.int64], seed: int, number: int,
) -> Encoder:  # fmt: skip
    """Return the net whose representations are sent."""
    if settings.defence is None:
        return plain
    drawn = {
        **initial(block.architecture, stream(seed, "fresh", number)),
        **initial_buffers(block.architecture),
    }
    net = module_of(block.architecture, drawn)
    if isinstance(settings.defence, Adversarial | Information):
        inputs = torch.from_numpy(dataset.floats(members))
        return censored(
            net, inputs, dataset.labels[members], attribute, settings.defence,
            settings.fitting, seed, number,
        )  # fmt: skip
    return cut(net)  # random weights: what the attacker could tell without training


def _told(
    settings: Representation, points: tuple[Tensor, ...], column: NDArray[np.int64],
    known: NDArray[np.int64], asked: NDArray[np.int64], seed: int, number: int,
) -> dict[str, Any]:  # fmt: skip
    """Fit the attacker's net and ask it."""
    here, there = (own.to(torch.float32) for own in points)
    scale, shift = here.std(0) + 1e-6, here.mean(0)
    net = classifier(
        (here - shift) / scale, column[known], settings.attacker, seed,
        ("attacker", number),
    )  # fmt: skip
    with torch.inference_mode():
        logits = net((there - shift) / scale)
    told = logits.argmax(1).numpy()
    odds = (logits[:, -1] - logits[:, 0]).numpy()
    return {
        "accuracy": float((told == column[asked]).mean()),
        "told": told, "odds": odds, "known": column[asked] > 0,
    }  # fmt: skip


def _control(what: str, report: dict[str, Any]) -> Control:
    return control_of(what, report["odds"], report["known"])


def _majority(known: NDArray[np.int64], asked: NDArray[np.int64]) -> float:
    values, counts = np.unique(known, return_counts=True)
    return float((asked == values[counts.argmax()]).mean())


def _answers(encoder: Encoder, inputs: Tensor) -> NDArray[np.int64]:
    whole: nn.Module = nn.Sequential(encoder.body, encoder.head)
    answers: NDArray[np.int64] = represent(whole, inputs).argmax(1).numpy()
    return answers
