"""What a study resolves to: folders, specs, what they share and what they need."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from whatelse.errors import UserError
from whatelse.findings import AttackSpec
from whatelse.studies.resolve import Resolved, load_study
from whatelse.training.settings import TrainSpec

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
            "training": {"optimizer": {"kind": "adam"}, "epochs": 2},
            "members": 100,
            "shadows": 9,
            "replicates": 2,
            "block": 4,
        }
    },
    "attacks": {"shadow": {"kind": "membership.shadow", "models": "net"}},
}


def resolve(folder: Path, name: str = "toy", **sections: Any) -> Resolved:
    """Resolve the study with some sections' entries added or replaced."""
    study = copy.deepcopy(STUDY)
    study["study"] = name
    for section, entries in sections.items():
        if isinstance(entries, dict) and section in study:
            study[section].update(entries)
        else:
            study[section] = entries
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return load_study(path)


def net(**changes: Any) -> dict[str, Any]:
    return {"net": {**copy.deepcopy(STUDY["models"]["net"]), **changes}}


def folders(resolved: Resolved, kind: str) -> list[str]:
    return [artefact.folder for artefact in resolved.of(kind)]


def test_the_artefacts_of_a_small_study(tmp_path: Path) -> None:
    resolved = resolve(tmp_path)
    counts = {
        kind: len(resolved.of(kind))
        for kind in ("dataset", "train", "query", "import", "attack", "claims")
    }
    # ten models a replicate, four to a block
    assert counts == {
        "dataset": 1, "train": 6, "query": 6, "import": 0, "attack": 1, "claims": 1
    }  # fmt: skip
    assert [a.labels["models"] for a in resolved.of("train")] == [
        "0:4", "4:8", "8:10"
    ] * 2  # fmt: skip
    (attack,) = resolved.of("attack")
    assert attack.folder == "results/attacks/toy/shadow"
    assert list(attack.inputs) == ["outputs.0", "outputs.1"]
    assert [len(blocks) for blocks in attack.inputs.values()] == [3, 3]


def test_upstream_comes_first(tmp_path: Path) -> None:
    resolved = resolve(
        tmp_path,
        figures={"roc": {"kind": "roc", "title": "ROC", "attacks": ["shadow"]}},
    )
    seen: set[str] = set()
    for artefact in resolved.artefacts:
        assert set(artefact.upstream) <= seen
        seen.add(artefact.folder)
    assert len(seen) == len(resolved.artefacts)


def test_specs_are_what_the_verbs_take(tmp_path: Path) -> None:
    resolved = resolve(tmp_path)
    for artefact in resolved.of("train"):
        spec = TrainSpec.model_validate_json(artefact.spec_json)
        assert spec.model_dump(mode="json") == artefact.spec
        assert spec.replicate == artefact.labels["replicate"]
    (attack,) = resolved.of("attack")
    spec = AttackSpec.model_validate_json(attack.spec_json)
    assert spec.model_dump(mode="json") == attack.spec
    assert "models" not in attack.spec["settings"]


def test_resolving_twice_is_the_same(tmp_path: Path) -> None:
    assert resolve(tmp_path).artefacts == resolve(tmp_path).artefacts


def keys(resolved: Resolved) -> set[str]:
    return {artefact.labels["key"] for artefact in resolved.of("train")}


@pytest.mark.parametrize(
    "sections",
    [
        {"title": "Another"},
        {"attacks": {"shadow": {**STUDY["attacks"]["shadow"], "min_rows": 3}}},
        {"attacks": {"t": {"kind": "membership.threshold", "models": "net"}}},
        {"releases": {"one": {"kind": "label"}}},
        {"models": net(shadows=30)},
    ],
    ids=["title", "setting", "attack", "release", "shadows"],
)
def test_what_changes_no_model(tmp_path: Path, sections: dict[str, Any]) -> None:
    assert keys(resolve(tmp_path, **sections)) == keys(resolve(tmp_path))


@pytest.mark.parametrize(
    "sections",
    [
        {"seed": 2},
        {"models": net(members=101)},
        {"models": net(non_members=50)},
        {"models": net(architecture={"kind": "mlp", "hidden": [64]})},
        {"models": net(training={"optimizer": {"kind": "adam"}, "epochs": 3})},
    ],
    ids=["seed", "members", "non_members", "architecture", "epochs"],
)
def test_what_changes_every_model(tmp_path: Path, sections: dict[str, Any]) -> None:
    assert not keys(resolve(tmp_path, **sections)) & keys(resolve(tmp_path))


def test_more_shadows_keep_the_full_blocks(tmp_path: Path) -> None:
    few = {a.folder for a in resolve(tmp_path, models=net(shadows=9)).of("train")}
    more = {a.folder for a in resolve(tmp_path, models=net(shadows=11)).of("train")}
    names = {Path(folder).name for folder in few & more}
    assert names == {"block_0-4", "block_4-8"}
    assert {Path(folder).name for folder in few - more} == {"block_8-10"}


def test_one_more_replicate_keeps_the_others(tmp_path: Path) -> None:
    two, three = resolve(tmp_path), resolve(tmp_path, models=net(replicates=3))
    assert keys(two) < keys(three)
    assert len(keys(three)) == 3


def test_replicates_can_be_cut(tmp_path: Path) -> None:
    resolve(tmp_path)
    cut = load_study(tmp_path / "toy.yaml", replicates=1)
    assert len(keys(cut)) == 1
    assert keys(cut) < keys(resolve(tmp_path))
    assert load_study(tmp_path / "toy.yaml", replicates=9) == resolve(tmp_path)


