"""The grammar of study files: what is read, and the one line for what is not."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from whatelse.errors import UserError
from whatelse.studies.grammar import instance_name, instances, read_study

STUDY: dict[str, Any] = {
    "study": "toy",
    "question": "membership",
    "title": "A toy",
    "seed": 1,
    "datasets": {"digits": {"source": "digits"}},
    "models": {
        "net": {
            "dataset": "digits",
            "architecture": {"kind": "mlp"},
            "training": {
                "optimizer": {"kind": "adam", "learning_rate": 0.001}, "epochs": 2
            },
            "members": 100,
            "shadows": 3,
        }
    },
    "attacks": {"shadow": {"kind": "membership.shadow", "models": "net"}},
}  # fmt: skip
DROP = object()


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The study with values at some paths, e.g. ``("models.net.members", 5)``."""
    study = copy.deepcopy(STUDY)
    for path, value in changes:
        *parents, last = path.split("/")
        place = study
        for part in parents:
            place = place.setdefault(part, {})
        if value is DROP:
            del place[last]
        else:
            place[last] = value
    return study


def written(folder: Path, study: Any, name: str = "toy") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(study if isinstance(study, str) else yaml.safe_dump(study))
    return path


def read(folder: Path, *changes: tuple[str, Any]) -> Any:
    """Read the changed study and all its grids."""
    path = written(folder, changed(*changes))
    study = read_study(path)
    return {
        section: instances(path, study, section)
        for section in ("datasets", "models", "releases", "attacks")
    }


def test_a_study_with_its_defaults(tmp_path: Path) -> None:
    (net,) = read(tmp_path)["models"]
    assert net.name == "net"
    assert net.grid == {}
    assert net.settings.replicates == 1
    assert net.settings.block == 8
    assert net.settings.non_members is None
    assert net.settings.architecture.hidden == (128,)
    assert net.settings.training.batch_size == 32


