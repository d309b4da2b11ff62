"""A model's bytes do not depend on its company, for any small shape."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from core_samples import random_data, training
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build
from whatelse.training.ensemble import (
    SparseInputs,
    TrainingData,
    padded_batch,
    train,
)

WIDTHS = st.integers(1, 70)


@st.composite
def cases(draw: st.DrawFn) -> dict[str, object]:
    momentum = draw(st.sampled_from([0.0, 0.9]))
    optimizer = draw(
        st.sampled_from(
            [
                {"kind": "adam", "learning_rate": 0.01},
                {"kind": "sgd", "learning_rate": 0.05, "momentum": momentum},
            ]
        )
    )
    return {
        "num_features": draw(WIDTHS),
        "num_classes": draw(st.integers(2, 12)),
        "hidden": tuple(draw(st.lists(st.integers(2, 70), max_size=2))),
        "activation": draw(st.sampled_from(["tanh", "relu"])),
        "batch_size": draw(st.integers(1, 40)),
        "sizes": draw(st.lists(st.integers(1, 50), min_size=2, max_size=7)),
        "optimizer": optimizer,
        "loss": draw(st.sampled_from(["cross-entropy", "hinge"])),
        "sparse": draw(st.booleans()),
        "l2": draw(st.sampled_from([0.0, 1e-3])),
    }


def thinned(records: TrainingData) -> TrainingData:
    """Records without what is below zero, as compressed rows."""
    rows = sparse.csr_array(records.inputs.clamp(min=0).numpy())
    starts, features = (
        torch.tensor(own, dtype=torch.int64) for own in (rows.indptr, rows.indices)
    )
    inputs = SparseInputs(starts, features, torch.tensor(rows.data), rows.shape)
    return TrainingData(inputs, records.labels)


@settings(max_examples=60)
@given(case=cases(), data=st.data())
def test_a_model_alone_is_the_model_of_the_pack(case: dict, data: st.DataObject) -> None:  # fmt: skip  # noqa: E501
    records = random_data(50, (case["num_features"],), case["num_classes"])
    if case["sparse"]:
        records = thinned(records)
    architecture = build(
        Mlp(kind="mlp", hidden=case["hidden"], activation=case["activation"]),
        (case["num_features"],),
        case["num_classes"],
    )
    how = training(
        optimizer=case["optimizer"], epochs=2, l2=case["l2"],
        batch_size=case["batch_size"], loss=case["loss"],
    )  # fmt: skip
    members = [
        np.random.default_rng(i).permutation(50)[:size]
        for i, size in enumerate(case["sizes"])
    ]

    def fit(chosen: list[int]) -> dict[str, torch.Tensor]:
        return train(
            architecture, how, records, [members[i] for i in chosen],
            streams=[("m", i) for i in chosen], seed=0, strategy="stacked",
        )  # fmt: skip

    order = data.draw(st.permutations(range(len(members))))
    pack, own = fit(order), order[0]
    place = order.index(own)
    alone = fit([own])
    whole = fit(list(range(len(members))))
    for name in architecture.shapes:
        assert torch.equal(alone[name][0], pack[name][place])
        assert torch.equal(alone[name][0], whole[name][own])


@given(
    hidden=st.lists(st.integers(2, 70), max_size=3),
    num_features=WIDTHS,
    num_classes=st.integers(2, 40),
    batch=st.integers(1, 300),
)
def test_padded_batches_fill_lines_and_waste_less_than_a_vector(
    hidden: list[int], num_features: int, num_classes: int, batch: int
) -> None:
    settings = Mlp(kind="mlp", hidden=tuple(hidden))
    architecture = build(settings, (num_features,), num_classes)
    width = padded_batch(architecture, batch, num_features)
    assert batch <= width < batch + 32
    assert all(width * units % 32 == 0 for units in hidden)
    assert width * num_features % 16 == 0
    assert width * num_classes % 16 == 0
