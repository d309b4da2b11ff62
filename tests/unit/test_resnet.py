"""Residual nets: the papers' sizes, and a stack against PyTorch's plain modules."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from core_samples import query_block, random_data, train_block, train_spec, training
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.models.layers import batch_norm
from whatelse.models.outputs import load_outputs
from whatelse.models.settings import Mlp, Resnet
from whatelse.models.stacked import build, initial
from whatelse.training.blocks import load_block
from whatelse.training.ensemble import TrainingData, choose_strategy, train

SMALL = [
    Resnet(kind="resnet", widths=(4, 6), blocks=1),
    Resnet(kind="resnet", widths=(3, 6), blocks=2, shortcut="projection"),
    Resnet(kind="resnet", widths=(4, 3), blocks=1, shortcut="normalized-projection"),
    Resnet(kind="resnet", widths=(4, 8), blocks=1, norm="group", groups=2),
    Resnet(kind="resnet", widths=(3,), blocks=1, norm="none"),
    Resnet(kind="resnet", widths=(2, 5), blocks=1, norm="none", shortcut="projection"),
]
BATCH = Resnet(kind="resnet", widths=(4, 6), blocks=1, shortcut="normalized-projection")
SHAPE = (2, 7, 6)  # odd, so that a stride of 2 has a row over


def count(settings: Resnet, num_classes: int = 10) -> int:
    shapes = build(settings, (3, 32, 32), num_classes).shapes
    return sum(math.prod(shape) for shape in shapes.values())


def test_numbers_of_parameters_are_those_of_the_papers() -> None:
    p2 = {"widths": (16, 32, 64), "blocks": 5}
    assert count(Resnet(kind="resnet")) == 464_154
    assert count(Resnet(kind="resnet", **p2, shortcut="projection")) == 466_714
    # P2's FaceScrub identity net has 500K
    assert count(Resnet(kind="resnet", **p2, shortcut="projection"), 530) == 500_514
    # P4: 0.27M in the paper, about 2.8M in its code
    assert count(Resnet(kind="resnet", widths=(16, 32, 64), blocks=3)) == 269_722
    code = Resnet(
        kind="resnet", widths=(32, 64, 128, 256), blocks=2,
        shortcut="normalized-projection",
    )  # fmt: skip
    assert count(code) == 2_797_610


def stack(architecture: Any, size: int) -> dict[str, Tensor]:
    """Initial parameters, norms moved off the identity."""
    generator = torch.Generator().manual_seed(3)
    models = [initial(architecture, np.random.default_rng(i)) for i in range(size)]
    return {
        name: torch.stack([m[name] for m in models])
        + 0.1 * torch.randn((size, *shape), generator=generator)
        for name, shape in architecture.shapes.items()
    }


def moved_buffers(architecture: Any, size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(4)
    return {
        name: torch.rand((size, *shape), generator=generator) + 0.5
        for name, shape in architecture.buffers.items()
    }


def plain(
    architecture: Any, parameters: dict[str, Tensor], buffers: dict[str, Tensor], i: int
) -> torch.nn.Module:
    """Model i in PyTorch's form, in the tensors' type."""
    module = architecture.module()
    first = next(iter(parameters.values()))
    module.to(first.dtype)
    with torch.no_grad():
        for own, name in zip(module.parameters(), architecture.shapes, strict=True):
            assert own.shape == parameters[name][i].shape
            own.copy_(parameters[name][i])
        for own, name in zip(module.buffers(), architecture.buffers, strict=True):
            own.copy_(buffers[name][i])
    return module


@pytest.mark.parametrize("settings", SMALL, ids=range(len(SMALL)))
def test_each_model_answers_like_its_module(settings: Resnet) -> None:
    architecture = build(settings, SHAPE, 3)
    parameters, buffers = stack(architecture, 3), moved_buffers(architecture, 3)
    before = {name: value.clone() for name, value in buffers.items()}
    inputs = torch.randn(3, 4, *SHAPE, generator=torch.Generator().manual_seed(0))
    logits = architecture.forward(parameters, inputs, buffers=buffers)
    assert logits.shape == (3, 4, 3)
    for i in range(3):
        module = plain(architecture, parameters, buffers, i).eval()
        torch.testing.assert_close(logits[i], module(inputs[i]), rtol=1e-4, atol=1e-5)
    # an answer moves no statistic
    assert all(torch.equal(buffers[name], value) for name, value in before.items())


@pytest.mark.parametrize("present", [(6, 6, 6), (6, 4, 0)], ids=["full", "ragged"])
@pytest.mark.parametrize("settings", SMALL, ids=range(len(SMALL)))
def test_gradients_and_statistics_are_those_of_the_module(
    settings: Resnet, present: tuple[int, ...]
) -> None:
    """Model i has present[i] records; what stands in the other places has no say."""
    architecture = build(settings, SHAPE, 3)
    parameters = {
        name: value.double().requires_grad_()
        for name, value in stack(architecture, 3).items()
    }
    buffers = {n: v.double() for n, v in moved_buffers(architecture, 3).items()}
    before = {name: value.clone() for name, value in buffers.items()}
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(3, 6, *SHAPE, generator=generator, dtype=torch.float64)
    labels = torch.arange(18).view(3, 6) % 3
    shares = torch.zeros(3, 6, dtype=torch.float64)
    for i, own in enumerate(present):
        shares[i, :own] = 1 / max(own, 1)
    logits = architecture.forward(
        parameters, inputs, buffers=buffers, training=True,
        shares_SB=None if min(present) == 6 else shares,
    )  # fmt: skip
    losses = functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="none"
    )
    (losses.view(3, 6) * shares).sum().backward()
    for i, own in enumerate(present):
        if not own:
            assert all(value.grad[i].abs().max() == 0 for value in parameters.values())
            assert all(torch.equal(buffers[n][i], v[i]) for n, v in before.items())
            continue
        module = plain(architecture, parameters, before, i).train()
        functional.cross_entropy(module(inputs[i, :own]), labels[i, :own]).backward()
        for theirs, name in zip(module.parameters(), architecture.shapes, strict=True):
            torch.testing.assert_close(parameters[name].grad[i], theirs.grad)
        for theirs, name in zip(module.buffers(), architecture.buffers, strict=True):
            torch.testing.assert_close(buffers[name][i], theirs)
            assert not torch.equal(buffers[name][i], before[name][i])


def test_batch_statistics_by_hand() -> None:
    """Two records count, the third is padding."""
    images = torch.tensor([1.0, 3.0, 100.0]).view(3, 1, 1, 1)
    mean, variance = torch.zeros(1, 1), torch.ones(1, 1)
    result = batch_norm(
        images, torch.full((1, 1), 2.0), torch.full((1, 1), 5.0), mean, variance,
        training=True, shares_SB=torch.tensor([[0.5, 0.5, 0.0]]),
    )  # fmt: skip
    # mean 2, variance 1 (2 unbiased); scale 2, offset 5
    torch.testing.assert_close(result[:2].flatten(), torch.tensor([3.0, 7.0]))
    assert mean.item() == pytest.approx(0.1 * 2)
    assert variance.item() == pytest.approx(0.9 * 1 + 0.1 * 2)


def test_initial_weights_and_buffers() -> None:
    architecture = build(
        Resnet(kind="resnet", widths=(64, 64), blocks=1), (3, 32, 32), 10
    )
    drawn = initial(architecture, np.random.default_rng(0))
    assert {n: tuple(v.shape) for n, v in drawn.items()} == {
        **architecture.shapes, **architecture.buffers,
    }  # fmt: skip
    # He: variance 2 / fan in, here 64 channels of 3x3
    weight = drawn["stage1.block0.conv2.weight"]
    assert weight.std() == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert weight.mean() == pytest.approx(0, abs=1e-3)
    assert (drawn["stem.norm.weight"] == 1).all()
    assert (drawn["stem.norm.bias"] == 0).all()
    assert (drawn["output.bias"] == 0).all()
    assert (drawn["stem.norm.mean"] == 0).all()
    assert (drawn["stem.norm.variance"] == 1).all()
    assert len(architecture.buffers) == 2 * (1 + 2 * 2)


def test_only_batch_norm_has_buffers_and_no_integers() -> None:
    for settings in SMALL:
        architecture = build(settings, SHAPE, 3)
        assert bool(architecture.buffers) == (settings.norm == "batch")
        found = list(architecture.module().buffers())
        assert all(buffer.is_floating_point() for buffer in found)
    assert build(Mlp(kind="mlp"), (4,), 3).buffers == {}


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({}, (64,), "resnet needs image records"),
        ({}, (3, 32, 4), "3 stages need images of at least 5x5, .* has 32x4"),
        ({"widths": (8, 4)}, (3, 32, 32), r"\[8, 4\] fall; allowed"),
        ({"norm": "group", "groups": 3}, (3, 32, 32), "groups: 3; allowed"),
    ],
)
def test_what_does_not_fit_is_refused(
    settings: dict[str, Any], shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(Resnet(kind="resnet", **settings), shape, 3)


# ---- training


def fit(
    settings: Resnet, strategy: Any, sizes: tuple[int, ...] = (17, 12, 3), **how: Any
) -> dict[str, Tensor]:
    """Ragged: batches of 8, so that every model's last one is smaller than others'."""
    return train(
        build(settings, SHAPE, 3),
        training(epochs=2, **how),
        random_data(48, SHAPE, 3),
        [np.arange(size) for size in sizes],
        streams=[("m", i) for i in range(len(sizes))],
        seed=1,
        strategy=strategy,
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        {"kind": "adam", "learning_rate": 1e-3},
        {"kind": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    ],
    ids=["adam", "momentum"],
)
@pytest.mark.parametrize("settings", [BATCH, *SMALL[3:5]], ids=["batch", "group", "no"])
def test_a_stack_equals_the_loop(settings: Resnet, optimizer: dict[str, Any]) -> None:
    how = {"optimizer": optimizer, "l2": 1e-3}
    stacked, looped = fit(settings, "stacked", **how), fit(settings, "loop", **how)
    architecture = build(settings, SHAPE, 3)
    assert list(stacked) == [*architecture.shapes, *architecture.buffers]
    assert list(looped) == list(stacked)
    for name, value in stacked.items():
        torch.testing.assert_close(value, looped[name], rtol=2e-3, atol=5e-4)


def test_full_batches_equal_the_loop() -> None:
    """Eight records in each batch of each model: PyTorch's own batch norm runs."""
    stacked = fit(BATCH, "stacked", (16, 16))
    looped = fit(BATCH, "loop", (16, 16))
    for name, value in stacked.items():
        torch.testing.assert_close(value, looped[name], rtol=2e-3, atol=5e-4)


