"""A SLURM cluster for each test, and copies of the repository that use it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from checkouts import Checkout, copy_of, shared
from slurm import STEADY, Slurm, missing_tools


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Return a running cluster."""
    if missing := missing_tools():
        pytest.skip(f"{', '.join(missing)} not installed (Debian: slurm-wlm, munge)")
    # a short path, without the test's name: sockets allow 108 characters
    cluster = Slurm(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


class Submitter(Checkout):
    """A copy of the repository from which studies are run on a cluster."""

    def __init__(self, root: Path, slurm: Slurm) -> None:
        super().__init__(root)
        self.slurm = slurm
        ours, theirs = self.environment["PATH"], slurm.environment["PATH"]
        self.environment |= slurm.environment | {"PATH": f"{ours}:{theirs}"}
        # srun of the cluster before the machine's
        self.environment["PATH"] = f"{slurm.home}/bin:{ours}:{theirs}"
        # The shipped profile, but for how often SLURM is asked.
        self.site({"slurm-init-seconds-before-status-checks": 1})
        self.environment["PYTHONPATH"] += f":{STEADY}"

    def site(self, changes: dict[str, Any]) -> None:
        """Change settings of the profile, a section's entries one by one."""
        path = self.root / "profiles" / "slurm" / "profile.yaml"
        profile = yaml.safe_load(path.read_text())
        for name, value in changes.items():
            if isinstance(value, dict):
                for inner, own in value.items():
                    section = profile.setdefault(name, {})
                    old = section.get(inner)
                    section[inner] = old | own if isinstance(old, dict) else own
            else:
                profile[name] = value
        path.write_text(yaml.safe_dump(profile))

    def command(self, *more: str) -> list[str]:
        """Return the command that runs the study on the cluster."""
        study = str(self.study.relative_to(self.root))
        return ["whatelse", "run", "--profile", "slurm", study, *more]


@pytest.fixture(scope="session")
def blocks(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy with a study of six blocks."""
    checkout = copy_of(pristine, tmp_path_factory.mktemp("blocks") / "repository")
    checkout.edit_study({"models.net.shadows": 5, "models.net.block": 2})
    return checkout.root


@pytest.fixture(scope="session")
def local(blocks: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return a copy in which the study of six blocks ran on this machine."""
    return Checkout(
        shared(tmp_path_factory, "local", lambda root: copy_of(blocks, root).run())
    )


@pytest.fixture
def submitter(blocks: Path, slurm: Slurm, tmp_path: Path) -> Submitter:
    """Return a copy of the six blocks' study that is to run on the cluster."""
    return Submitter(copy_of(blocks, tmp_path / "repository").root, slurm)
