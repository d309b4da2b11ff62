import numpy as np
import pytest
from skimage.metrics import structural_similarity

from whatelse.errors import UserError
from whatelse.measures.controls import exchange_test
from whatelse.measures.roc import auc
from whatelse.memorization.fidelity import mape, matched_scores, matching_test, ssim
from whatelse.memorization.pictures import (
    bytes_to_pixels,
    grey,
    pixels_to_bytes,
    restore,
    truncate,
)
from whatelse.seeding import stream


def random_pictures(*shape, name="pictures"):
    return stream(0, name).integers(0, 256, shape, np.uint8)


def test_grey_by_hand():
    red, green, blue, white = np.eye(3).tolist() + [[1, 1, 1]]
    inputs = 255 * np.array([red, green, blue, white], np.uint8).reshape(4, 3, 1, 1)
    found = grey(inputs, scale=1 / 255)
    assert found.dtype == np.uint8
    # 76.2, 149.7, 29.1
    assert found.ravel().tolist() == [76, 150, 29, 255]


def test_grey_of_one_and_of_other_numbers_of_channels():
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    np.testing.assert_array_equal(grey(every, 1 / 255), every[:, 0])
    two = np.array([0.2, 0.6]).reshape(1, 2, 1, 1)
    assert grey(two, 1.0).item() == 102


def test_grey_clips_and_shifts():
    inputs = np.array([-9, -1, 0, 1, 9], np.float32).reshape(5, 1, 1, 1)
    assert grey(inputs, 0.5, 0.5).ravel().tolist() == [0, 0, 128, 255, 255]
    with pytest.raises(ValueError, match=r"inputs: shape must be .* is \(5, 1\)"):
        grey(inputs[..., 0, 0], 1.0)


def test_truncate_and_restore_by_hand():
    pixels = np.array([0, 15, 16, 200, 255], np.uint8)
    codes = truncate(pixels, 4)
    assert codes.tolist() == [0, 0, 1, 12, 15]
    assert restore(codes, 4).tolist() == [8, 8, 24, 200, 248]
    assert restore(truncate(pixels, 1), 1).tolist() == [64, 64, 64, 192, 192]
    np.testing.assert_array_equal(restore(truncate(pixels, 8), 8), pixels)


@pytest.mark.parametrize("bits", range(1, 9))
def test_floor_of_truncation(bits):
    every = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    width = 2 ** (8 - bits)
    assert mape(every, restore(truncate(every, bits), bits)) == [width // 2 / 2]


@pytest.mark.parametrize("bits", [0, 9])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match=rf"bits: must be in 1\.\.8, is {bits}"):
        truncate(np.zeros(1, np.uint8), bits)


def test_packing_by_hand():
    # 3 bits of each: 101 000 111
    pixels = np.array([0b10111111, 0b00000001, 0b11100000], np.uint8).reshape(3, 1, 1)
    data = pixels_to_bytes(pixels, 3)
    assert data == bytes([0b10100011, 0b10000000])
    assert bytes_to_pixels(data, (3, 1, 1), 3).ravel().tolist() == [176, 16, 240]


@pytest.mark.parametrize("bits", range(1, 9))
def test_packed_pictures_come_back(bits):
    pixels = random_pictures(3, 5, 7)
    data = pixels_to_bytes(pixels, bits)
    assert len(data) == -(-3 * 5 * 7 * bits // 8)
    found = bytes_to_pixels(data + b"more", pixels.shape, bits)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, restore(truncate(pixels, bits), bits))


def test_missing_bytes_are_code_0():
    pixels = random_pictures(1, 4, 4)
    data = pixels_to_bytes(pixels, 8)
    found = bytes_to_pixels(data[:10], (1, 4, 4), 8).ravel()
    np.testing.assert_array_equal(found[:10], pixels.ravel()[:10])
    assert not found[10:].any()
    assert (bytes_to_pixels(b"", (1, 2, 2), 4) == 8).all()