def test_a_model_that_waits_for_longer_ones_stays_finite() -> None:
    """Without records there is nothing to normalise by, in any of 13 layers."""
    deep = Resnet(kind="resnet", widths=(4, 6), blocks=3)
    stacked = fit(deep, "stacked", (48, 8), optimizer=SLOW)
    looped = fit(deep, "loop", (48, 8), optimizer=SLOW)
    for name, value in stacked.items():
        torch.testing.assert_close(value, looped[name], rtol=2e-3, atol=5e-4)


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
def test_equal_seeds_give_equal_bytes(strategy: Any) -> None:
    first, second = fit(BATCH, strategy), fit(BATCH, strategy)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["stem.weight"][0], first["stem.weight"][1])
    assert not torch.equal(first["stem.norm.mean"][0], first["stem.norm.mean"][1])


def test_a_model_depends_on_its_company_by_rounding_only() -> None:
    alone, beside = fit(BATCH, "stacked", (16,)), fit(BATCH, "stacked", (16, 5, 24))
    for name, value in alone.items():
        torch.testing.assert_close(value[0], beside[name][0], rtol=2e-3, atol=5e-4)


def test_auto_takes_the_loop_on_a_cpu() -> None:
    architecture = build(BATCH, SHAPE, 3)
    assert choose_strategy(architecture, torch.device("cpu")) == "loop"
    assert choose_strategy(architecture, torch.device("cuda")) == "stacked"


