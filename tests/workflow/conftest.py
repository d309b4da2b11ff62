"""Copies of the repository for workflow tests: clean, and with a study that ran."""

import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from checkouts import Checkout, copy_of, small


@pytest.fixture(scope="session")
def pristine(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the working tree as git sees it, with the small study."""
    root = tmp_path_factory.mktemp("pristine") / "repository"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository, capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (repository / name).is_file():  # not one that was deleted
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(repository / name, root / name)
    checkout = Checkout(root)
    shutil.copy2(checkout.study, root / "demo.yaml")
    study = small(yaml.safe_load(checkout.study.read_text()))
    checkout.study.write_text(yaml.safe_dump(study, sort_keys=False))
    return root


@pytest.fixture
def clean(pristine: Path, tmp_path: Path) -> Checkout:
    """Return a copy in which nothing has run."""
    return copy_of(pristine, tmp_path / "clean")


@pytest.fixture(scope="session")
def undisturbed(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy in which the study ran once; not to be edited."""
    checkout = copy_of(pristine, tmp_path_factory.mktemp("undisturbed") / "finished")
    start = time.monotonic()
    checkout.said = checkout.run().stdout
    checkout.seconds = time.monotonic() - start
    return checkout


@pytest.fixture
def finished(undisturbed: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy in which the study ran once, to be edited."""
    return copy_of(undisturbed.root, tmp_path / "finished")
