"""Settings of data sets: strict, closed, and known to the loaders and registry."""

import shutil
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from whatelse import sources
from whatelse.datasets import loaders, prepare
from whatelse.datasets.registry import default_registry, read_registry
from whatelse.datasets.settings import DatasetSettings
from whatelse.records import files_digest

ADAPTER: TypeAdapter[DatasetSettings] = TypeAdapter(DatasetSettings)
KINDS = typing.get_args(typing.get_args(DatasetSettings)[0])
SOURCES = [typing.get_args(k.model_fields["source"].annotation)[0] for k in KINDS]


def test_every_source_has_a_loader_and_published_ones_an_entry() -> None:
    assert list(loaders.LOADERS) == SOURCES
    assert set(SOURCES) - set(loaders.OWN) == set(read_registry(default_registry()))


def test_every_field_is_described() -> None:
    for kind in KINDS:
        for name, field in kind.model_fields.items():
            assert field.description, (kind.__name__, name)


def test_defaults_and_lists() -> None:
    assert ADAPTER.validate_python({"source": "retail"}).classes == 100
    table = {"source": "table", "path": "a.csv", "label": "y", "drop": ["id"]}
    assert ADAPTER.validate_python(table).drop == ("id",)
    assert ADAPTER.validate_python({"source": "newsgroups"}).min_documents == 1
    assert ADAPTER.validate_python({"source": "imdb"}).min_documents == 10
    assert ADAPTER.validate_json('{"source":"npz","path":"a.npz","scale":1}').scale == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"source": "purchase"}, ()),
        ({"source": "digits", "classes": 3}, ("digits", "classes")),
        ({"source": "retail", "classes": "20"}, ("retail", "classes")),
        ({"source": "retail", "classes": 1}, ("retail", "classes")),
        ({"source": "retail", "classes": 101}, ("retail", "classes")),
        ({"source": "retail", "classes": 20.0}, ("retail", "classes")),
        # what YAML makes of 1e-3
        ({"source": "npz", "path": "a.npz", "scale": "1e-3"}, ("npz", "scale")),
        ({"source": "images", "path": "a"}, ("images", "size")),
        ({"source": "lfw", "task": "person"}, ("lfw", "task")),
        ({"source": "lfw", "size": 4}, ("lfw", "size")),
        ({"source": "lfw-attributes", "task": "person"}, ("lfw-attributes", "task")),
        ({"source": "utkface", "size": 48}, ("utkface", "size")),
        ({"source": "facescrub", "people": 1}, ("facescrub", "people")),
        ({"source": "newsgroups", "first_tokens": 0}, ("newsgroups", "first_tokens")),
        ({"source": "imdb", "min_documents": 0.5}, ("imdb", "min_documents")),
        ({"source": "blogs", "vocabulary": 65536}, ("blogs", "vocabulary")),
        ({"source": "blogs", "length": 0}, ("blogs", "length")),
        ({"source": "blogs-words", "least": 1}, ("blogs-words", "least")),
        (
            {"source": "blogs-words", "least": 99, "words_per_author": 98},
            ("blogs-words",),
        ),
        ({"source": "reddit", "min_posts": 0}, ("reddit", "min_posts")),
        ({"source": "yelp", "subset": "all"}, ("yelp", "subset")),
        ({"source": "foursquare", "vocabulary": 9}, ("foursquare", "vocabulary")),
        ({"source": "csi", "length": 300.0}, ("csi", "length")),
        ({"source": "table", "path": "a.csv", "label": ""}, ("table", "label")),
    ],
)
def test_bad_settings_are_refused(given: dict, field: tuple) -> None:
    with pytest.raises(ValidationError) as caught:
        ADAPTER.validate_python(given)
    assert [problem["loc"] for problem in caught.value.errors()] == [field]


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_depends_on_no_other_loader(source: str) -> None:
    own = loaders.LOADERS[source].partition(":")[0].rpartition(".")[2]
    shared = {
        *("archives", "encode", "json_lines", "lfw_pictures", "next_words"),
        *("pictures", "tokens"),
    }
    found = {p.stem for p in prepare.code_of(source) if p.parent.name == "loaders"}
    assert own in found
    assert found <= {own} | shared


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package, to be edited."""
    copy = tmp_path / "whatelse"
    shutil.copytree(sources.PACKAGE, copy, ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.setattr(sources, "PACKAGE", copy)
    sources._imports.cache_clear()
    yield copy
    sources._imports.cache_clear()


def test_a_new_source_makes_no_data_set_anew(checkout: Path) -> None:
    def digest() -> str:
        sources._imports.cache_clear()
        return files_digest(prepare.code_of("adult"))

    before = digest()
    datasets = checkout / "datasets"
    with open(datasets / "settings.py", "a") as file:
        file.write('\n\nclass Wine(DatasetBase):\n    """Wines."""\n')
    with open(datasets / "loaders" / "__init__.py", "a") as file:
        file.write('LOADERS["wine"] = "whatelse.datasets.loaders.wine:load"\n')
    assert digest() == before
    with open(datasets / "loaders" / "adult.py", "a") as file:
        file.write("# another way to read it\n")
    assert digest() != before


def test_what_no_code_holds_imports_nothing_from_here() -> None:
    for module in sources.DESCRIPTIONS:
        assert sources._imports(module) == (), module
        # a closure of it alone is as ever
        assert len(sources.closure(module)) == 1


def test_preparing_depends_on_no_question_and_not_on_fetching() -> None:
    files = sources.closure("whatelse.datasets.prepare")
    names = {path.relative_to(sources.PACKAGE).as_posix() for path in files}
    assert "datasets/fetch.py" not in names
    assert {name.partition("/")[0] for name in names if "/" in name} == {"datasets"}
