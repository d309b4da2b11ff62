"""Released outputs on disk."""

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from core_samples import outputs
from whatelse.errors import UserError
from whatelse.models.outputs import OUTPUTS, about_dataset, load_outputs, save_outputs

COLUMNS = ("model", "record", "label", "member", "probabilities")


def test_blocks_are_read_as_one(tmp_path: Path) -> None:
    whole = outputs(num_shadows=3)
    parts = [whole.of(whole.model < 2), whole.of(whole.model >= 2)]
    for number, part in enumerate(parts):
        save_outputs(tmp_path / str(number), part)
    read = load_outputs([tmp_path / "0", tmp_path / "1"])
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(read, name), getattr(whole, name))
        assert getattr(read, name).dtype == getattr(whole, name).dtype
    assert read.about == whole.about


def test_what_follows_from_probabilities() -> None:
    rows = replace(
        outputs(models=(0,), per_kind=2),
        label=np.array([0, 1, 2, 2]),
        probabilities=np.array(
            [[0.5, 0.3, 0.2], [0.5, 0.3, 0.2], [0, 0, 1], [0.6, 0.4, 0]],
            dtype=np.float32,
        ),
    )
    assert rows.correct.tolist() == [True, False, True, False]
    # a probability of zero is taken for 1e-12
    expected = np.log([0.5, 0.3, 1, 1e-12])
    np.testing.assert_allclose(rows.log_probability, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probabilities": [[np.nan, 0.5]] * 4}, "row 0 .* negative or not finite"),
        ({"probabilities": [[0.5, 0.5]] * 3 + [[1.5, -0.5]]}, "row 3 .*allowed: 0..1"),
        ({"label": [0, 1, 2, 0]}, "labels: 2; allowed: 0..1"),
        ({"label": [0, 1, -1, 0]}, "labels: -1; allowed: 0..1"),
        ({"member": [True]}, "arrays of different lengths"),
    ],
)
def test_what_is_no_output_is_not_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    good = replace(
        outputs(models=(0,), per_kind=2),
        probabilities=np.full((4, 2), 0.5, dtype=np.float32),
        label=np.array([0, 1, 0, 1]),
    )
    save_outputs(tmp_path / "good", good)
    arrays = {name: np.array(value) for name, value in changes.items()}
    with pytest.raises(UserError, match=message):
        save_outputs(tmp_path / "bad", replace(good, **arrays))
    assert not (tmp_path / "bad").exists()


def test_damaged_outputs_are_refused(tmp_path: Path) -> None:
    save_outputs(tmp_path, outputs())
    path = tmp_path / OUTPUTS
    arrays = load_file(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="outputs.safetensors: cannot be read"):
        load_outputs([tmp_path])
    save_file({n: a for n, a in arrays.items() if n != "label"}, path)
    with pytest.raises(UserError, match="label"):
        load_outputs([tmp_path])
    path.unlink()
    with pytest.raises(UserError, match="outputs.safetensors: cannot be read"):
        load_outputs([tmp_path])


def test_outputs_of_other_classes_do_not_join(tmp_path: Path) -> None:
    save_outputs(tmp_path / "0", outputs(num_classes=3))
    save_outputs(tmp_path / "1", outputs(num_classes=4))
    with pytest.raises(UserError, match="not outputs of one model family"):
        load_outputs([tmp_path / "0", tmp_path / "1"])


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(UserError, match="cannot write here"):
            save_outputs(tmp_path / "full", outputs())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "full").iterdir()) == []


def test_a_data_set_is_told_in_short() -> None:
    info = {
        "title": "Toy", "records": 9, "classes": 2, "class_names": ["a", "b"],
        "stand_in_for": "Purchase", "remarks": ["small"], "sha256": {}, "scale": 1.0,
    }  # fmt: skip
    told = about_dataset("toy", info)
    assert told == {
        "name": "toy", "title": "Toy", "records": 9, "classes": 2,
        "class_names": ["a", "b"], "stand_in_for": "Purchase", "remarks": ["small"],
    }  # fmt: skip