def test_studies_that_ask_for_the_same_models_share_them(tmp_path: Path) -> None:
    one, two = resolve(tmp_path), resolve(tmp_path, name="other")
    assert folders(one, "train") == folders(two, "train")
    assert folders(one, "query") == folders(two, "query")
    assert folders(one, "attack") != folders(two, "attack")


def test_a_release_asks_again_but_trains_nothing(tmp_path: Path) -> None:
    resolved = resolve(
        tmp_path,
        releases={"top": {"kind": "top", "foreach": {"count": [1, 3]}}},
        attacks={
            "top": {"kind": "membership.shadow", "models": "net", "release": "top"}
        },
    )
    assert len(resolved.of("train")) == 6
    assert len(resolved.of("query")) == 18
    assert [a.labels["instance"] for a in resolved.of("attack")] == [
        "shadow", "top.count-1", "top.count-3"
    ]  # fmt: skip


def test_grids_multiply_along_the_way(tmp_path: Path) -> None:
    resolved = resolve(
        tmp_path,
        datasets={"digits": {"source": "retail", "foreach": {"classes": [2, 10]}}},
        models=net(foreach={"members": [100, 200]}),
        attacks={
            "shadow": {
                "kind": "membership.shadow", "models": "net",
                "foreach": {"min_rows": [5, 10]},
            }
        },
    )  # fmt: skip
    attacks = resolved.of("attack")
    assert [a.labels["grid"] for a in attacks] == [
        {"classes": classes, "members": members, "min_rows": rows}
        for rows in (5, 10)
        for members in (100, 200)
        for classes in (2, 10)
    ]
    assert len({a.folder for a in attacks}) == 8
    # models know nothing of the attack's grid
    assert len(keys(resolved)) == 8
    assert {tuple(a.labels["grid"]) for a in resolved.of("train")} == {
        ("classes", "members")
    }


def test_paths_of_the_user_are_beside_the_study(tmp_path: Path) -> None:
    place = tmp_path / "studies"
    place.mkdir()
    resolved = resolve(
        place,
        datasets={"digits": {"source": "npz", "path": "../mine.npz"}},
        models={"theirs": {"external": "sub/outputs.npz"}},
        attacks={"t": {"kind": "membership.threshold", "models": "theirs"}},
    )
    (dataset,) = resolved.of("dataset")
    assert dataset.files == (str(tmp_path / "mine.npz"),)
    assert dataset.spec["path"] == str(tmp_path / "mine.npz")
    (imported,) = resolved.of("import")
    assert imported.files == (str(place / "sub" / "outputs.npz"),)
    attack = next(a for a in resolved.of("attack") if a.labels["name"] == "t")
    assert attack.upstream == [imported.folder]


def test_registered_data_is_fetched_and_bundled_data_is_not(tmp_path: Path) -> None:
    assert resolve(tmp_path).of("dataset")[0].files == ()
    resolved = resolve(tmp_path, datasets={"digits": {"source": "location"}})
    assert resolved.of("dataset")[0].files == ("resources/location/fetched.json",)


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            {"models": net(dataset="digit")},
            "models.net.datasets: 'digit' is not in datasets; allowed: digits",
        ),
        (
            {"attacks": {"shadow": {"kind": "membership.shadow", "models": "nets"}}},
            "attacks.shadow.models: 'nets' is not in models; allowed: net",
        ),
        (
            {"attacks": {"shadow": {**STUDY["attacks"]["shadow"], "release": "top"}}},
            "attacks.shadow.releases: 'top' is not in releases; allowed: none",
        ),
        (
            {"figures": {"f": {"kind": "roc", "title": "t", "attacks": ["shadows"]}}},
            "figures.f: 'shadows' is no attack of this study; allowed: shadow",
        ),
        (
            {
                "claims": [
                    {
                        "claim": "c", "attack": "shadows", "metric": "auc",
                        "relation": {"kind": "at_least", "bound": 0.5},
                    }
                ]
            },
            "claims.0..attack: 'shadows' is no attack of this study",
        ),
        (
            {
                "models": net(foreach={"members": [100, 200]}),
                "attacks": {
                    "shadow": {
                        **STUDY["attacks"]["shadow"],
                        "foreach": {"min_row": [1]},
                    }
                },
            },
            "unknown key",
        ),
    ],
)  # fmt: skip
def test_references_to_nothing(
    tmp_path: Path, sections: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        resolve(tmp_path, **sections)
    assert str(caught.value).startswith(f"{tmp_path / 'toy.yaml'}: ")


def test_a_grid_variable_belongs_to_one_entry(tmp_path: Path) -> None:
    optimizers = [{"kind": "adam", "learning_rate": rate} for rate in (0.1, 0.2)]
    with pytest.raises(UserError, match="the grid variable optimizer is also one of"):
        resolve(
            tmp_path,
            models=net(foreach={"training.optimizer": optimizers}),
            attacks={
                "shadow": {
                    **STUDY["attacks"]["shadow"],
                    "foreach": {"attack_model.training.optimizer": optimizers},
                    "attack_model": {"kind": "mlp", "training": {"epochs": 3}},
                }
            },
        )


def test_every_artefact_names_code_that_exists(tmp_path: Path, repository: Path) -> None:  # fmt: skip  # noqa: E501
    from whatelse.sources import closure

    for path in sorted((repository / "config" / "studies").glob("*.yaml")):
        for artefact in load_study(path).artefacts:
            assert closure(*artefact.modules)
            json.loads(artefact.spec_json)
