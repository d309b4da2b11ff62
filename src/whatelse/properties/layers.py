"""What the layers of a classifier separate records by: ``properties.layers``.

P3 Fig. 3: lower layers of a net for gender group faces by race, the top one by gender.
Song & Shmatikov (ICLR 2020) call it overlearning. Records are held out ones; beside
the trained net stands one with random weights, and beside both the majority.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from whatelse.datasets.store import Dataset, open_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec, Findings, Inputs, replicates_of
from whatelse.measures.controls import Control, control_of
from whatelse.measures.rates import rate
from whatelse.measures.spread import spread
from whatelse.models.features import layers_of, module_of
from whatelse.models.outputs import about_dataset
from whatelse.models.stacked import initial, initial_buffers
from whatelse.properties.observe import cramers_v, has_property
from whatelse.properties.probing import (
    Floats,
    components,
    features_of,
    halves,
    map_of,
    probe,
)
from whatelse.properties.settings import Layers
from whatelse.seeding import stream
from whatelse.training.blocks import Block, load_block

TASK, PROPERTY = "task", "property"
TRAINED, RANDOM = "trained", "random weights"
_FEWEST = 20  # records that probes are fitted on and tested on


def find(spec: AttackSpec, inputs: Inputs) -> Findings:
    """Look at the layers of the target of every replicate."""
    settings = Layers.model_validate(spec.settings)
    (data_folder,) = inputs["data"]
    dataset = open_dataset(data_folder)
    lot = stream(spec.seed, "property")
    has = has_property(dataset, settings.property, lot).astype(np.int64)
    reports: list[dict[str, Any]] = []
    scores, curves = [], []
    for number, (folder, *_) in enumerate(replicates_of(inputs, "models")):
        block = load_block(folder)
        rng = stream(spec.seed, "records", number)
        net = module_of(block.architecture, block.model(0)).eval()
        rows = np.sort(rng.permutation(block.held_out)[: settings.records])
        if len(rows) < 2 * _FEWEST:
            raise UserError(
                f"{folder}: {len(rows)} records held out; allowed: at least "
                f"{2 * _FEWEST}"
            )
        columns = {TASK: dataset.labels[rows], PROPERTY: has[rows]}
        fitted = halves(len(rows), spec.seed, number)
        for name, column in columns.items():
            if len(set(column[fitted].tolist())) < 2:
                raise UserError(
                    f"{folder}: all {int(fitted.sum())} records to fit probes on have "
                    f"one {name}; allowed: more records, or another property"
                )
        found, places, controls = _looked(
            net, block, dataset, rows, columns, fitted, spec, number
        )
        places = places.assign(
            replicate=number, record=np.tile(rows, len(places) // len(rows)),
            task=np.tile(columns[TASK], len(places) // len(rows)),
            has_it=np.tile(columns[PROPERTY], len(places) // len(rows)),
        )  # fmt: skip
        scores.append(places)
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
        pd.concat(scores, ignore_index=True),
        pd.concat(curves, ignore_index=True),
    )


def _looked(
    net: nn.Module, block: Block, dataset: Dataset, rows: NDArray[np.int64],
    columns: dict[str, NDArray[np.int64]], fitted: NDArray[np.bool_], spec: AttackSpec,
    number: int,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:  # fmt: skip
    """Probe every layer of a net and of one with random weights; map the net's own."""
    if len(layers_of(net)) < 2:
        raise UserError(
            "models: a net without hidden layers; allowed: one with at least one"
        )
    drawn = {
        **initial(block.architecture, stream(spec.seed, "random-weights", number)),
        **initial_buffers(block.architecture),
    }
    records = torch.from_numpy(dataset.floats(rows))
    points = {
        model: {
            layer: components(own, fitted, spec.seed)
            for layer, own in features_of(shown, records).items()
        }
        for model, shown in (
            (TRAINED, net), (RANDOM, module_of(block.architecture, drawn)),
        )
    }  # fmt: skip
    found = []
    for model, layers in points.items():
        for depth, (layer, own) in enumerate(layers.items()):
            for name, column in columns.items():
                probed = probe(own, column, fitted)
                found.append(
                    {
                        "model": model, "depth": depth, "layer": layer, "column": name,
                        "linear": probed.linear, "neighbours": probed.neighbours,
                        "majority": probed.majority,
                    }
                )  # fmt: skip
    places = []
    for layer, own in points[TRAINED].items():
        placed = map_of(own, spec.seed)
        places.append(
            pd.DataFrame({"layer": layer, "x": placed[:, 0], "y": placed[:, 1]})
        )
    first = next(iter(points[TRAINED].values()))
    coin = stream(spec.seed, "coin", number).random(len(rows)) < 0.5
    planted = first[:, 0] > np.median(first[:, 0])
    controls = {
        kind: _control(what, first, column, fitted)
        for kind, what, column in (
            ("negative", "a property that a coin chose, at the first layer", coin),
            ("positive", "a property that the first layer's main component tells",
             planted),
        )
    }  # fmt: skip
    return pd.DataFrame(found), pd.concat(places, ignore_index=True), controls


def _control(
    what: str, points: Floats, column: NDArray[np.bool_], fitted: NDArray[np.bool_]
) -> Control:
    scores = probe(points, column.astype(np.int64), fitted).scores
    known = column[~fitted]
    return control_of(what, scores, known)


def _numbers(found: pd.DataFrame) -> dict[str, float]:
    """Return what claims judge: means over hidden layers, and both ends for the task.

    The last layer is the output; all before it are hidden.
    """
    last = found["depth"].max()

    def mean(model: str, column: str, where: Any, name: str = "linear") -> float:
        own = found[(found["model"] == model) & (found["column"] == column) & where]
        return float(own[name].mean())

    hidden = found["depth"] < last
    return {
        "property_probe": mean(TRAINED, PROPERTY, hidden),
        "property_probe_random": mean(RANDOM, PROPERTY, hidden),
        "property_majority": mean(TRAINED, PROPERTY, hidden, "majority"),
        "task_probe": mean(TRAINED, TASK, found["depth"] == last),
        "task_probe_first": mean(TRAINED, TASK, found["depth"] == 0),
    }


def _accuracy(net: nn.Module, dataset: Dataset, rows: NDArray[np.int64]) -> Any:
    right = 0
    with torch.inference_mode():
        for start in range(0, len(rows), 1024):
            own = rows[start : start + 1024]
            told = net(torch.from_numpy(dataset.floats(own))).argmax(1).numpy()
            right += int((told == dataset.labels[own]).sum())
    return rate(right, len(rows))