NESTEROV = {"kind": "sgd", "learning_rate": 1, "nesterov": True}
MODEL, TRAIN = "models/net", "models/net/training"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("sede", 2), "toy.yaml: sede: unknown key"),
        ((f"{MODEL}/membres", 2), "toy.yaml: models.net: membres: unknown key"),
        ((f"{TRAIN}/epoch", 2), "models.net: training.epoch: unknown key"),
        (("attacks/shadow/min_row", 2), "attacks.shadow: .*min_row: unknown key"),
        # where the file has it, without the kind that pydantic puts before it
        (
            (f"{TRAIN}/optimizer/learning_rate", "1e-3"),
            "net: training.optimizer.learning_rate: .*valid number, got '1e-3'",
        ),
        ((f"{TRAIN}/optimizer/rate", 1), "optimizer.rate: unknown key; .*, learning"),
        (
            ("claims", [{"claim": "x", "attack": "shadow", "metric": "exposurez"}]),
            "claims.0.metric: none of [0-9]+ words; close to it: exposure, ",
        ),
        (("seed", "1"), "seed: Input should be a valid integer, got '1'"),
        (("seed", -1), "seed: .*greater than or equal to 0, got -1"),
        (("seed", 2**63), "seed: .*less than"),
        (("question", "memory"), "question: .*'backdoors', got 'memory'"),
        (("title", ""), "title: .*at least 1 character"),
        (("title", DROP), "title: Field required"),
        (("models", {}), "models: .*at least 1"),
        (("attacks", DROP), "attacks: Field required"),
        ((f"{MODEL}/members", DROP), "models.net: .*members: needed with a random"),
        ((f"{MODEL}/split", "published"), "split: .*'given', 'halves' or 'coins'"),
        ((f"{TRAIN}/schedule", {"kind": "one-cycle", "rise": 1.0}), "rise: .*got 1.0"),
        ((f"{TRAIN}/loss", "squared"), "loss: .*'hinge' or 'next-word'"),
        ((f"{MODEL}/tampering", {"kind": "lsb", "bits": 24}), "bits: .*got 24"),
        ((f"{MODEL}/tampering", {"kind": "msb"}), "'lsb', 'correlated', 'sign'"),
        (
            (f"{MODEL}/tampering", {"kind": "sign", "strength": 0}),
            "strength: .*greater than 0, got 0",
        ),
        (("models/Net", {}), "models"),
        ((f"{MODEL}/members", 1), "members: .*greater than or equal to 2, got 1"),
        ((f"{MODEL}/members", True), "members: Input should be a valid integer"),
        ((f"{MODEL}/members", 10.5), "members: Input should be a valid integer"),
        ((f"{MODEL}/shadows", -1), "shadows: .*greater than or equal to 0, got -1"),
        ((f"{MODEL}/shadows", DROP), "models.net: shadows: Field required"),
        ((f"{MODEL}/block", 1), "block: .*greater than or equal to 2, got 1"),
        ((f"{TRAIN}/optimizer/learning_rate", float("nan")), "learning_rate"),
        ((f"{TRAIN}/optimizer/learning_rate", 0), "greater than 0, got 0"),
        ((f"{TRAIN}/optimizer/kind", "adagrad"), "'sgd', 'adam'"),
        (
            (f"{TRAIN}/optimizer", NESTEROV),
            "nesterov needs a momentum above 0",
        ),
        ((f"{TRAIN}/l2", float("inf")), "l2: .*less than or equal to 1000, got inf"),
        ((f"{MODEL}/architecture/hidden", [1]), "hidden.0: .*got 1"),
        ((f"{MODEL}/architecture/kind", "gnn"), "'mlp', 'cnn'"),
        (("attacks/shadow/kind", "membership.magic"), "'membership.shadow'"),
        (("attacks/shadow/models", DROP), "models: Field required"),
        (("attacks/shadow/false_positive_rates", [0.1, 1.0]), "rates.1: .*got 1.0"),
        (("datasets/digits", "digits"), "'digits' is no entry; allowed: a mapping"),
        (("datasets/digits/source", "cifar"), "'digits', 'location'"),
        (("releases", {"r": {"kind": "top"}}), "releases.r: .*count: Field required"),
        (("releases", {"full": {"kind": "label"}}), "releases.full: .*another name"),
        (("figures", {"f": {"kind": "pie"}}), "figures.f"),
        (("claims", [{"claim": "x"}]), "claims.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_file_field_and_value(
    tmp_path: Path, change: tuple[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        read(tmp_path, change)
    assert str(caught.value).startswith(f"{tmp_path / 'toy.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_several_findings_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(and 2 more\)"):
        read(tmp_path, ("a", 1), ("b", 2), ("c", 3))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("study: [", "not YAML"),
        ("", "toy.yaml: Input should be an object, got None"),
        ("- a\n- b", "toy.yaml: Input should be an object, got"),
        ("just words", "toy.yaml: Input should be an object, got"),
        ("study: toy\nseed: 1\nseed: 2\n", "line 3: the key seed stands twice"),
        ("a: {b: 1, b: 2}", "line 1: the key b stands twice"),
        ("2020-01-01: x", "line 1: a key is no text"),
        ("1: x", "line 1: a key is no text"),
        ("? [a, b]\n: x", "line 1: a key is no text"),
        ("a: &a [*a]", "an entry refers to itself"),
        ("a: !!python/object/apply:os.getcwd []", "not YAML"),
        ("a: \x00", "not YAML"),
    ],
)
def test_what_is_no_study_file(tmp_path: Path, text: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read_study(written(tmp_path, text))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such study file"):
        read_study(tmp_path / "toy.yaml")
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_study(tmp_path / "folder.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"title: pass\xe9")
    with pytest.raises(UserError, match="cannot be read"):
        read_study(tmp_path / "latin.yaml")


def test_yaml_merges_still_work(tmp_path: Path) -> None:
    text = yaml.safe_dump(changed(("models/net", DROP), ("attacks/shadow/models", "b")))
    text = text.replace("models: {}\n", "")
    text += """
models:
  net: &net
    dataset: digits
    architecture: {kind: mlp}
    training: {optimizer: {kind: adam}, epochs: 2}
    members: 100
    shadows: 3
  b: {<<: *net, members: 50}
"""
    path = written(tmp_path, text)
    found = instances(path, read_study(path), "models")
    assert [(point.name, point.settings.members) for point in found] == [
        ("net", 100), ("b", 50)
    ]  # fmt: skip


def test_the_study_is_called_like_its_file(tmp_path: Path) -> None:
    path = written(tmp_path, changed(), name="other")
    with pytest.raises(UserError, match="'toy' is not the file's name; .*'other'"):
        read_study(path)


def grid(folder: Path, **axes: Any) -> list[Any]:
    fields = {key.replace("__", "."): values for key, values in axes.items()}
    return read(folder, (f"{MODEL}/foreach", fields))["models"]


def test_a_grid_is_the_product_of_its_lists(tmp_path: Path) -> None:
    found = grid(tmp_path, members=[100, 200], training__l2=[0.0, 0.001, 1])
    assert [point.grid for point in found] == [
        {"members": size, "l2": l2} for size in (100, 200) for l2 in (0.0, 0.001, 1)
    ]  # fmt: skip
    assert [point.settings.members for point in found] == [100] * 3 + [200] * 3
    assert found[4].settings.training.l2 == 0.001
    assert found[4].name == "net.members-200.l2-0_001"
    # what is not on the grid stays
    assert {point.settings.shadows for point in found} == {3}


def test_a_grid_may_set_what_the_entry_lacks(tmp_path: Path) -> None:
    found = grid(tmp_path, architecture__hidden=[[], [64], [64, 32]])
    assert [point.settings.architecture.hidden for point in found] == [
        (), (64,), (64, 32)
    ]  # fmt: skip
    assert [point.name for point in found] == [
        "net.hidden-", "net.hidden-64", "net.hidden-64_32"
    ]  # fmt: skip
    found = grid(tmp_path, training__schedule__kind=["constant", "cosine"])
    assert [point.settings.training.schedule.kind for point in found] == [
        "constant", "cosine"
    ]  # fmt: skip


def test_points_do_not_share_what_they_change(tmp_path: Path) -> None:
    found = grid(tmp_path, training__optimizer__learning_rate=[0.1, 0.2])
    rates = [point.settings.training.optimizer.learning_rate for point in found]
    assert rates == [0.1, 0.2]


@pytest.mark.parametrize(
    ("axes", "line"),
    [
        ({"members": []}, "foreach.members: allowed: a list of values"),
        ({"members": 100}, "foreach.members: allowed: a list of values"),
        ({"members": [100, 100]}, "foreach.members: a value occurs twice"),
        ({"membres": [100]}, "net .membres=100.: membres: unknown key"),
        ({"members": [100, 1]}, r"net \[members=1\]: members: .*got 1"),
        ({"members.x": [1]}, "members.x: members is no mapping"),
        ({"training.l2": [0.1], "l2": [0.2]}, "two fields with one last name"),
        ([1], "foreach: allowed: a mapping of field to values"),
        (None, "foreach: allowed: a mapping of field to values"),
    ],
)
def test_grids_that_are_none(tmp_path: Path, axes: Any, line: str) -> None:
    with pytest.raises(UserError, match=line):
        read(tmp_path, (f"{MODEL}/foreach", axes))


def test_an_empty_grid_is_one_point(tmp_path: Path) -> None:
    assert [point.name for point in grid(tmp_path)] == ["net"]


def test_points_of_one_name_are_refused(tmp_path: Path) -> None:
    """Folders are called by the point: the second would have been lost."""
    data = {"source": "npz", "foreach": {"path": ["a b.npz", "a_b.npz"]}}
    with pytest.raises(UserError, match="another point is called mine.path-a_b_npz"):
        read(tmp_path, ("datasets/mine", data))


def test_names_of_points() -> None:
    assert instance_name("net", {}) == "net"
    assert instance_name("net", {"l2": 1e-05, "b": True}) == "net.l2-1e_05.b-True"
    assert instance_name("net", {"x": 1e30}) == "net.x-1e+30"


def test_an_external_model_needs_no_data(tmp_path: Path) -> None:
    found = read(
        tmp_path, ("models/net", {"external": "mine.npz"}), ("datasets", DROP)
    )["models"]
    assert found[0].settings.external == "mine.npz"
    with pytest.raises(UserError, match="models.net: members: unknown key"):
        read(tmp_path, ("models/net", {"external": "mine.npz", "members": 3}))


# ---- entries that start from others


def test_a_data_set_is_made_from_another(tmp_path: Path) -> None:
    step = {"from": "digits", "preprocess": {"kind": "split", "members": 900}}
    clean, _ = read(tmp_path, ("datasets/clean", step))["datasets"]
    assert clean.settings.base == "digits"
    assert clean.settings.preprocess.members == 900


def test_a_given_split_needs_no_size(tmp_path: Path) -> None:
    changes = ((f"{MODEL}/split", "given"), (f"{MODEL}/members", DROP))
    (net,) = read(tmp_path, *changes, (f"{MODEL}/shadows", 0))["models"]
    assert net.settings.members is None
    assert net.settings.shadows == 0


def test_shadow_data_are_real_unless_one_says_otherwise(tmp_path: Path) -> None:
    (net,) = read(tmp_path)["models"]
    assert not net.settings.has_own_shadow_data
    (net,) = read(tmp_path, (f"{MODEL}/shadow_data", {"kind": "model-based"}))["models"]
    found = net.settings.shadow_data
    assert (found.k_max, found.k_min, found.rej_max, found.iter_max) == (
        128, 4, 10, 1000
    )  # fmt: skip
    assert net.settings.has_own_shadow_data


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"shadow_data": {"kind": "fake"}}, "shadow_data: .*'noisy'"),
        ({"shadow_data": {"kind": "noisy", "share": 1.5}}, "share: .*got 1.5"),
        ({"shadow_data": {"kind": "noisy", "k_max": 3}}, "k_max: unknown key"),
        ({"shadow_data": {"kind": "model-based", "conf_min": 1}}, "conf_min: .*got 1"),
        (
            {"shadow_data": {"kind": "model-based", "k_max": 3}},
            r"k_min: 4; allowed: 1\.\.3",
        ),
        (
            {"shadow_data": {"kind": "marginals"}, "shadows": 0},
            "shadows: 0; allowed with shadow_data marginals: 1 or more",
        ),
        (
            {"shadow_data": {"kind": "marginals"}, "split": "halves", "shadows": 2},
            "shadow_data: marginals; allowed with halves: real",
        ),
        (
            {"shadow_data": {"kind": "noisy"}, "split": "coins", "members": DROP},
            r"shadow_data: noisy; allowed with coins: real \(an audit asks",
        ),
        (
            {"shadow_data": {"kind": "model-based"}, "unit": "author"},
            "shadow_data: model-based; allowed with unit: real .*belong to no author",
        ),
        (
            {"shadow_data": {"kind": "noisy"}, "split": "given", "members": None},
            "members: needed with shadow_data noisy",
        ),
    ],
)
def test_shadow_data_that_cannot_be(
    tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    given = [(f"{MODEL}/{field}", value) for field, value in changes.items()]
    with pytest.raises(UserError, match=f"models.net: .*{line}") as caught:
        read(tmp_path, *given)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"from": "net"}, "models.b: .*training: left out; allowed with tampering lsb"),
        (
            {"from": "net", "tampering": {"kind": "sign", "strength": 1.0}},
            "models.b: .*training: left out; allowed with tampering lsb alone",
        ),
        ({"from": "net", "members": 5}, "models.b: members: unknown key"),
        ({"from": "net", "replicates": 5}, "models.b: replicates: unknown key"),
        ({"from": 3}, "models.b: from: .*valid string, got 3"),
        ({"from": "N et"}, "models.b: from: "),
        ({"from": "net", "external": "mine.npz"}, "models.b: from: unknown key"),
    ],
)
def test_models_that_cannot_start_from_others(
    tmp_path: Path, entry: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        read(tmp_path, ("models/b", entry))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"from": "digits"}, "datasets.b: preprocess: Field required"),
        ({"from": "digits", "preprocess": {"kind": "shuffle"}}, "'capacity-abuse'"),
        (
            {"from": "digits", "preprocess": {"kind": "split", "members": 1}},
            "members: .*greater than or equal to 2, got 1",
        ),
        (
            {"from": "digits", "preprocess": {"kind": "split", "members": "9"}},
            "members: .*valid integer, got '9'",
        ),
        (
            {"from": "digits", "preprocess": {"kind": "capacity-abuse", "inputs": 7}},
            "inputs: .*greater than or equal to 8, got 7",
        ),
        (
            {"from": "digits", "source": "digits", "preprocess": {"kind": "split"}},
            "datasets.b: ",
        ),
    ],
)
def test_data_sets_that_cannot_be_made(
    tmp_path: Path, entry: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        read(tmp_path, ("datasets/b", entry))
    assert str(caught.value).startswith(f"{tmp_path / 'toy.yaml'}: datasets.b")
    assert "\n" not in str(caught.value)


def test_low_bits_need_no_training(tmp_path: Path) -> None:
    entry = {
        "from": "net", "tampering": {"kind": "lsb"},
        "foreach": {"tampering.bits": [4, 8]},
    }  # fmt: skip
    *found, _ = read(tmp_path, ("models/b", entry))["models"]
    assert [point.name for point in found] == ["b.bits-4", "b.bits-8"]
    assert [point.settings.tampering.bits for point in found] == [4, 8]
    assert all(point.settings.training is None for point in found)
