"""What tests share: one thread, no display, no reports home; copies to work in."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

# before anything imports NumPy or torch: equal bytes need an equal thread count
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["DO_NOT_TRACK"] = os.environ["DVC_NO_ANALYTICS"] = "true"

import pytest  # noqa: E402
import yaml  # noqa: E402
from hypothesis import settings  # noqa: E402

from checkouts import Checkout, copy_of, shared, small  # noqa: E402

# a shared or cold machine is slow at times: no deadline, and in CI the same examples
settings.register_profile(
    "whatelse", deadline=None, derandomize="CI" in os.environ, print_blob=True
)
settings.load_profile("whatelse")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the folder of the working tree."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run each test in an empty folder: code must not read the current directory."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


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

    def make(root: Path) -> None:
        checkout = copy_of(pristine, root)
        start = time.monotonic()
        said = checkout.run().stdout
        seconds = time.monotonic() - start
        (root.parent / "undisturbed.json").write_text(json.dumps([said, seconds]))

    root = shared(tmp_path_factory, "undisturbed", make)
    checkout = Checkout(root)
    told = (root.parent / "undisturbed.json").read_text()
    checkout.said, checkout.seconds = json.loads(told)
    return checkout


@pytest.fixture
def finished(undisturbed: Checkout, tmp_path: Path) -> Checkout:
    """Return a copy in which the study ran once, to be edited."""
    return copy_of(undisturbed.root, tmp_path / "finished")


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return a fresh MLflow database: making one takes seconds."""
    from whatelse.tracking import store

    folder = tmp_path_factory.mktemp("database")
    store.connect(store.find_place(None, folder / "results"))
    return (folder / "mlflow.db").read_bytes()