def test_mape_by_hand():
    truth = np.array([[[0, 255]], [[10, 20]]], np.uint8)
    found = np.array([[[255, 0]], [[13, 19]]], np.uint8)
    np.testing.assert_array_equal(mape(truth, found), [255, 2])
    with pytest.raises(ValueError, match=r"truth: has shape \(2, 1, 2\), decoded"):
        mape(truth, found[:1])


def test_ssim():
    truth, other = random_pictures(2, 8, 9), random_pictures(2, 8, 9, name="other")
    np.testing.assert_allclose(ssim(truth, truth), 1)
    assert (ssim(truth, other) < 0.5).all()
    expected = structural_similarity(truth[1], other[1], data_range=255)
    assert ssim(truth, other)[1] == pytest.approx(expected)


@pytest.mark.parametrize(("side", "window"), [(3, 3), (4, 3), (5, 5), (6, 5), (7, 7)])
def test_ssim_of_small_pictures(side, window):
    truth, other = random_pictures(1, side, 9), random_pictures(1, side, 9, name="o")
    expected = structural_similarity(
        truth[0], other[0], data_range=255, win_size=window
    )
    assert ssim(truth, other) == pytest.approx(expected)


def test_ssim_needs_a_window():
    tiny = random_pictures(1, 2, 9)
    with pytest.raises(
        UserError, match="2 x 9 pixels; allowed for ssim: at least 3 x 3"
    ):
        ssim(tiny, tiny)


def test_matched_scores_by_hand():
    truth = np.array([0, 10, 40], np.uint8).reshape(3, 1, 1)
    found = np.array([1, 12, 43], np.uint8).reshape(3, 1, 1)
    scores, matched = matched_scores(found, truth, mape)
    # own: 1, 2, 3; the next one's: |1 - 10|, |12 - 40|, |43 - 0|
    assert scores.tolist() == [-1, -2, -3, -9, -28, -43]
    assert matched.tolist() == [True] * 3 + [False] * 3
    assert auc(scores, matched)["value"] == 1
    scores, _ = matched_scores(found, truth, lambda a, b: np.array([np.nan, 1, 2]))
    assert scores.tolist() == [-np.inf, -1, -2] * 2


def test_matched_scores_are_a_control():
    truth, other = random_pictures(60, 4, 4), random_pictures(60, 4, 4, name="other")
    noisy = np.where(stream(0, "noise").random(truth.shape) < 0.5, truth, other)
    assert exchange_test(*matched_scores(noisy, truth, mape)) < 1e-6
    # The average picture is close to all of them, and to none more than to others.
    average = np.broadcast_to(np.uint8(128), truth.shape)
    assert exchange_test(*matched_scores(average, truth, mape)) == 1
    assert exchange_test(*matched_scores(other, truth, mape)) > 0.01


def test_few_pictures_are_held_against_every_order():
    truth = np.array([0, 10, 40, 90], np.uint8).reshape(4, 1, 1)
    # nearest in its own order, of 24; none is as far below the mean
    assert matching_test(truth, truth, mape) == pytest.approx(1 / 24)
    assert matching_test(truth[:1], truth[:1], mape) == 1
    # smooth pictures that have nothing to do with each other, as their rows have
    rng = stream(0, "smooth")
    found = [
        matching_test(*np.cumsum(rng.integers(0, 9, (2, 4, 24, 24)), 3, np.uint8), mape)
        for _ in range(200)
    ]
    assert np.mean(np.array(found) < 0.05) < 0.1


def test_matched_scores_need_two():
    one = random_pictures(1, 4, 4)
    with pytest.raises(UserError, match="secret: 1 items; allowed .* at least 2"):
        matched_scores(one, one, mape)
    with pytest.raises(ValueError, match="truth: 2 items, decoded: 1"):
        matched_scores(one, random_pictures(2, 4, 4), mape)
