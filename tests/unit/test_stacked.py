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
    (Cnn(kind="cnn", channels=(4, 3), hidden=3, padding="valid"), (2, 10, 11)),
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


@pytest.mark.parametrize("start", ["glorot", "he"])
def test_a_cnn_may_start_by_other_rules(start: Any) -> None:
    settings = Cnn(kind="cnn", channels=(32, 64), hidden=256, start=start)
    architecture = build(settings, (3, 16, 16), 2)
    drawn = initial(architecture, np.random.default_rng(0))
    assert {n: tuple(v.shape) for n, v in drawn.items()} == architecture.shapes
    # outputs, inputs, places of a filter
    sizes = {"conv1": (64, 32, 9), "dense": (256, 64 * 16, 1)}
    for name, (outputs, inputs, places) in sizes.items():
        weight = drawn[f"{name}.weight"]
        fans = {"glorot": (inputs + outputs) * places, "he": inputs * places}
        assert weight.std() == pytest.approx(math.sqrt(2 / fans[start]), rel=0.02)
        if start == "glorot":
            assert weight.abs().max() <= math.sqrt(6 / fans[start])
    assert not any(v.any() for name, v in drawn.items() if name.endswith("bias"))


def test_slices_of_models_fill_cache_lines() -> None:
    assert [aligned(n) for n in (1, 16, 17)] == [16, 16, 32]


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        (Cnn(kind="cnn"), (64,), "cnn needs image records"),
        (Cnn(kind="cnn", kernel=4), (3, 32, 32), "kernel: 4 is even; allowed: odd"),
        (Cnn(kind="cnn", channels=(2, 2, 2)), (1, 8, 7), "of at least 8x8.* has 8x7"),
        (
            Cnn(kind="cnn", channels=(2, 2, 2), padding="valid"),
            (1, 21, 40),
            "channels: 3 poolings need images of at least 22x22, .* has 21x40$",
        ),
        (
            Cnn(kind="cnn", channels=(2,), kernel=5, padding="valid"),
            (1, 6, 5),
            "of at least 6x6, the data set has 6x5$",
        ),
        # rows would be negative half way
        (Cnn(kind="cnn", channels=(2, 2, 2), padding="valid"), (1, 1, 1), "22x22"),
    ],
)
def test_records_that_do_not_fit_are_refused(
    settings: Any, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build(settings, shape, 3)


def test_the_smallest_images_that_are_named_do_fit() -> None:
    valid = Cnn(kind="cnn", channels=(2, 2, 2), hidden=4, padding="valid")
    # 22 - 2 = 20, halved 10; 8, 4; 2, 1
    assert build(valid, (1, 22, 22), 3).shapes["dense.weight"] == (4, 2)
    same = Cnn(kind="cnn", channels=(2, 2, 2), hidden=4)
    assert build(same, (1, 8, 8), 3).shapes["dense.weight"] == (4, 2)


def test_the_published_net_for_faces_has_the_published_size() -> None:
    """P2 Table 1 gives LFW's net 880 thousand parameters."""
    settings = Cnn(
        kind="cnn", channels=(32, 64, 128), hidden=256, activation="relu",
        padding="valid",
    )  # fmt: skip
    shapes = build(settings, (3, 62, 47), 2).shapes
    # 62x47 -> 30x22 -> 14x10 -> 6x4
    convolutions = 32 * (27 + 1) + 64 * (288 + 1) + 128 * (576 + 1)
    assert math.prod(shapes["dense.weight"]) == 256 * 128 * 6 * 4
    total = sum(math.prod(shape) for shape in shapes.values())
    assert total == convolutions + 256 * (3072 + 1) + 2 * (256 + 1) == 880450
