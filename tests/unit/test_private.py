"""DP-SGD: Opacus's numbers, the same models in any company, and the promise."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch.nn import functional

from core_samples import random_data
from whatelse.errors import UserError
from whatelse.measures.privacy import epsilon, noise_for
from whatelse.models.features import module_of
from whatelse.models.settings import Cnn, Mlp, Resnet, TextCnn
from whatelse.models.stacked import build, initial
from whatelse.seeding import stream
from whatelse.training.ensemble import TrainingData
from whatelse.training.private import (
    Mechanism,
    PrivateStack,
    batches_of,
    mechanism_of,
    part_width,
    sampled,
    train_privately,
)
from whatelse.training.settings import CentralTraining

SGD = {"kind": "sgd", "learning_rate": 0.5}
ADAM = {"kind": "adam", "learning_rate": 0.01}


def private(**changes: Any) -> CentralTraining:
    given = {
        "optimizer": SGD, "epochs": 2, "batch_size": 8,
        "privacy": {"clip": 0.7, "noise": 1.3}, **changes,
    }  # fmt: skip
    return CentralTraining.model_validate(given)


def words(count: int) -> TrainingData:
    rng = np.random.default_rng(4)
    records = rng.integers(1, 12, size=(count, 6)).astype(np.int32)
    return TrainingData(torch.tensor(records), torch.arange(count) % 3)


CASES: dict[str, tuple[Any, Any]] = {
    "mlp": (Mlp(kind="mlp", hidden=(7, 5)), random_data(60, (9,), 3)),
    "softmax": (Mlp(kind="mlp", hidden=()), random_data(60, (9,), 3)),
    "cnn": (Cnn(kind="cnn", channels=(4,), hidden=6), random_data(60, (2, 8, 8), 3)),
    "resnet": (
        Resnet(kind="resnet", widths=(4, 8), blocks=1, norm="group", groups=2),
        random_data(60, (2, 8, 8), 3),
    ),
    "text-cnn": (TextCnn(kind="text-cnn", embedding=5, filters=3, windows=(2,)), None),
}


def case(name: str) -> tuple[Any, TrainingData]:
    settings, data = CASES[name]
    if data is None:
        data = words(60)
        return build(settings, (6,), 3, words=11), data
    return build(settings, tuple(data.inputs.shape[1:]), 3), data


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("optimizer", [SGD, ADAM], ids=["sgd", "adam"])
def test_steps_are_those_of_opacus_on_the_same_batches_and_noise(
    name: str, optimizer: dict[str, Any]
) -> None:
    architecture, data = case(name)
    settings = private(optimizer=optimizer, l2=1e-3)
    mechanism = Mechanism(
        clip=0.7, noise=1.3, sampled=0.2, steps=3, batch=10.0, delta=1e-5
    )
    starts = [initial(architecture, stream(1, "start", i)) for i in range(3)]
    stack = PrivateStack(architecture, settings, data, starts)
    rng = np.random.default_rng(0)
    # of any size, one of them empty; records that fill up are worked on too
    batches = [[rng.permutation(60)[:size] for size in (12, 5, 0)] for _ in range(3)]
    noises = [
        [torch.randn(stack.rows_SP.shape[1], generator=_torch(7, step, i))
         for i in range(3)]
        for step in range(3)
    ]  # fmt: skip
    for batch, noise in zip(batches, noises, strict=True):
        index, taken = np.full((3, 16), 59), np.zeros((3, 16), dtype=np.float32)
        for i, own in enumerate(batch):
            index[i, : len(own)], taken[i, : len(own)] = own, 1.0
        parts = [
            (torch.from_numpy(index[:, at : at + 8]).contiguous(),
             torch.from_numpy(taken[:, at : at + 8]).contiguous())
            for at in (0, 8)
        ]  # fmt: skip
        rate = settings.optimizer.learning_rate
        stack.step_privately(parts, mechanism, torch.stack(noise), rate)
    ours = stack.tensors()
    clipped = 0
    for i, start in enumerate(starts):
        module = GradSampleModule(module_of(architecture, start), loss_reduction="sum")
        plain = (
            torch.optim.Adam(module.parameters(), 0.01, weight_decay=2e-3)
            if optimizer is ADAM
            else torch.optim.SGD(module.parameters(), 0.5, weight_decay=2e-3)
        )
        wrapped = _GivenNoise(
            plain, noise_multiplier=1.3, max_grad_norm=0.7, expected_batch_size=10
        )
        # the noise of a row, cut up as parameters lie in it
        places = PrivateStack(architecture, settings, data, [start])
        for batch, noise in zip(batches, noises, strict=True):
            wrapped.zero_grad()
            if len(batch[i]):
                rows = torch.from_numpy(batch[i])
                inputs = data.inputs[rows]
                logits = module(inputs if name == "text-cnn" else inputs.float())
                functional.cross_entropy(
                    logits, data.labels[rows], reduction="sum"
                ).backward()
                clipped += int(_lengths(module).gt(0.7).sum())
            else:
                for parameter in module.parameters():
                    parameter.grad_sample = parameter.new_zeros(0, *parameter.shape)
            places.gradients_SP.copy_(noise[i].unsqueeze(0))
            wrapped.given = [place[0] for place in places.places.values()]
            wrapped.step()
        for place, parameter in zip(
            architecture.shapes, module.parameters(), strict=True
        ):
            torch.testing.assert_close(
                ours[place][i], parameter.detach(), rtol=1e-4, atol=2e-6
            )
    assert clipped > 5  # of 51 gradients


class _GivenNoise(DPOptimizer):
    given: list[torch.Tensor]

    def add_noise(self) -> None:
        std = self.noise_multiplier * self.max_grad_norm
        for parameter, noise in zip(self.params, self.given, strict=True):
            parameter.grad = parameter.summed_grad + std * noise


def _torch(*name: int) -> torch.Generator:
    return torch.Generator().manual_seed(hash(name) % 2**31)


def _lengths(module: torch.nn.Module) -> torch.Tensor:
    squares = [
        parameter.grad_sample.flatten(1).square().sum(1)  # type: ignore[operator]
        for parameter in module.parameters()
    ]
    return torch.stack(squares).sum(0).sqrt()


def fit(
    models: list[int], *, strategy: Any = "stacked", name: str = "mlp", **changes: Any
) -> dict[str, torch.Tensor]:
    architecture, data = case(name)
    return train_privately(
        architecture, private(**changes), data,
        [stream(9, "members", i).permutation(60)[: 40 - i % 5] for i in models],
        size=40.0, streams=[("model", 0, i) for i in models], seed=1,
        strategy=strategy,
    )  # fmt: skip


@pytest.mark.parametrize("batch_size", [3, 8, 33])
def test_a_model_is_the_same_bytes_in_any_company(batch_size: int) -> None:
    alone, five, many = (
        fit(models, batch_size=batch_size, optimizer=ADAM)
        for models in ([17], [3, 40, 17, 2, 9], list(range(30)))
    )
    for place, value in alone.items():
        assert torch.equal(value[0], five[place][2]), place
        assert torch.equal(value[0], many[place][17]), place
    assert not torch.equal(many["0.weight"][17], many["0.weight"][16])
    looped = fit([3, 17], batch_size=batch_size, optimizer=ADAM, strategy="loop")
    assert torch.equal(looped["0.weight"][1], alone["0.weight"][0])


def test_a_record_more_moves_a_step_by_no_more_than_the_clip() -> None:
    architecture, data = case("mlp")
    settings = private(privacy={"clip": 0.05, "noise": 0.0})
    mechanism = mechanism_of(settings, 40.0)
    moved = []
    for count in (4, 5):
        stack = PrivateStack(
            architecture, settings, data, [initial(architecture, stream(1, "start"))]
        )
        before = stack.rows_SP.detach().clone()
        taken = (torch.arange(8) < count).float().unsqueeze(0)
        index = torch.arange(8).unsqueeze(0)
        noise = torch.zeros_like(before)
        stack.step_privately([(index, taken)], mechanism, noise, 1.0)
        moved.append(stack.rows_SP.detach() - before)
    longest = 0.05 / mechanism.batch
    assert (moved[1] - moved[0]).norm().item() == pytest.approx(longest, rel=1e-3)


def test_records_take_part_by_coins_of_their_own() -> None:
    mechanism = mechanism_of(private(batch_size=8), 40.0)
    assert (mechanism.sampled, mechanism.steps, mechanism.batch) == (0.2, 10, 8.0)
    taken = sampled(mechanism, 2000, 50, stream(1, "x"))
    assert taken.mean() == pytest.approx(0.2, abs=0.006)
    # batches vary as independent coins have it, and no record hangs on its neighbour
    assert taken.sum(1).var() == pytest.approx(50 * 0.2 * 0.8, rel=0.15)
    assert abs(np.corrcoef(taken[:, 0], taken[:, 1])[0, 1]) < 0.08
    # whole training sets are no sample
    everyone = mechanism_of(private(batch_size=100), 40.0)
    assert (everyone.sampled, everyone.steps, everyone.batch) == (1.0, 2, 40.0)


@pytest.mark.parametrize("width", [2, 5, 64])
def test_parts_hold_every_record_that_takes_part_once(width: int) -> None:
    rng = np.random.default_rng(3)
    members = [np.array([4, 9, 2, 30]), np.arange(40, 51)]
    taken = [rng.random((7, len(own))) < 0.6 for own in members]
    taken[0][3] = False
    found = list(batches_of(members, taken, width, torch.device("cpu")))
    assert len(found) == 7
    for step, parts in enumerate(found):
        most = max(int(own[step].sum()) for own in taken)
        assert len(parts) == max(1, -(-most // width))
        for model, own in enumerate(members):
            rows = [index[model][mask[model] > 0] for index, mask in parts]
            assert torch.cat(rows).tolist() == own[taken[model][step]].tolist()


def test_noise_has_its_size() -> None:
    """Models that differ by noise alone, so short that gradients stay what they are."""
    quiet, loud = (
        fit(
            list(range(40)), optimizer={"kind": "sgd", "learning_rate": 1.0}, epochs=30,
            privacy={"clip": 1e-4, "noise": noise},
        )["0.weight"]
        for noise in (0.0, 2.0)
    )  # fmt: skip
    # 150 steps, divided by the expected batch
    expected = 2.0 * 1e-4 * math.sqrt(150) / 8
    assert (loud - quiet).std().item() == pytest.approx(expected, rel=0.05)
    mechanism = mechanism_of(private(), 40.0)
    assert part_width(case("mlp")[0], mechanism, 9) >= 8 + 3 * math.sqrt(8 * 0.8)


@pytest.mark.parametrize("target", [0.5, 1.0, 4.0, 8.0, 50.0])
def test_noise_is_found_from_epsilon(target: float) -> None:
    noise = noise_for(target, 0.15, 200, 1e-5)
    spent = epsilon(noise, 0.15, 200, 1e-5)
    assert 0.95 * target < spent <= target
    # less noise would not do, by the orders that are looked at
    assert epsilon(0.95 * noise, 0.15, 200, 1e-5) > target


def test_noise_without_end_is_refused() -> None:
    with pytest.raises(UserError, match=r"privacy\.epsilon: 1e-09 at delta"):
        noise_for(1e-9, 1.0, 10_000, 1e-9)


def test_the_guarantee_says_what_was_done() -> None:
    found = mechanism_of(private(privacy={"clip": 1.0, "epsilon": 3}), 40.0).guarantee()
    assert 2.9 < found["epsilon"] <= 3.0
    assert (found["sampled"], found["steps"], found["delta"]) == (0.2, 10, 1e-5)
    clipping = mechanism_of(private(privacy={"clip": 1.0, "noise": 0.0}), 40.0)
    assert clipping.guarantee()["epsilon"] is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"privacy": {"clip": 1.0}}, "exactly one of epsilon and noise"),
        ({"privacy": {"clip": 1.0, "noise": 1, "epsilon": 1}}, "exactly one"),
        ({"privacy": {"clip": 0.0, "noise": 1}}, "greater than 0"),
        ({"loss": "next-word"}, "allowed with privacy: cross-entropy, hinge"),
        ({"clip_gradient": 1.0}, "allowed with privacy: left out"),
        ({"precision": "mixed"}, "allowed with privacy: float32"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        private(**change)
