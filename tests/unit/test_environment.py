"""pyproject.toml, requirements.lock and environment.yml say the same."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version


@pytest.fixture(scope="module")
def project(repository: Path) -> dict:
    with open(repository / "pyproject.toml", "rb") as file:
        return tomllib.load(file)["project"]


@pytest.fixture(scope="module")
def direct(project: dict) -> dict[str, Requirement]:
    """What pyproject.toml asks for, runtime and development, by canonical name."""
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    requirements = [Requirement(line) for line in lines]
    found = {canonicalize_name(r.name): r for r in requirements}
    assert len(found) == len(lines)
    return found


@pytest.fixture(scope="module")
def locked(repository: Path) -> dict[str, Requirement]:
    """The lines of requirements.lock, by canonical name."""
    lines = (repository / "requirements.lock").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines]
    found = {canonicalize_name(r.name): r for r in requirements}
    assert len(found) == len(lines)
    return found


@pytest.fixture(scope="module")
def environment(repository: Path) -> dict:
    return yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pip_lines(environment: dict) -> list[str]:
    (section,) = (e["pip"] for e in environment["dependencies"] if isinstance(e, dict))
    return section


def exact(requirement: Requirement) -> Version:
    """Return the one version that a requirement allows; fail if it allows others."""
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", requirement
    assert not specifier.version.endswith(".*"), requirement
    return Version(specifier.version)


def test_the_lock_holds_plain_exact_versions(locked):
    for requirement in locked.values():
        assert exact(requirement).local is None, requirement
        assert requirement.url is None, requirement


def test_the_lock_leaves_the_build_of_torch_open(locked):
    assert not [n for n in locked if re.match(r"nvidia|cuda|triton", n)]


def test_every_direct_dependency_is_locked_within_its_bounds(direct, locked):
    for name, requirement in direct.items():
        assert name in locked, f"{name} is not in requirements.lock: make lock"
        version = exact(locked[name])
        assert version in requirement.specifier, f"{name}: {version} is outside"
        assert locked[name].marker is None, f"{name} is locked for some machines only"


def test_conda_users_get_the_locked_versions(direct, locked, pip_lines):
    pins = [Requirement(line) for line in pip_lines if not line.startswith("-")]
    found = {canonicalize_name(r.name): exact(r) for r in pins}
    assert len(found) == len(pins)
    assert found == {name: exact(locked[name]) for name in direct}


def test_conda_users_get_the_locks_indirect_dependencies(pip_lines):
    options = [line for line in pip_lines if line.startswith("-")]
    assert options == ["--constraint requirements.lock", "--editable ."]


def test_one_bound_for_python(project, environment, repository):
    bound = SpecifierSet(project["requires-python"])
    (conda,) = (
        entry.removeprefix("python").strip()
        for entry in environment["dependencies"]
        if isinstance(entry, str) and re.match(r"python\b", entry)
    )
    assert SpecifierSet(conda) == bound
    (oldest,) = (Version(s.version) for s in bound)
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    assert f"sys.version_info < ({oldest.major}, {oldest.minor})" in makefile
    classifiers = [
        Version(c.rsplit(" ", 1)[1])
        for c in project["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", c)
    ]
    assert min(classifiers) == oldest
