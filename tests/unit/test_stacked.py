"""Architectures over a stack, against PyTorch's modules; initial weights."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from whatelse.errors import UserError
from whatelse.models.layers import aligned
from whatelse.models.settings import Cnn, Mlp
from whatelse.models.stacked import build, initial

SETTINGS = [
    (Mlp(kind="mlp", hidden=()), (6,)),
    (Mlp(kind="mlp", hidden=(5, 4), activation="relu"), (2, 3)),
    (Cnn(kind="cnn", channels=(4, 3), kernel=5, hidden=7), (2, 9, 10)),
    (Cnn(kind="cnn", channels=(2,), kernel=1, hidden=3, activation="relu"), (1, 2, 2)),
]


def stack(architecture: Any, size: int) -> dict[str, torch.Tensor]:
    models = [initial(architecture, np.random.default_rng(i)) for i in range(size)]
    return {name: torch.stack([m[name] for m in models]) for name in models[0]}


@pytest.mark.parametrize(("settings", "shape"), SETTINGS)
def test_each_model_of_a_stack_answers_like_its_module(
    settings: Any, shape: tuple[int, ...]
) -> None:
    architecture = build(settings, shape, 3)
    parameters = stack(architecture, 4)
    inputs = torch.randn(4, 5, *shape, generator=torch.Generator().manual_seed(0))
    logits = architecture.forward(parameters, inputs)
    assert logits.shape == (4, 5, 3)
    for i in range(4):
        module = architecture.module()
        names = dict(zip(module.state_dict(), architecture.shapes, strict=True))
        module.load_state_dict(
            {theirs: parameters[ours][i] for theirs, ours in names.items()}
        )
        torch.testing.assert_close(logits[i], module(inputs[i]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("settings", "shape"), SETTINGS)
def test_gradients_are_those_of_autograd(settings: Any, shape: tuple[int, ...]) -> None:
    """The dense layer brings a backward pass of its own."""
    architecture = build(settings, shape, 3)
    leaves = {
        name: value.double().requires_grad_()
        for name, value in stack(architecture, 2).items()
    }
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    inputs.requires_grad_()

    def forward(given: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        named = dict(zip(architecture.shapes, values, strict=True))
        return architecture.forward(named, given)

    torch.autograd.gradcheck(forward, (inputs, *leaves.values()))


@pytest.mark.parametrize(("settings", "shape"), SETTINGS)
def test_initial_weights_stay_within_one_over_the_root_of_the_fan_in(
    settings: Any, shape: tuple[int, ...]
) -> None:
    architecture = build(settings, shape, 3)
    drawn = initial(architecture, np.random.default_rng(0))
    assert {n: tuple(v.shape) for n, v in drawn.items()} == architecture.shapes
    for name, value in drawn.items():
        weight = drawn[name.replace("bias", "weight")]
        bound = 1 / math.sqrt(math.prod(weight.shape[1:]))
        assert value.dtype == torch.float32
        assert value.abs().max() <= bound
    wide = initial(build(Mlp(kind="mlp"), (400,), 3), np.random.default_rng(0))
    # uniform on -1/20..1/20: deviation 1/20/sqrt(3), mean 0
    assert wide["0.weight"].std() == pytest.approx(0.05 / math.sqrt(3), rel=0.01)
    assert wide["0.weight"].mean() == pytest.approx(0, abs=1e-3)


def test_slices_of_models_fill_cache_lines() -> None:
    assert [aligned(n) for n in (1, 16, 17)] == [16, 16, 32]


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (Cnn(kind="cnn"), (64,), "cnn needs image records"),
        (Cnn(kind="cnn", kernel=4), (3, 32, 32), "kernel: 4 is even; allowed: odd"),
        (Cnn(kind="cnn", channels=(2, 2, 2)), (1, 8, 7), "of at least 8x8.* has 8x7"),
    ],
)
def test_records_that_do_not_fit_are_refused(
    settings: Any, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(settings, shape, 3)
