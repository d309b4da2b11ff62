"""Import closures: what each rule's code consists of."""

from pathlib import Path

import pytest

from whatelse import sources
from whatelse.attack_kinds import KINDS
from whatelse.sources import PACKAGE, closure


def names(*modules: str) -> set[str]:
    return {path.relative_to(PACKAGE).as_posix() for path in closure(*modules)}


UPPER = ("membership/", "figures/", "claims/", "tracking/", "studies/", "cli.py")


@pytest.mark.parametrize("verb", ["command", "query"])
def test_training_knows_nothing_above_the_ground_floor(verb: str) -> None:
    found = names(f"whatelse.training.{verb}")
    assert {"training/ensemble.py", "training/plan.py", "seeding.py"} <= found
    assert not [name for name in found if name.startswith(UPPER)]


def test_nothing_on_the_ground_floor_imports_a_question() -> None:
    for floor in ("datasets", "models", "training", "measures"):
        for path in (PACKAGE / floor).rglob("*.py"):
            inside = path.relative_to(PACKAGE.parent).with_suffix("")
            module = ".".join(inside.parts).removesuffix(".__init__")
            above = [name for name in names(module) if name.startswith(UPPER)]
            assert not above, (module, above)


def test_better_words_make_nothing_stale() -> None:
    verbs = ("training.command", "training.collaborate", "datasets.prepare")
    for verb in (*verbs, "attacks", "figures.command", "claims.command"):
        assert "arguments.py" not in names(f"whatelse.{verb}")


def test_an_edit_of_the_attack_retrains_nothing() -> None:
    attack = names("whatelse.attacks", *KINDS["membership.shadow"].modules)
    assert {"membership/shadow.py", "membership/evaluate.py"} <= attack
    assert "membership/shadow.py" not in names("whatelse.training.command")
    assert "membership/shadow.py" not in names(
        "whatelse.attacks", *KINDS["membership.threshold"].modules
    )
    assert not [name for name in attack if name.startswith(("figures/", "studies/"))]


def package(place: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources, "PACKAGE", tmp_path / "toy")
    sources._imports.cache_clear()
    package(
        tmp_path / "toy",
        {
            "__init__.py": "",
            "a.py": "import os\nfrom toy.b import thing\n",
            "b.py": "def late():\n    import toy.sub.c\n",
            "sub/__init__.py": "from toy import e\n",
            "sub/c.py": "from toy import d, VERSION\nimport toyish\n",
            "d.py": "from typing import TYPE_CHECKING\nimport toy.a\n",
            "e.py": "",
            "unused.py": "",
        },
    )
    yield tmp_path / "toy"
    sources._imports.cache_clear()


def test_a_closure_by_hand(toy: Path) -> None:
    """Late imports, circles, names that are no modules, and other packages."""
    found = {path.relative_to(toy).as_posix() for path in closure("toy.a")}
    assert found == {"a.py", "b.py", "sub/c.py", "d.py", "__init__.py"}
    inside = {path.relative_to(toy).as_posix() for path in closure("toy.sub")}
    assert inside == {"sub/__init__.py", "e.py"}


def test_no_such_module(toy: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="toy.gone"):
        closure("toy.gone")