@pytest.mark.parametrize("strategy", ["stacked", "loop"])
@pytest.mark.parametrize(
    "architecture", [BATCH, SMALL[3], Mlp(kind="mlp", hidden=(8,))], ids=str
)
def test_mixed_precision_is_float32_but_for_rounding(
    architecture: Any, strategy: Any
) -> None:
    """Eight bits of mantissa: near float32's result, and not the same."""
    data = random_data(24, SHAPE, 3)

    def run(precision: str) -> dict[str, Tensor]:
        return train(
            build(architecture, SHAPE, 3),
            training(epochs=2, precision=precision, optimizer=SLOW),
            TrainingData(data.inputs, data.labels),
            [np.arange(17), np.arange(16)],
            streams=[("m", 0), ("m", 1)],
            seed=1,
            strategy=strategy,
        )

    whole, mixed = run("float32"), run("mixed")
    for name, value in mixed.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, whole[name], rtol=0.05, atol=0.05)
    assert any(not torch.equal(value, whole[name]) for name, value in mixed.items())


SLOW = {"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9}


# ---- the verbs


def test_a_stored_block_answers_as_it_did_in_training(tmp_path: Path) -> None:
    """Running statistics travel with the block and are used to answer."""
    data = random_data(120, SHAPE, 3, seed=5)
    write_dataset(
        tmp_path / "data",
        inputs=data.inputs.numpy(),
        labels=data.labels.numpy(),
        info={"name": "toy", "title": "Toy", "class_names": ["a", "b", "c"]},
        settings={"source": "npz"},
    )
    spec = train_spec(architecture=json.loads(BATCH.model_dump_json()))
    assert train_block(tmp_path, tmp_path / "data", "0:2", spec=spec) == 0
    block = load_block(tmp_path / "b")
    assert set(block.parameters) == set(block.architecture.shapes)
    assert set(block.buffers) == set(block.architecture.buffers)
    described = json.loads((tmp_path / "b" / "model.json").read_text())
    shapes = block.architecture.shapes.values()
    assert described["parameters"] == sum(math.prod(shape) for shape in shapes)

    outputs = load_outputs([query_block(tmp_path, tmp_path / "data")])
    inputs = open_dataset(tmp_path / "data").inputs
    for row in range(2):
        own = outputs.of(outputs.model == row)
        module = plain(block.architecture, block.parameters, block.buffers, row).eval()
        with torch.no_grad():
            logits = module(torch.tensor(inputs[own.record]))
        np.testing.assert_allclose(
            own.probabilities, torch.softmax(logits, 1).numpy(), atol=1e-5
        )
        statistics = block.buffers["stem.norm.variance"][row]
        assert not torch.equal(statistics, torch.ones_like(statistics))
