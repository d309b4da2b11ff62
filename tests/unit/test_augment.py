"""Images that are moved and mirrored by lot as they are trained on."""

import numpy as np
import pytest
import torch

from core_samples import random_data, training
from whatelse.errors import UserError
from whatelse.models.settings import Cnn
from whatelse.models.stacked import build
from whatelse.training.augment import (
    AugmentedImages,
    augmented,
    drawn_ways,
)
from whatelse.training.ensemble import Strategy, TrainingData, train
from whatelse.training.settings import Augment

NET = build(Cnn(kind="cnn", channels=(4,), hidden=16), (1, 8, 8), 2)


@pytest.mark.parametrize("stored", [torch.uint8, torch.float32])
@pytest.mark.parametrize("flip", [True, False])
def test_every_way_is_a_crop_of_the_padded_image(
    stored: torch.dtype, flip: bool
) -> None:
    images = torch.arange(1, 121).to(stored).view(2, 3, 4, 5)
    settings = Augment(flip=flip, shift=2)
    seen = AugmentedImages.of(images, settings)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)))
    places = [(top, left) for top in range(5) for left in range(5)]
    expected = [
        image[:, :, ::step]
        for step in ((1, -1) if flip else (1,))
        for top, left in places[12:] + places[:12]  # no move comes first
        for image in padded[:, :, top : top + 4, left : left + 5]
    ]
    every = torch.arange(2 * settings.count)
    got = seen.index_select(0, every)
    assert got.dtype == stored
    np.testing.assert_array_equal(got.numpy(), np.stack(expected))


def test_ways_are_drawn_evenly_and_keep_the_record() -> None:
    settings = Augment(flip=True, shift=1)
    order = np.random.default_rng(1).integers(7, size=18_000)
    drawn = drawn_ways(order, settings, 7, np.random.default_rng(2))
    np.testing.assert_array_equal(drawn % 7, order)
    counts = np.bincount(drawn // 7)
    assert len(counts) == 18
    # five standard deviations of a binomial count
    assert np.abs(counts - 1000).max() < 5 * 31


def test_a_record_keeps_its_scale_and_class() -> None:
    data = TrainingData(
        torch.full((3, 1, 2, 2), 9, dtype=torch.uint8), torch.tensor([0, 1, 2]), 0.5, 1
    )
    more = augmented(data, Augment(flip=False, shift=1))
    numbers = torch.tensor([[1, 3 + 2]])  # as it is; moved to the left
    assert more.labels_of(numbers).tolist() == [[1, 2]]
    still, moved = more.gather(numbers)[0]
    assert still.unique().tolist() == [5.5]
    assert moved.flatten().tolist() == [5.5, 1, 5.5, 1]
    assert more.num_features == data.num_features == 4


def bars(mirrored: bool) -> TrainingData:
    """Images with a bar of noise at the left; bright bars are of class 1."""
    rng = np.random.default_rng(3)
    labels = np.arange(80) % 2
    images = np.zeros((80, 1, 8, 8), np.float32)
    images[..., :2] = rng.random((80, 1, 8, 2)) + labels[:, None, None, None]
    images = images[..., ::-1].copy() if mirrored else images
    return TrainingData(torch.from_numpy(images), torch.from_numpy(labels))


@pytest.mark.parametrize("strategy", ["loop", "stacked"])
def test_who_trained_on_mirrored_images_knows_them(strategy: Strategy) -> None:
    unseen = bars(mirrored=True)

    def right(augment: Augment | None) -> float:
        settings = training(
            optimizer={"kind": "sgd", "learning_rate": 0.1, "momentum": 0.9},
            epochs=20, batch_size=8, augment=augment and augment.model_dump(),
        )  # fmt: skip
        fitted = train(
            NET, settings, bars(mirrored=False), [np.arange(80)], streams=[("m", 0)],
            seed=1, strategy=strategy,
        )  # fmt: skip
        answers = NET.forward(fitted, unseen.gather(torch.arange(80)[None]))
        return float((answers[0].argmax(1) == unseen.labels).float().mean())

    assert right(Augment(flip=True, shift=0)) > 0.95
    assert right(None) < 0.8


def test_the_stack_sees_what_the_loop_sees() -> None:
    data = random_data(60, (1, 8, 8), 2)
    settings = training(epochs=2, augment={"flip": True, "shift": 2})
    ways = [
        train(
            NET, settings, data, [np.arange(40), np.arange(20, 55)],
            streams=[("m", 0), ("m", 1)], seed=1, strategy=strategy,
        )
        for strategy in ("loop", "stacked")
    ]  # fmt: skip
    for name, value in ways[0].items():
        torch.testing.assert_close(value, ways[1][name], rtol=1e-3, atol=1e-5)


def test_a_shift_leaves_something_of_an_image() -> None:
    data = random_data(4, (1, 5, 6), 2)
    assert augmented(data, Augment(shift=4)).num_records == 4
    with pytest.raises(UserError, match=r"^shift: 5 pixels of images of 5x6; .*0\.\.4"):
        augmented(data, Augment(shift=5))


def test_rows_are_not_augmented() -> None:
    with pytest.raises(UserError, match=r"^augment: records are no images; allowed"):
        augmented(random_data(4, (3,), 2), Augment())
