"""What the layers of a classifier separate records by: ``properties.layers``.

P3 Fig. 3: lower layers of a net for gender group faces by race, the top one by gender.
Song & Shmatikov (ICLR 2020) call it overlearning. Records are held out ones; beside
the trained net stands one with random weights, and beside both the majority.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.association import cramers_v
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import rate
from whatelse.measures.spread import spread
from whatelse.models.features import layers_of, module_of
from whatelse.models.outputs import about_dataset
from whatelse.models.stacked import initial
from whatelse.properties.having import has_property
from whatelse.properties.probing import (
    Floats,
    Looked,
    convolutional,
    features_of,
    halves,
    look,
    maps_of,
    probe,
)
from whatelse.properties.settings import Layers
from whatelse.seeding import stream
from whatelse.training.blocks import Block, load_block

TASK, PROPERTY = "task", "property"
TRAINED, RANDOM = "trained", "random weights"
_FEWEST = 20  # records of either kind


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Look at the layers of the target of every replicate."""
    settings = Layers.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    lot = stream(spec.seed, "property")
    has = has_property(dataset, settings.property, lot).astype(np.int64)
    reports: list[dict[str, Any]] = []
    scores, curves = pd.DataFrame(), []
    for number, (folder, *_) in enumerate(replicates_of(inputs, "models")):
        block = load_block(folder)
        net = module_of(block.architecture, block.model(0)).eval()
        rows = _sampled(settings, block, has, spec.seed, number, folder)
        columns = {TASK: dataset.labels[rows], PROPERTY: has[rows]}
        fitted = np.zeros(len(rows), dtype=bool)
        for value in (0, 1):  # half of either kind
            own = np.flatnonzero(has[rows] == value)
            fitted[own[halves(len(own), spec.seed, number)]] = True
        if len(set(columns[TASK][fitted].tolist())) < 2:
            raise UserError(
                f"{folder}: all {int(fitted.sum())} records to fit probes on have one "
                "class; allowed: more records, or another property"
            )
        looked = _looked(net, block, dataset, rows, columns, fitted, spec, number)
        found = looked.found
        if number == 0:  # the one that is drawn
            order = stream(spec.seed, "mapped", number).permutation(len(rows))
            said = {"record": rows, "task": columns[TASK], "has_it": columns[PROPERTY]}
            shown = np.sort(order[: settings.mapped])
            places = maps_of(looked.points, shown, said, spec.seed)
            scores = places.assign(replicate=number)
        controls = _controls(looked, fitted, spec.seed, number)
        curves.append(found.assign(replicate=number))
        reports.append(
            {
                "replicate": number,
                "target": {"test_accuracy": _accuracy(net, dataset, block.held_out)},
                "layers": _numbers(found),
                "task_correlation": cramers_v(dataset.labels[rows], has[rows] > 0),
                "controls": controls,
            }
        )
    names = list(reports[0]["layers"])
    summary = {name: spread([r["layers"][name] for r in reports]) for name in names}
    summary["task_correlation"] = spread([r["task_correlation"] for r in reports])
    summary["test_accuracy"] = spread(
        [r["target"]["test_accuracy"]["value"] for r in reports]
    )
    return Findings(
        about_dataset(dataset.info["name"], dataset.info),
        {
            "replicates": reports,
            "summary": summary,
            "class_names": list(dataset.info["class_names"]),
        },
        scores,
        pd.concat(curves, ignore_index=True),
    )


