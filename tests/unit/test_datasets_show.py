"""``whatelse datasets show``: what attributes have to do with a task."""

from pathlib import Path

import numpy as np
import pytest

from whatelse.cli import main
from whatelse.datasets.association import associated
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.measures.association import cramers_v, pearson


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Who smiles is mostly of the first class; glasses go by lot."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, 500)
    smiles = (labels == 0) ^ (rng.random(500) < 0.1)
    write_dataset(
        folder,
        inputs=rng.random((500, 3), dtype=np.float32),
        labels=labels,
        info={"name": "toy", "title": "Toy", "class_names": ["female", "male"]},
        settings={"source": "npz"},
        attributes={
            "smiling": np.where(smiles, "yes", "no").tolist(),
            "eyewear": rng.choice(["none", "glasses", "shades"], 500).tolist(),
            "person": [f"p{number % 50}" for number in range(500)],
            "planet": ["earth"] * 500,
        },
    )
    return folder


def test_the_numbers_are_those_of_property_inference(data: Path) -> None:
    dataset = open_dataset(data)
    found = {(row.attribute, row.value): row for row in associated(dataset, "label")}
    assert len(found) == 2 + 3 + 1 + 1
    for name, value in (("smiling", "yes"), ("eyewear", "shades")):
        has_it = (dataset.attributes[name] == value).to_numpy()
        row = found[name, value]
        assert row.share == pytest.approx(has_it.mean())
        assert row.cramers_v == pytest.approx(cramers_v(dataset.labels, has_it))
        assert row.pearson == pytest.approx(pearson(dataset.labels, has_it))
    assert found["smiling", "yes"].pearson == pytest.approx(-0.8, abs=0.08)
    assert abs(found["eyewear", "shades"].pearson or 1) < 0.15
    # of many values as a whole, and of one alone nothing can be said
    assert found["person", "(50 values)"].pearson is None
    assert found["person", "(50 values)"].cramers_v == pytest.approx(0.3, abs=0.15)
    assert found["planet", "earth"].cramers_v is None


def test_an_attribute_may_be_the_task(data: Path) -> None:
    rows = associated(open_dataset(data), "eyewear")
    assert {row.attribute for row in rows} == {"label", "smiling", "person", "planet"}
    assert all(row.pearson is None for row in rows)  # of three values
    mirrored = associated(open_dataset(data), "smiling")
    (male,) = (row for row in mirrored if row.value == "male")
    assert male.pearson == pytest.approx(-0.8, abs=0.08)


def test_the_table(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["datasets", "show", str(data)]) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "toy, 500 records; task: label"
    assert head.split("  ")[1] == "attribute"
    smiling = next(row.split() for row in rows if "yes" in row)
    assert smiling[0] == "smiling"
    assert smiling[4].startswith("-0.")
    assert "person     (50 values)  -" in "\n".join(rows)


def test_bad_input_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("WHATELSE_MIRROR", "none")
    for words, line in (
        ([str(data), "--task", "hat"], "--task: 'hat': no attribute of toy; allowed"),
        (["nothing"], "nothing: no folder, and "),
        (["digits"], "digits: its records have no attributes beside label"),
        (["utkface", "--raw", str(tmp_path)], "is missing (not in WHATELSE_MIRROR="),
    ):
        assert main(["datasets", "show", *words]) == 2
        (said,) = capsys.readouterr().err.splitlines()
        assert line in said
