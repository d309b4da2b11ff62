"""``whatelse query``: who is asked about what, and what comes back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core_samples import dataset, query_block, train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import open_dataset
from whatelse.models.outputs import CONTROL, TARGET, load_outputs
from whatelse.records import read_json
from whatelse.training import query
from whatelse.training.blocks import load_block


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("query")
    dataset(place / "data")
    assert train_block(place, place / "data", "0:4") == 0
    assert train_block(place, place / "data", "4:6", name="second") == 0
    return place


def test_every_model_is_asked_about_its_own_records(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data")])
    block, data = load_block(place / "b"), open_dataset(place / "data")
    for row in range(4):
        own = outputs.of(outputs.model == row)
        np.testing.assert_array_equal(own.record, np.flatnonzero(block.plan.test[row]))
        np.testing.assert_array_equal(own.member, block.plan.train[row, own.record])
        np.testing.assert_array_equal(own.label, data.labels[own.record])
        assert own.member.sum() == 20
        assert len(own.member) == 40
        # the answer is the softmax of that model's logits, written out
        hidden = torch.tanh(
            torch.from_numpy(data.inputs[own.record])
            @ block.parameters["0.weight"][row].T
            + block.parameters["0.bias"][row]
        )
        logits = (
            hidden @ block.parameters["1.weight"][row].T
            + block.parameters["1.bias"][row]
        )
        np.testing.assert_allclose(
            own.probabilities, torch.softmax(logits, 1).numpy(), atol=1e-6
        )


def test_the_control_is_a_shadow_asked_about_the_targets_records(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data")])
    control = outputs.of(outputs.model == CONTROL)
    target = outputs.of(outputs.model == TARGET)
    np.testing.assert_array_equal(control.record, target.record)
    np.testing.assert_array_equal(control.member, target.member)
    block = load_block(place / "b")
    assert not block.plan.train[1, control.record].any()
    assert not np.allclose(control.probabilities, target.probabilities, atol=0.01)


def test_blocks_without_the_target_have_no_control(place: Path) -> None:
    outputs = load_outputs([query_block(place, place / "data", "second")])
    assert np.unique(outputs.model).tolist() == [4, 5]


def test_a_target_alone_has_no_control(place: Path, tmp_path: Path) -> None:
    data = place / "data"
    spec = train_spec(members=60)  # half of all records: no shadow could be had
    assert train_block(tmp_path, data, "0:1", spec=spec) == 0
    outputs = load_outputs([query_block(tmp_path, data)])
    assert np.unique(outputs.model).tolist() == [TARGET]
    assert (outputs.member.sum(), len(outputs.member)) == (60, 120)


def test_members_are_surer_of_themselves(place: Path) -> None:
    """The columns are not swapped: an overfit model knows its members better."""
    outputs = load_outputs([query_block(place, place / "data")])
    own = outputs.of(outputs.model >= TARGET)
    assert own.log_probability[own.member].mean() > (
        own.log_probability[~own.member].mean()
    )


def test_answers_do_not_depend_on_the_block(place: Path) -> None:
    assert train_block(place, place / "data", "1:2", name="single") == 0
    alone = load_outputs([query_block(place, place / "data", "single")])
    packed = load_outputs([query_block(place, place / "data")])
    same = packed.of(packed.model == 1)
    np.testing.assert_array_equal(alone.probabilities, same.probabilities)
    np.testing.assert_array_equal(alone.record, same.record)


def test_large_questions_are_asked_in_parts(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_outputs([query_block(place, place / "data")])
    monkeypatch.setattr(query, "_ROWS_AT_ONCE", 7)
    parts = load_outputs([query_block(place, place / "data")])
    np.testing.assert_array_equal(whole.record, parts.record)
    np.testing.assert_allclose(whole.probabilities, parts.probabilities, atol=1e-6)


def test_queries_are_counted_and_capped_a_model(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = query_block(place, place / "data", max_queries=40)
    assert read_json(out / "record.json")["queries"] == 5 * 40
    spec = '{"kind": "label", "max_queries": 39}'
    code = main(
        [
            "query", "--spec", spec, "--data", str(place / "data"),
            "--block", str(place / "b"), "--out", str(place / "capped"),
            "--device", "cpu",
        ]
    )  # fmt: skip
    assert code == 2
    assert "40 queries asked; allowed: 39" in capsys.readouterr().err
    assert not (place / "capped").exists()


def test_released_labels_are_one_hot(place: Path) -> None:
    full = load_outputs([query_block(place, place / "data")])
    label = load_outputs([query_block(place, place / "data", kind="label")])
    assert set(np.unique(label.probabilities)) == {0.0, 1.0}
    np.testing.assert_array_equal(
        label.probabilities.argmax(1), full.probabilities.argmax(1)
    )


def test_another_data_set_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = dataset(tmp_path / "other", num_records=121)
    code = main(
        [
            "query", "--spec", '{"kind": "label"}', "--data", str(other),
            "--block", str(place / "b"), "--out", str(tmp_path / "o"),
            "--device", "cpu",
        ]
    )  # fmt: skip
    assert code == 2
    assert "120 records" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
