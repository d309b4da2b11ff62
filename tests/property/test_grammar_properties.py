"""Grids of any shape: every point once, under a name of its own."""

import math
import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from whatelse.errors import UserError
from whatelse.studies.grammar import instances, read_study

AXES = st.fixed_dictionaries(
    {},
    optional={
        "members": st.lists(st.integers(2, 10**6), min_size=1, max_size=4, unique=True),
        "training.l2": st.lists(
            st.floats(0, 1000), min_size=1, max_size=4, unique=True
        ),
        "architecture.hidden": st.lists(
            st.lists(st.integers(2, 999), max_size=3), min_size=1, max_size=4,
            unique_by=tuple,
        ),
        "tampering.bits": st.lists(
            st.integers(1, 23), min_size=1, max_size=3, unique=True
        ),
        "replicates": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True),
    },
)  # fmt: skip


def study(axes: object, seed: object = 1) -> dict[str, object]:
    return {
        "study": "s",
        "question": "membership",
        "title": "T",
        "seed": seed,
        "datasets": {"d": {"source": "digits"}},
        "models": {
            "m": {
                "dataset": "d",
                "architecture": {"kind": "mlp"},
                "training": {"optimizer": {"kind": "adam"}, "epochs": 1},
                "members": 10,
                "shadows": 2,
                "tampering": {"kind": "lsb", "bits": 5},
                "foreach": axes,
            }
        },
        "attacks": {"a": {"kind": "membership.shadow", "models": "m"}},
    }


@settings(max_examples=50)
@given(axes=AXES)
def test_every_point_of_a_grid_has_its_values_and_a_name_of_its_own(
    axes: dict[str, list],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "s.yaml")
        path.write_text(yaml.safe_dump(study(axes)))
        found = instances(path, read_study(path), "models")
    assert len(found) == math.prod(len(values) for values in axes.values())
    names = {point.name for point in found}
    assert len(names) == len(found)
    assert all(set(name) <= set(LETTERS) for name in names)
    seen = {
        "members": {point.settings.members for point in found},
        "training.l2": {point.settings.training.l2 for point in found},
        "architecture.hidden": {p.settings.architecture.hidden for p in found},
        "tampering.bits": {point.settings.tampering.bits for point in found},
        "replicates": {point.settings.replicates for point in found},
    }
    for field, values in axes.items():
        as_read = [tuple(v) if isinstance(v, list) else v for v in values]
        assert seen[field] == set(as_read)


# what the workflow's wildcard of attacks takes
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+-"

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "dataset", "from", "x"]), inner, max_size=3
        )
    ),
    max_leaves=5,
)


@settings(max_examples=150)
@given(
    field=st.sampled_from(
        ["study", "title", "seed", "datasets", "models", "releases", "attacks",
         "figures", "claims", "description"]
    ),
    value=ANYTHING,
)  # fmt: skip
def test_any_value_is_read_or_refused_in_one_line(field: str, value: object) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place, "s.yaml")
        path.write_text(yaml.safe_dump({**study({}), field: value}))
        try:
            read = read_study(path)
            for section in ("datasets", "models", "releases", "attacks"):
                instances(path, read, section)
        except UserError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
