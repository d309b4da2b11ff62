"""Sparse records: the numbers of dense ones, and the same models in any company."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from core_samples import query_block, train_block, train_spec, training
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.models.layers import SparseBatch, Trainable, dense
from whatelse.models.outputs import load_outputs
from whatelse.models.settings import Mlp
from whatelse.models.stacked import build, initial
from whatelse.seeding import stream
from whatelse.training.blocks import load_block
from whatelse.training.device import resident
from whatelse.training.ensemble import SparseInputs, TrainingData, train

CPU = torch.device("cpu")
ADAM = {"kind": "adam", "learning_rate": 0.01}
MOMENTUM = {"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9}


def bags(num_records: int = 70, num_features: int = 23, seed: int = 0) -> Any:
    """Bags of words that tell their class; record 3 and feature 5 are empty."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_records) % 3
    rows = rng.random((num_records, num_features), dtype=np.float32)
    rows[rng.random(rows.shape) < 0.8] = 0
    rows[np.arange(num_records), labels] = 1.5
    rows[3] = rows[:, 5] = 0
    return sparse.csr_array(rows), labels


def both(**sizes: int) -> tuple[TrainingData, TrainingData]:
    """The same records, sparse and dense."""
    rows, labels = bags(**sizes)
    inputs = SparseInputs(
        torch.tensor(rows.indptr, dtype=torch.int64),
        torch.tensor(rows.indices, dtype=torch.int64),
        torch.tensor(rows.data),
        rows.shape,
    )
    told = torch.tensor(labels)
    return TrainingData(inputs, told), TrainingData(torch.tensor(rows.toarray()), told)


def members_of(models: Any, num_records: int = 70, size: int = 30) -> Any:
    """Ragged: model i has `size` records or a few fewer, whoever is beside it."""
    return [
        stream(9, "members", i).permutation(num_records)[: size - i % 5] for i in models
    ]


def fit(
    data: TrainingData, models: Any = range(4), *, hidden: tuple[int, ...] = (7,),
    strategy: Any = "stacked", **changes: Any,
) -> dict[str, torch.Tensor]:  # fmt: skip
    return train(
        build(Mlp(kind="mlp", hidden=hidden), (data.num_features,), 3),
        training(**changes), data, members_of(models),
        streams=[("model", 0, i) for i in models], seed=1, strategy=strategy,
    )  # fmt: skip


def test_a_batch_by_hand() -> None:
    rows = sparse.csr_array(np.array([[0, 2, 0], [0, 0, 0], [1, 0, 3]], np.float32))
    inputs = SparseInputs(
        torch.tensor(rows.indptr, dtype=torch.int64),
        torch.tensor(rows.indices, dtype=torch.int64), torch.tensor(rows.data), (3, 3),
    )  # fmt: skip
    batch = inputs.gather(torch.tensor([[2, 0], [1, 2]]))
    assert batch.shape == (2, 2, 3)
    assert [part.tolist() for part in batch.features] == [[0, 2, 1], [0, 2]]
    assert [part.tolist() for part in batch.rows] == [[0, 0, 1], [1, 1]]
    assert [part.tolist() for part in batch.values] == [[1, 3, 2], [1, 3]]
    assert batch.dense().tolist() == [
        [[1, 0, 3], [0, 2, 0]], [[0, 0, 0], [1, 0, 3]]
    ]  # fmt: skip


def test_batches_are_the_dense_rows() -> None:
    thin, whole = both()
    index = torch.randint(70, (3, 40), generator=torch.Generator().manual_seed(0))
    index[0, :5] = 3  # no words, five times
    batch = thin.gather(index)
    assert isinstance(batch, SparseBatch)
    assert torch.equal(dense(batch), dense(whole.gather(index)))
    assert (thin.num_records, thin.num_features) == (70, 23)
    # a batch without a single value
    empty = thin.gather(torch.full((2, 3), 3))
    assert torch.equal(dense(empty), torch.zeros(2, 3, 23))


