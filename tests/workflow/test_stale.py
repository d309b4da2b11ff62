"""Reference models that are not what a study asks for are made again, no others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from checkouts import Checkout, copy_of

pytestmark = pytest.mark.workflow

LIRA = {"lira": {"kind": "membership.lira", "models": "net"}}
RMIA = {"rmia": {"kind": "membership.rmia", "models": "net"}}
# The target, and reference models 1 to 2 and 3 to 4.
ATTACKED = {"run_attack": 1, "check_claims": 1, "track_study": 1}
MODELS = {"train_block": 3, "query_block": 3} | ATTACKED
EVERYTHING = {"prepare_dataset": 1} | MODELS


def study(name: str, attacks: dict[str, Any]) -> dict[str, Any]:
    return {
        "study": name, "question": "membership", "title": name, "seed": 1,
        "datasets": {"own": {"source": "npz", "path": f"{name}.npz"}},
        "models": {
            "net": {
                "dataset": "own",
                "architecture": {"kind": "mlp", "hidden": [4]},
                "training": {
                    "optimizer": {"kind": "adam", "learning_rate": 0.01}, "epochs": 1,
                },
                "split": "halves", "members": 40, "shadows": 4, "block": 2,
            }
        },
        "attacks": attacks,
    }  # fmt: skip


class Two:
    """Two studies with reference models of their own, both finished."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout

    def path(self, name: str) -> Path:
        return self.checkout.root / "config" / "studies" / f"{name}.yaml"

    def planned(self) -> dict[str, dict[str, int]]:
        """Return what would be done again of each, by its name."""
        found = {}
        for name in ("first", "second"):
            path = self.path(name).relative_to(self.checkout.root)
            config = self.checkout.root / "config" / "config.yaml"
            config.write_text(yaml.safe_dump({"studies": [str(path)]}))
            if jobs := self.checkout.planned():
                found[name] = jobs
        return found


@pytest.fixture(scope="module")
def _both(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stale") / "repository"
    two = Two(copy_of(pristine, root))
    for number, (name, attacks) in enumerate([("first", LIRA), ("second", RMIA)]):
        rng = np.random.default_rng(number)
        np.savez(
            root / "config" / "studies" / f"{name}.npz",
            inputs=rng.random((100, 6), dtype=np.float32),
            labels=np.arange(100) % 2,
        )
        two.path(name).write_text(yaml.safe_dump(study(name, attacks)))
    paths = [str(two.path(name).relative_to(root)) for name in ("first", "second")]
    two.checkout.whatelse("run", *paths)
    assert two.planned() == {}
    return root


@pytest.fixture
def two(_both: Path, tmp_path: Path) -> Two:
    return Two(copy_of(_both, tmp_path / "repository"))


def test_a_setting_of_the_target(two: Two) -> None:
    changed = yaml.safe_load(two.path("first").read_text())
    changed["models"]["net"]["training"]["epochs"] = 2
    two.path("first").write_text(yaml.safe_dump(changed))
    assert two.planned() == {"first": MODELS}


def test_a_data_file(two: Two) -> None:
    path = two.path("second").with_suffix(".npz")
    with np.load(path) as stored:
        inputs, labels = stored["inputs"].copy(), stored["labels"]
    inputs[0, 0] += 1
    np.savez(path, inputs=inputs, labels=labels)
    assert two.planned() == {"second": EVERYTHING}


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("membership/lira.py", {"first": ATTACKED}),
        ("membership/reference.py", {"first": ATTACKED, "second": ATTACKED}),
        ("training/plan.py", {"first": MODELS, "second": MODELS}),
    ],
)
def test_a_source(two: Two, file: str, expected: dict[str, dict[str, int]]) -> None:
    source = two.checkout.root / "src" / "whatelse" / file
    source.write_text(source.read_text() + "\n# edited\n")
    assert two.planned() == expected
