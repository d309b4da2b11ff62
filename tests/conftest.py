"""What every test shares: one thread, no display, no reports home, no stray files."""

import os
from pathlib import Path

# before anything imports NumPy or torch: equal bytes need an equal thread count
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["DO_NOT_TRACK"] = os.environ["DVC_NO_ANALYTICS"] = "true"

import pytest  # noqa: E402
from hypothesis import settings  # noqa: E402

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