def _sampled(
    settings: Layers, block: Block, has: NDArray[np.int64], seed: int, number: int,
    folder: Path,
) -> NDArray[np.int64]:  # fmt: skip
    """Return held-out records, as many with the property as without.

    Raises
    ------
    UserError
        If there are too few.
    """
    held_out = stream(seed, "records", number).permutation(block.held_out)
    kinds = [held_out[has[held_out] == value] for value in (0, 1)]
    count = min(settings.records // 2, *map(len, kinds))
    if count < _FEWEST:
        raise UserError(
            f"{folder}: {len(kinds[1])} records held out with the property, "
            f"{len(kinds[0])} without; allowed: at least {_FEWEST} of either"
        )
    return np.sort(np.concatenate([own[:count] for own in kinds]))


def _looked(
    net: nn.Module, block: Block, dataset: Dataset, rows: NDArray[np.int64],
    columns: dict[str, NDArray[np.int64]], fitted: NDArray[np.bool_], spec: AttackSpec,
    number: int,
) -> Looked:  # fmt: skip
    """Probe every layer of a net and of one with random weights."""
    if len(layers_of(net)) < 2:
        raise UserError(
            "models: a net without hidden layers; allowed: one with at least one"
        )
    drawn = initial(block.architecture, stream(spec.seed, "random-weights", number))
    records = torch.from_numpy(dataset.floats(rows))
    features = {
        TRAINED: features_of(net, records),
        RANDOM: features_of(module_of(block.architecture, drawn), records),
    }
    images = convolutional(net, records[:1])
    return look(features, images, columns, fitted, spec.seed)


def _controls(
    looked: Looked, fitted: NDArray[np.bool_], seed: int, number: int
) -> dict[str, Control]:
    first = next(iter(looked.points.values()))
    coin = stream(seed, "coin", number).random(len(first)) < 0.5
    planted = first[:, 0] > np.median(first[:, 0])
    return {
        kind: _control(what, first, column, fitted)
        for kind, what, column in (
            ("negative", "a property that a coin chose, at the first layer", coin),
            ("positive", "a property that the first layer's main component tells",
             planted),
        )
    }  # fmt: skip


def _control(
    what: str, points: Floats, column: NDArray[np.bool_], fitted: NDArray[np.bool_]
) -> Control:
    scores = probe(points, column.astype(np.int64), fitted).scores
    known = column[~fitted]
    return control_of(what, scores, known)


def _numbers(found: pd.DataFrame) -> dict[str, float]:
    """Return what claims judge: means over some layers, and both ends for the task.

    Convolutional layers, where there are any: dense ones above them are the task's.
    Otherwise all but the last one, which is the output. A mean hides a layer that tells
    nothing, hence the least gain over these layers beside it.
    """
    last = found["depth"].max()

    def mean(model: str, column: str, where: Any, name: str = "linear") -> float:
        own = found[(found["model"] == model) & (found["column"] == column) & where]
        return float(own[name].mean())

    hidden = found["depth"] < last
    if (hidden & found["convolutional"]).any():
        hidden &= found["convolutional"]
    return {
        "property_probe": mean(TRAINED, PROPERTY, hidden),
        "property_probe_random": mean(RANDOM, PROPERTY, hidden),
        "property_majority": mean(TRAINED, PROPERTY, hidden, "majority"),
        "task_probe": mean(TRAINED, TASK, found["depth"] == last),
        "task_probe_first": mean(TRAINED, TASK, found["depth"] == 0),
        **_least_gains(found[hidden & (found["column"] == PROPERTY)]),
    }


def _least_gains(found: pd.DataFrame) -> dict[str, float]:
    """Return how much better the property is told than otherwise, where it is least.

    By either probe, than by the majority and than from random weights.
    """
    trained, drawn = (
        found[found["model"] == model].set_index("layer") for model in (TRAINED, RANDOM)
    )
    return {
        f"{name}{end}": float((trained[probe] - other).min())
        for name, probe in (
            ("property_gain", "linear"),
            ("property_gain_neighbours", "neighbours"),
        )
        for end, other in (("", trained["majority"]), ("_random", drawn[probe]))
    }


def _accuracy(net: nn.Module, dataset: Dataset, rows: NDArray[np.int64]) -> Any:
    right = 0
    with torch.inference_mode():
        for start in range(0, len(rows), 1024):
            own = rows[start : start + 1024]
            told = net(torch.from_numpy(dataset.floats(own))).argmax(1).numpy()
            right += int((told == dataset.labels[own]).sum())
    return rate(right, len(rows))