@pytest.mark.parametrize("hidden", [(), (7,), (6, 5)])
@pytest.mark.parametrize("in_place", [False, True])
def test_answers_and_gradients_are_those_of_dense_records(
    hidden: tuple[int, ...], in_place: bool
) -> None:
    thin, whole = both()
    architecture = build(Mlp(kind="mlp", hidden=hidden), (23,), 3)
    drawn = [initial(architecture, np.random.default_rng(i)) for i in range(3)]
    index = torch.randint(70, (3, 8), generator=torch.Generator().manual_seed(1))
    index[1] = 3  # a model that sees no value at all
    found = []
    for data in (thin, whole):
        leaves = {
            name: torch.stack([model[name] for model in drawn]).requires_grad_()
            for name in architecture.shapes
        }
        # what lies in the places for gradients from the step before
        places = {name: torch.full_like(leaf, 7.0) for name, leaf in leaves.items()}
        given = Trainable(leaves, places) if in_place else leaves
        logits = architecture.forward(given, data.gather(index))
        loss = (logits * torch.linspace(-1, 2, 72).view(3, 8, 3)).sum()
        found.append([logits, *torch.autograd.grad(loss, list(leaves.values()))])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("hidden", [(), (16,), (7, 5)])
@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM])
@pytest.mark.parametrize("loss", ["cross-entropy", "hinge"])
def test_training_on_sparse_records_is_training_on_dense_ones(
    hidden: tuple[int, ...], optimizer: dict[str, Any], loss: str
) -> None:
    thin, whole = both()
    how: dict[str, Any] = {
        "hidden": hidden, "optimizer": optimizer, "loss": loss, "l2": 1e-3,
    }  # fmt: skip
    ours, theirs = fit(thin, **how), fit(whole, **how)
    looped = fit(thin, strategy="loop", **how)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-3, atol=2e-5)
        torch.testing.assert_close(ours[name], looped[name], rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("hidden", [(), (16,), (7,), (13, 5)])
@pytest.mark.parametrize("optimizer", [ADAM, MOMENTUM])
@pytest.mark.parametrize("batch_size", [7, 8, 33])
def test_model_17_is_the_same_bytes_alone_and_in_company(
    hidden: tuple[int, ...], optimizer: dict[str, Any], batch_size: int
) -> None:
    thin, _ = both()
    packs = [[17], [3, 40, 17, 2, 9], range(30)]
    alone, five, thirty = (
        fit(thin, pack, hidden=hidden, optimizer=optimizer, batch_size=batch_size)
        for pack in packs
    )
    for name in alone:
        assert torch.equal(alone[name][0], five[name][2]), name
        assert torch.equal(alone[name][0], thirty[name][17]), name
    assert not torch.equal(thirty["0.weight"][17], thirty["0.weight"][16])


def artefact(folder: Path, inputs: Any) -> Path:
    write_dataset(
        folder, inputs=inputs, labels=bags(num_records=120)[1],
        info={"name": "toy", "title": "Toy", "class_names": ["a", "b", "c"]},
        settings={"source": "npz"},
    )  # fmt: skip
    return folder


def test_verbs_take_sparse_data_sets(tmp_path: Path) -> None:
    rows = bags(num_records=120)[0]
    places = {"thin": rows, "whole": rows.toarray()}
    answers = []
    for name, inputs in places.items():
        data = artefact(tmp_path / name, inputs)
        spec = train_spec()
        assert train_block(tmp_path, data, "0:3", spec=spec, name=f"{name}-b") == 0
        asked = query_block(tmp_path, data, f"{name}-b")
        answers.append(load_outputs([asked]))
    thin, whole = answers
    np.testing.assert_array_equal(thin.record, whole.record)
    np.testing.assert_allclose(
        thin.probabilities, whole.probabilities, rtol=1e-3, atol=1e-5
    )
    blocks = [load_block(tmp_path / f"{name}-b") for name in places]
    assert (blocks[0].plan.train == blocks[1].plan.train).all()


def test_other_records_are_asked_about_in_place_of_its_own(tmp_path: Path) -> None:
    rows = bags(num_records=120)[0]
    dataset = open_dataset(artefact(tmp_path / "thin", rows))
    other = sparse.csr_array(np.eye(2, 23, dtype=np.float32))
    data = resident(dataset, CPU, unlabelled=other)
    assert data.labels.tolist() == [0, 0]
    assert torch.equal(
        dense(data.gather(torch.tensor([[1, 0]])))[0], torch.eye(2, 23).flip(0)
    )
