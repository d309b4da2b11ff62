"""What a study resolves to: folders, specs, what they share and what they need."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from whatelse.errors import UserError
from whatelse.findings import AttackSpec
from whatelse.membership.shadow_data_settings import SynthesisSpec
from whatelse.studies.resolve import Resolved, code_paths, load_study
from whatelse.training.federated_settings import CollaborationSpec
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


def test_the_report_shows_what_a_study_says_of_a_figure(tmp_path: Path) -> None:
    plain = {"kind": "roc", "title": "ROC", "attacks": ["shadow"]}
    figures = {"a": plain, "b": {**plain, "caption": "Nothing is seen below 9."}}
    a, b = resolve(tmp_path, figures=figures).of("figure")
    assert a.labels["shows"].startswith("ROC curves on linear and on logarithmic axes")
    assert b.labels["shows"] == f"{a.labels['shows']} Nothing is seen below 9."


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
            {"figures": {"f": {"kind": "rounds", "title": "t", "attacks": ["shadow"]}}},
            "figures.f.attacks: 'shadow' is of kind membership.shadow, which this ",
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


@pytest.mark.parametrize(
    ("where", "relation", "line"),
    [
        ({}, {"kind": "at_least", "bound": 0.5}, "no condition matches 2 instances"),
        ({"members": 300}, {"kind": "at_least", "bound": 0.5}, "matches no instance"),
        ({"members": 100}, {"kind": "falls_with", "variable": "members"}, "one value"),
        ({"members": 100}, {"kind": "above", "where": {"members": 100}}, "both sides"),
        ({"members": 100}, {"kind": "above", "where": {}}, "matches 2 instances"),
    ],
)
def test_claims_that_single_out_nothing_are_refused_before_anything_is_made(
    tmp_path: Path, where: dict[str, Any], relation: dict[str, Any], line: str
) -> None:
    claim = {"claim": "c", "attack": "shadow", "metric": "auc"}
    with pytest.raises(UserError, match=line) as caught:
        resolve(
            tmp_path,
            models=net(foreach={"members": [100, 200]}),
            claims=[{**claim, "where": where, "relation": relation}],
        )
    assert str(caught.value).startswith(f"{tmp_path / 'toy.yaml'}: claims[0]")


def test_what_data_stand_in_for_makes_nothing_stale_that_was_computed(
    tmp_path: Path,
) -> None:
    asked = {
        "attacks": {"more": {**STUDY["attacks"]["shadow"]}},
        "figures": {
            name: {"kind": "roc", "title": "T", "attacks": [name]}
            for name in ("shadow", "more")
        },
    }
    before = resolve(tmp_path, **asked)
    asked["attacks"]["more"]["stand_in_for"] = "Purchase"
    after = resolve(tmp_path, **asked)
    changed = set()
    for old, new in zip(before.artefacts, after.artefacts, strict=True):
        assert (old.folder, old.inputs) == (new.folder, new.inputs)
        if old.spec != new.spec:
            changed.add((new.kind, new.labels["name"]))
            assert new.spec["stand_ins"] == {"more": "Purchase"}
    assert changed == {("figure", "more"), ("claims", "toy")}


def test_a_claim_may_look_at_what_a_data_set_says_of_itself(tmp_path: Path) -> None:
    claim = {
        "claim": "c", "attack": "shadow", "metric": "auc", "where": {"classes": 10},
        "relation": {"kind": "falls_with", "variable": "members"},
    }  # fmt: skip
    resolve(tmp_path, models=net(foreach={"members": [100, 200]}), claims=[claim])


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


# ---- shadows that learn from data of their own

CLIMB = {"kind": "model-based"}


def shadowed(folder: Path, *kinds: dict[str, Any], **more: Any) -> Resolved:
    """The study, with an entry and an attack for each kind of shadow data too."""
    base = net(**more)["net"]
    names = [f"s{number}" for number in range(len(kinds))]
    models = {
        name: {**base, "shadow_data": kind}
        for name, kind in zip(names, kinds, strict=True)
    }
    attacks = {
        name: {"kind": "membership.shadow", "models": name, "release": "full"}
        for name in names
    }
    return resolve(folder, models={"net": base, **models}, attacks=attacks)


def read_by(resolved: Resolved, name: str) -> dict[str, list[str]]:
    (attack,) = (a for a in resolved.of("attack") if a.labels["name"] == name)
    return attack.inputs


def test_shadow_data_leave_the_target_as_it_is(tmp_path: Path) -> None:
    plain = resolve(tmp_path)
    found = shadowed(tmp_path, CLIMB, {"kind": "noisy"}, {"kind": "marginals"})
    assert keys(plain) < keys(found)
    for kind in ("train", "query", "attack"):
        assert set(folders(plain, kind)) < set(folders(found, kind))
    # real shadow data are what there was before: nothing more
    real = resolve(tmp_path, models=net(shadow_data={"kind": "real"}))
    assert real.artefacts == plain.artefacts
    # all kinds share the target, with one model on real records beside it: the control
    by_folder = {a.folder: a for a in found.artefacts}
    targets = {read_by(found, name)["outputs.0"][0] for name in ("s0", "s1", "s2")}
    (target,) = targets
    (block,) = by_folder[target].inputs["block"]
    assert by_folder[block].labels["models"] == "0:2"
    assert by_folder[block].labels["key"] in keys(plain)
    assert by_folder[block].spec == plain.of("train")[0].spec


def test_shadows_learn_from_what_was_made_for_them(tmp_path: Path) -> None:
    found = shadowed(tmp_path, CLIMB)
    by_folder = {a.folder: a for a in found.artefacts}
    inputs = read_by(found, "s0")
    roles = ("outputs", "shadows", "shadow_data")
    assert list(inputs) == [f"{role}.{n}" for n in range(2) for role in roles]
    made = found.of("synthesise")
    assert len(made) == 2
    for replicate, data in enumerate(made):
        assert inputs[f"shadow_data.{replicate}"] == [data.folder]
        (target,) = (by_folder[f] for f in inputs[f"outputs.{replicate}"])
        assert data.inputs == {"data": target.inputs["data"], "block": target.inputs["block"]}  # fmt: skip  # noqa: E501
        assert re.fullmatch(r"results/datasets/shadow/model-based/[0-9a-f]{16}", data.folder)  # fmt: skip  # noqa: E501
        spec = SynthesisSpec.model_validate_json(data.spec_json)
        assert spec.model_dump(mode="json") == data.spec
        assert (spec.records, spec.replicate) == (200, replicate)
        asked = [by_folder[f] for f in inputs[f"shadows.{replicate}"]]
        blocks = [by_folder[query.inputs["block"][0]] for query in asked]
        assert [b.labels["models"] for b in blocks] == ["1:5", "5:9", "9:10"]
        for query, block in zip(asked, blocks, strict=True):
            assert block.inputs == {"data": [data.folder]}
            assert query.inputs["data"] == [data.folder]
            own = by_folder[target.inputs["block"][0]].spec
            halves = {"split": "halves", "members": None, "non_members": None}
            assert block.spec == {**own, **halves}
            TrainSpec.model_validate_json(block.spec_json)


def test_who_asks_the_target_waits_for_it(tmp_path: Path) -> None:
    found = shadowed(tmp_path, CLIMB, {"kind": "marginals"}, {"kind": "noisy"})
    for data in found.of("synthesise"):
        kind = data.spec["settings"]["kind"]
        assert ("block" in data.inputs) == (kind != "noisy")
        assert (data.spec["release"] is not None) == (kind != "noisy")
        others = {"model_based", "marginals", "noisy"} - {kind.replace("-", "_")}
        sources = {Path(path).stem for path in code_paths(data.modules)}
        assert not sources & others


def made_from(resolved: Resolved, kind: str) -> set[str]:
    return {
        a.folder
        for a in resolved.of("synthesise")
        if a.spec["settings"]["kind"] == kind
    }


@pytest.mark.parametrize(
    ("more", "again"),
    [
        ({"shadows": 3}, set()),
        ({"training": {"optimizer": {"kind": "adam"}, "epochs": 3}}, {"model-based"}),
        ({"members": 90}, {"model-based", "noisy"}),
        ({"non_members": 90}, {"model-based", "noisy"}),
    ],
    ids=["shadows", "epochs", "members", "non_members"],
)
def test_what_makes_shadow_data_anew(
    tmp_path: Path, more: dict[str, Any], again: set[str]
) -> None:
    before, after = (
        shadowed(tmp_path, CLIMB, {"kind": "noisy"}, **changes)
        for changes in ({}, more)
    )
    for kind in ("model-based", "noisy"):
        one, two = made_from(before, kind), made_from(after, kind)
        assert (not one & two) if kind in again else one == two


def test_one_setting_makes_its_own_anew(tmp_path: Path) -> None:
    noise = ({"kind": "noisy", "share": share} for share in (0.1, 0.2))
    one, two = (shadowed(tmp_path, CLIMB, kind) for kind in noise)
    assert made_from(one, "model-based") == made_from(two, "model-based")
    assert not made_from(one, "noisy") & made_from(two, "noisy")
    assert read_by(one, "s0") == read_by(two, "s0")
    assert read_by(one, "s1")["outputs.0"] == read_by(two, "s1")["outputs.0"]
    assert read_by(one, "s1")["shadows.0"] != read_by(two, "s1")["shadows.0"]


def test_a_target_is_asked_through_the_release(tmp_path: Path) -> None:
    """Another release lets out something else to climb on; noise asks nothing."""
    models = {
        name: {**net()["net"], "shadow_data": {"kind": name}}
        for name in ("model-based", "noisy")
    }
    attacks = {
        f"{name}-{release}": {
            "kind": "membership.shadow", "models": name, "release": release
        }
        for name in models
        for release in ("full", "one")
    }  # fmt: skip
    releases = {"one": {"kind": "label"}}
    found = resolve(tmp_path, models=models, attacks=attacks, releases=releases)
    assert len(made_from(found, "model-based")) == 2 * 2
    assert len(made_from(found, "noisy")) == 2
    assert {
        data.spec["release"]["kind"]
        for data in found.of("synthesise")
        if data.spec["release"]
    } == {"probabilities", "label"}


def test_kinds_are_a_grid(tmp_path: Path) -> None:
    kinds = ["real", "noisy", "marginals", "model-based"]
    found = resolve(tmp_path, models=net(foreach={"shadow_data.kind": kinds}))
    assert [a.labels["instance"] for a in found.of("attack")] == [
        f"shadow.kind-{kind.replace('-', '_')}" for kind in kinds
    ]


def test_nothing_starts_from_models_with_shadow_data(tmp_path: Path) -> None:
    low = {"from": "net", "tampering": {"kind": "lsb", "bits": 4}}
    attack = {"kind": "membership.shadow", "models": "low"}
    line = "models.low.from: shadows of net learn from data of their own; allowed: an"
    with pytest.raises(UserError, match=line):
        resolve(
            tmp_path, models={**net(shadow_data=CLIMB), "low": low},
            attacks={"low": attack},
        )  # fmt: skip


# ---- what is made from something else

GIVEN: dict[str, Any] = {
    "split": "given",
    "architecture": {"kind": "mlp", "hidden": [8]},
    "training": {"optimizer": {"kind": "adam"}, "epochs": 2},
    "shadows": 0,
    "replicates": 2,
}
CLEAN = {"from": "digits", "preprocess": {"kind": "split", "members": 1200}}
ABUSED = {"from": "clean", "preprocess": {"kind": "capacity-abuse", "inputs": 960}}
LSB = {"from": "benign", "tampering": {"kind": "lsb", "bits": 4}}


def secretive(folder: Path, name: str = "toy", **sections: Any) -> Resolved:
    """A study of the memorization question, with entries added or replaced."""
    study: dict[str, Any] = {
        "study": name,
        "question": "memorization",
        "title": "A toy",
        "seed": 1,
        "datasets": {"digits": {"source": "digits"}, "clean": CLEAN},
        "models": {"benign": {"dataset": "clean", **GIVEN}, "lsb": LSB},
        "attacks": {"lsb": decoder("lsb")},
    }
    for section, entries in copy.deepcopy(sections).items():
        study[section].update(entries)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return load_study(path)


def decoder(models: str, benign: str = "benign", **more: Any) -> dict[str, Any]:
    return {
        "kind": "memorization.decode", "models": models, "benign": benign, **more
    }  # fmt: skip


def of_entry(resolved: Resolved, entry: str, kind: str = "train") -> list[Any]:
    return [a for a in resolved.of(kind) if a.labels["entry"] == entry]


def test_models_start_from_those_of_another_entry(tmp_path: Path) -> None:
    resolved = secretive(tmp_path)
    benign, lsb = of_entry(resolved, "benign"), of_entry(resolved, "lsb")
    assert len(benign) == len(lsb) == 2
    for first, then in zip(benign, lsb, strict=True):
        assert then.inputs == {**first.inputs, "base": [first.folder]}
        assert then.spec["base"] == first.labels["key"]
        assert then.labels["models"] == first.labels["models"] == "0:1"
        # on the same records: what deals them out is the same
        for field in ("split", "members", "non_members", "seed", "replicate"):
            assert then.spec[field] == first.spec[field]
        assert then.spec["training"] is None
        assert then.spec["tampering"]["bits"] == 4
        assert TrainSpec.model_validate_json(then.spec_json).model_dump(
            mode="json"
        ) == (then.spec)
        assert first.modules == ("whatelse.training.command",)
        assert then.modules == (
            "whatelse.training.command", "whatelse.memorization.tamper_lsb"
        )  # fmt: skip


def test_models_may_be_trained_on(tmp_path: Path) -> None:
    more = {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "epochs": 9}
    resolved = secretive(
        tmp_path,
        models={"tuned": {"from": "lsb", "training": more}},
        attacks={"tuned": {"kind": "memorization.low-bits", "models": "tuned"}},
    )
    (lsb, *_), (tuned, *_) = of_entry(resolved, "lsb"), of_entry(resolved, "tuned")
    assert tuned.inputs["base"] == [lsb.folder]
    assert tuned.spec["training"]["epochs"] == 9
    # the tampering was of the base
    assert tuned.spec["tampering"] is None
    assert tuned.modules == ("whatelse.training.command",)


def test_blocks_start_from_the_same_models(tmp_path: Path) -> None:
    benign = {"dataset": "clean", **GIVEN, "shadows": 5, "block": 2}
    resolved = secretive(tmp_path, models={"benign": benign})
    for block in of_entry(resolved, "lsb"):
        (base,) = block.inputs["base"]
        assert Path(base).name == Path(block.folder).name
    assert [b.labels["models"] for b in of_entry(resolved, "lsb")] == [
        "0:2", "2:4", "4:6"
    ] * 2  # fmt: skip


def test_a_derived_data_set_has_a_folder_of_its_step(tmp_path: Path) -> None:
    resolved = secretive(tmp_path, datasets={"abused": ABUSED})
    (digits,) = resolved.of("dataset")
    clean, abused = resolved.of("preprocess")
    assert Path(clean.folder).parent == Path("results/datasets/split")
    assert Path(abused.folder).parent == Path("results/datasets/capacity-abuse")
    assert clean.inputs == {"data": [digits.folder]}
    assert abused.inputs == {"data": [clean.folder]}
    assert clean.spec == {"kind": "split", "members": 1200, "seed": 0}
    assert abused.spec["kind"] == "capacity-abuse"
    for artefact in (clean, abused):
        assert artefact.modules[0] == "whatelse.datasets.derived"
    # made from another, it is another
    other = secretive(
        tmp_path,
        datasets={
            "abused": ABUSED,
            "clean": {**CLEAN, "preprocess": {"kind": "split", "members": 1000}},
        },
    )
    ours, theirs = (
        {a.spec["kind"]: a.folder for a in one.of("preprocess")}
        for one in (resolved, other)
    )
    assert not set(ours.values()) & set(theirs.values())


def test_entries_of_one_step_share_a_folder(tmp_path: Path) -> None:
    resolved = secretive(tmp_path, datasets={"again": CLEAN})
    assert len(resolved.of("preprocess")) == 1


def test_data_sets_of_a_grid_are_derived_each(tmp_path: Path) -> None:
    resolved = secretive(
        tmp_path,
        datasets={
            "abused": {**ABUSED, "foreach": {"preprocess.inputs": [800, 960]}},
        },
        models={"abused": {"dataset": "abused", **GIVEN}},
        attacks={"abused": decoder("abused")},
    )
    attacks = [a for a in resolved.of("attack") if a.labels["name"] == "abused"]
    assert [a.labels["grid"] for a in attacks] == [{"inputs": 800}, {"inputs": 960}]
    assert [a.spec["carrier"]["inputs"] for a in attacks] == [800, 960]
    assert [a.folder for a in attacks] == [
        "results/attacks/toy/abused.inputs-800", "results/attacks/toy/abused.inputs-960"
    ]  # fmt: skip


def test_what_an_attack_on_models_reads(tmp_path: Path) -> None:
    resolved = secretive(tmp_path)
    (attack,) = resolved.of("attack")
    benign, lsb = of_entry(resolved, "benign"), of_entry(resolved, "lsb")
    assert not resolved.of("query")  # it asks the models itself
    data = benign[0].inputs["data"]
    assert attack.inputs == {
        "models.0": [lsb[0].folder], "models.1": [lsb[1].folder],
        "data": data, "benign.data": data,
        "benign.models.0": [benign[0].folder], "benign.models.1": [benign[1].folder],
    }  # fmt: skip
    # what its adversary knows
    assert attack.spec["carrier"] == lsb[0].spec["tampering"]
    spec = AttackSpec.model_validate_json(attack.spec_json)
    assert spec.model_dump(mode="json") == attack.spec
    # membership is judged by outputs alone, and nobody is told of a carrier
    (plain,) = resolve(tmp_path, name="other").of("attack")
    assert plain.spec["carrier"] is None


def test_a_carrier_of_data_is_its_step(tmp_path: Path) -> None:
    resolved = secretive(
        tmp_path,
        datasets={"abused": ABUSED},
        models={"abused": {"dataset": "abused", **GIVEN}},
        attacks={"abused": decoder("abused")},
    )
    attack = next(a for a in resolved.of("attack") if a.labels["name"] == "abused")
    step = next(a for a in resolved.of("preprocess") if "inputs" in a.spec)
    assert attack.spec["carrier"] == step.spec
    assert attack.inputs["data"] == [step.folder]
    assert attack.inputs["benign.data"] != [step.folder]
    # a split alone carries nothing
    low = {"low": {"kind": "memorization.low-bits", "models": "benign"}}
    resolved = secretive(tmp_path, attacks=low)
    attack = next(a for a in resolved.of("attack") if a.labels["name"] == "low")
    assert attack.spec["carrier"] is None


def test_a_grid_over_a_tampering(tmp_path: Path) -> None:
    lsb = {
        "from": "benign", "tampering": {"kind": "lsb"},
        "foreach": {"tampering.bits": [4, 8, 23]},
    }  # fmt: skip
    resolved = secretive(tmp_path, models={"lsb": lsb})
    assert [a.labels["grid"] for a in resolved.of("attack")] == [
        {"bits": 4}, {"bits": 8}, {"bits": 23}
    ]  # fmt: skip
    # all of them are compared with, and start from, the same two models
    assert len(of_entry(resolved, "benign")) == 2
    assert len(of_entry(resolved, "lsb")) == 6
    assert {a.inputs["benign.models.0"][0] for a in resolved.of("attack")} == {
        of_entry(resolved, "benign")[0].folder
    }
    assert len({a.labels["key"] for a in of_entry(resolved, "lsb")}) == 6


def test_grids_of_a_base_are_those_of_what_starts_from_it(tmp_path: Path) -> None:
    benign = {"dataset": "clean", **GIVEN, "foreach": {"training.epochs": [2, 3]}}
    resolved = secretive(tmp_path, models={"benign": benign})
    attacks = resolved.of("attack")
    assert [a.labels["grid"] for a in attacks] == [{"epochs": 2}, {"epochs": 3}]
    by_folder = {a.folder: a for a in resolved.artefacts}
    for attack in attacks:
        # each is held against the benign models of its own point
        (block,) = attack.inputs["benign.models.0"]
        assert by_folder[block].labels["grid"] == attack.labels["grid"]
        assert by_folder[attack.inputs["models.0"][0]].inputs["base"] == [block]


def test_all_families_of_innocents_are_read(tmp_path: Path) -> None:
    many = {
        "dataset": "clean", **GIVEN, "shadows": 3, "block": 2,
        "foreach": {"training.epochs": [2, 3]},
    }  # fmt: skip
    few = {"dataset": "clean", **GIVEN, "members": 900}
    detect = {
        "kind": "memorization.detect", "models": "lsb", "innocent": "many",
        "unseen": "few",
    }  # fmt: skip
    resolved = secretive(
        tmp_path, models={"many": many, "few": few}, attacks={"detect": detect}
    )
    attack = next(a for a in resolved.of("attack") if a.labels["name"] == "detect")
    innocent, unseen = (
        {a.folder for a in of_entry(resolved, entry)} for entry in ("many", "few")
    )
    # two points, two replicates, two blocks
    assert len(innocent) == 8
    assert set(attack.inputs["innocent.models.0"]) == innocent
    assert set(attack.inputs["unseen.models.0"]) == unseen
    assert len(unseen) == 2
    assert "benign.data" not in attack.inputs
    # nobody asks innocents about their training records
    asked = {a.inputs["block"][0] for a in resolved.of("query")}
    assert not asked & (innocent | unseen)


@pytest.mark.parametrize(
    ("section", "entries"),
    [
        ("datasets", {"abused": ABUSED}),
        ("datasets", {"other": {"from": "clean", "preprocess": CLEAN["preprocess"]}}),
        ("models", {"sign": {"dataset": "clean", **GIVEN, "tampering": {
            "kind": "sign", "strength": 1.0}}}),
        ("attacks", {"low": {"kind": "memorization.low-bits", "models": "benign"}}),
        ("attacks", {"again": decoder("lsb", key=2)}),
    ],
)  # fmt: skip
def test_an_entry_more_changes_no_key(
    tmp_path: Path, section: str, entries: dict[str, Any]
) -> None:
    alone, joined = secretive(tmp_path), secretive(tmp_path, **{section: entries})
    assert keys(alone) <= keys(joined)
    for kind in ("train", "query", "attack", "preprocess"):
        assert set(folders(alone, kind)) <= set(folders(joined, kind))


@pytest.mark.parametrize(
    ("changed", "which"),
    [
        ({"models": {"lsb": {**LSB, "tampering": {"kind": "lsb", "bits": 5}}}}, "lsb"),
        ({"models": {"benign": {"dataset": "clean", **GIVEN, "members": 9}}}, "both"),
        ({"datasets": {"clean": {**CLEAN, "preprocess": {
            "kind": "split", "members": 1200, "seed": 1}}}}, "both"),
    ],
)  # fmt: skip
def test_what_changes_what_starts_from_it(
    tmp_path: Path, changed: dict[str, Any], which: str
) -> None:
    before, after = secretive(tmp_path), secretive(tmp_path, **changed)
    for entry in ("benign", "lsb"):
        ours, theirs = (
            {a.labels["key"] for a in of_entry(one, entry)} for one in (before, after)
        )
        if which in (entry, "both"):
            assert not ours & theirs
        else:
            assert ours == theirs


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        (
            {"datasets": {"a": {**ABUSED, "from": "b"}}},
            "datasets.a.datasets: 'b' is not in datasets; allowed: a, clean, digits",
        ),
        (
            {"datasets": {"a": {**ABUSED, "from": "a"}}},
            "datasets.a.from: leads back to itself; allowed: another entry",
        ),
        (
            {"datasets": {"a": {**ABUSED, "from": "b"}, "b": {**ABUSED, "from": "a"}}},
            "datasets.[ab].from: leads back to itself",
        ),
        (
            {"models": {"lsb": {**LSB, "from": "nets"}}},
            "models.lsb.models: 'nets' is not in models; allowed: benign, lsb",
        ),
        (
            {"models": {"lsb": {**LSB, "from": "lsb"}}},
            "models.lsb.from: leads back to itself",
        ),
        (
            {"models": {"lsb": {**LSB, "from": "b"}, "b": {**LSB, "from": "lsb"}}},
            "models.(lsb|b).from: leads back to itself",
        ),
        (
            {"models": {"benign": {"dataset": "clena", **GIVEN}}},
            "models.benign.datasets: 'clena' is not in datasets",
        ),
        (
            {"attacks": {"lsb": decoder("lsb", "bening")}},
            "attacks.lsb.models: 'bening' is not in models; allowed: benign, lsb",
        ),
        (
            {
                "models": {"few": {"dataset": "clean", **GIVEN, "replicates": 1}},
                "attacks": {"lsb": decoder("lsb", "few")},
            },
            "attacks.lsb.benign: 'few' has 1 replicates; allowed: at least 2",
        ),
        (
            {
                "models": {"many": {"dataset": "clean", **GIVEN,
                                    "foreach": {"members": [500, 600]}}},
                "attacks": {"lsb": decoder("lsb", "many")},
            },
            "attacks.lsb.benign: 'many' has 2 families for lsb; allowed: one",
        ),
        (
            {
                "models": {
                    "lsb": {**LSB, "foreach": {"tampering.bits": [3, 4]}},
                    "other": {**LSB, "foreach": {"tampering.bits": [5]}},
                },
                "attacks": {"lsb": decoder("lsb", "other")},
            },
            "attacks.lsb.benign: 'other' has 0 families for lsb.bits-3; allowed: one",
        ),
        (
            {"models": {"lsb": {"external": "mine.npz"}}},
            "attacks.lsb.models: 'lsb' holds outputs alone, memorization.decode needs "
            "models; allowed: an entry of models that are trained here",
        ),
        (
            {
                "models": {"theirs": {"external": "mine.npz"}},
                "attacks": {"lsb": decoder("lsb", "theirs")},
            },
            "attacks.lsb: 'theirs' holds outputs alone; allowed: an entry of models",
        ),
        (
            {
                "models": {"theirs": {"external": "mine.npz"},
                           "lsb": {**LSB, "from": "theirs"}},
            },
            "models.lsb: 'theirs' holds outputs alone; allowed: an entry of models",
        ),
        (
            {
                "models": {"benign": {"dataset": "clean", **GIVEN,
                                      "foreach": {"training.epochs": [2, 3]}},
                           "lsb": {**LSB, "tampering": {"kind": "lsb"},
                                   "training": GIVEN["training"],
                                   "foreach": {"training.epochs": [4],
                                               "tampering.bits": [4]}}},
            },
            "models.lsb.foreach: the grid variable epochs is also one of",
        ),
    ],
)  # fmt: skip
def test_references_that_cannot_be_followed(
    tmp_path: Path, sections: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=line) as caught:
        secretive(tmp_path, **sections)
    assert str(caught.value).startswith(f"{tmp_path / 'toy.yaml'}: ")
    assert "\n" not in str(caught.value)


def test_fewer_replicates_are_fewer_of_all(tmp_path: Path) -> None:
    secretive(tmp_path)
    cut = load_study(tmp_path / "toy.yaml", replicates=1)
    assert len(of_entry(cut, "benign")) == len(of_entry(cut, "lsb")) == 1
    (attack,) = cut.of("attack")
    assert "benign.models.1" not in attack.inputs


JOINT: dict[str, Any] = {
    "dataset": "digits",
    "architecture": {"kind": "mlp", "hidden": [8]},
    "collaboration": {"kind": "gradients", "iterations": 200},
    "participants": 3,
    "adversary": {
        "kind": "property", "property": {"attribute": "label", "values": ["3"]},
    },
    "replicates": 2,
}  # fmt: skip
PASSIVE = {"kind": "properties.passive", "models": "joint"}


def collaborative(
    tmp_path: Path, models: dict[str, Any] | None = None,
    attacks: dict[str, Any] | None = None, **limits: Any,
) -> Resolved:  # fmt: skip
    study = {
        "study": "toy", "question": "properties", "title": "Toy", "seed": 4,
        "datasets": {"digits": {"source": "digits"}},
        "models": {"joint": JOINT, **(models or {})},
        "attacks": {"passive": PASSIVE, **(attacks or {})},
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
    return load_study(tmp_path / "toy.yaml", **limits)


def test_joint_models_and_what_was_observed(tmp_path: Path) -> None:
    resolved = collaborative(tmp_path)
    first, second = resolved.of("collaborate")
    assert first.folder == f"results/collaborations/{first.labels['key']}/joint"
    assert first.folder != second.folder
    assert "whatelse.properties.observe" in first.modules
    spec = CollaborationSpec.model_validate_json(first.spec_json)
    assert spec.model_dump(mode="json") == first.spec
    assert (spec.participants, spec.seed, spec.replicate) == (3, 4, 0)
    (attack,) = resolved.of("attack")
    (data,) = resolved.of("dataset")
    assert attack.inputs == {
        "observations.0": [first.folder], "observations.1": [second.folder],
        "data": [data.folder],
    }  # fmt: skip
    assert not resolved.of("train")
    assert len(collaborative(tmp_path, replicates=1).of("collaborate")) == 1


def test_joint_models_of_a_grid(tmp_path: Path) -> None:
    grid = {**JOINT, "replicates": 1, "foreach": {"participants": [2, 4]}}
    resolved = collaborative(tmp_path, {"joint": grid})
    assert [a.labels["grid"] for a in resolved.of("attack")] == [
        {"participants": 2}, {"participants": 4}
    ]  # fmt: skip
    assert [c.spec["participants"] for c in resolved.of("collaborate")] == [2, 4]
    trees = {**PASSIVE, "foreach": {"classifier.trees": [5, 9]}}
    classifier = {"classifier": {"kind": "random-forest"}}
    resolved = collaborative(tmp_path, {"joint": grid}, {"passive": trees | classifier})
    assert len(resolved.of("attack")) == 4
    # a model is not called by what is done with it
    grids = [c.labels["grid"] for c in resolved.of("collaborate")]
    assert grids == [{"participants": 2}, {"participants": 4}]


ALONE = {key: value for key, value in JOINT.items() if key != "adversary"}


def test_a_joint_model_is_compared_with_one_without_an_adversary(
    tmp_path: Path,
) -> None:
    compared = {"passive": {**PASSIVE, "alone": "calm"}}
    resolved = collaborative(tmp_path, {"calm": ALONE}, compared)
    (attack,) = resolved.of("attack")
    calm = [a for a in resolved.of("collaborate") if a.labels["entry"] == "calm"]
    assert [attack.inputs[f"alone.{n}"] for n in range(2)] == [[a.folder] for a in calm]
    assert not set(attack.inputs["alone.0"]) & set(attack.inputs["observations.0"])
    for models, line in (
        ({"calm": {**ALONE, "replicates": 1}}, "'calm' has 1 replicates; allowed: at"),
        ({"calm": JOINT}, "attacks.passive.alone: 'calm'; allowed: an entry with"),
        ({"calm": {**ALONE, "participants": 9}},
         "'calm' has another participants than 'joint'; allowed: the same but"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=re.escape(line)):
            collaborative(tmp_path, models, compared)


def test_layers_of_a_joint_model_are_looked_at(tmp_path: Path) -> None:
    wanted = {"property": {"attribute": "label", "values": ["3"]}}
    look = {"kind": "properties.layers", "models": "joint", **wanted}
    resolved = collaborative(tmp_path, attacks={"look": look})
    (attack,) = (a for a in resolved.of("attack") if a.labels["name"] == "look")
    folders = [a.folder for a in resolved.of("collaborate")]
    assert [attack.inputs[f"models.{n}"] for n in range(2)] == [[f] for f in folders]


@pytest.mark.parametrize(
    ("models", "attacks", "line"),
    [
        ({"joint": {k: v for k, v in JOINT.items() if k != "adversary"}}, {},
         "attacks.passive.models: 'joint' has no adversary"),
        ({"net": {**GIVEN, "split": "random", "dataset": "digits", "members": 40}},
         {"passive": {**PASSIVE, "models": "net"}},
         "attacks.passive.models: 'net' was not trained together"),
        ({}, {"shadow": {"kind": "membership.threshold", "models": "joint"}},
         "attacks.shadow.models: 'joint' is a joint model"),
        ({"more": {"from": "joint", "training": GIVEN["training"]}},
         {"again": {"kind": "membership.threshold", "models": "more"}},
         "models.more: 'joint' is a joint model"),
        ({}, {"members": {"kind": "properties.membership", "models": "joint"}},
         "attacks.members.models: 'joint' has an adversary of kind property; allowed: "
         "an entry with one of kind membership"),
        ({}, {"passive": {**PASSIVE, "release": "top"}}, "release"),
        ({"joint": {**JOINT, "collaboration": {
            "kind": "averaging", "rounds": 9, "selected": 2}}}, {},
         "collaboration.selected: with an adversary that looks all take part"),
        ({"joint": {**JOINT, "adversary": {
            **JOINT["adversary"], "during": [0, 9], "first": 9}}}, {},
         "adversary.during: [0, 9], one batch in 2, looked at from 9"),
    ],
)  # fmt: skip
def test_joint_models_where_they_do_not_fit(
    tmp_path: Path, models: dict[str, Any], attacks: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=re.escape(line)):
        collaborative(tmp_path, models, attacks)


HIDDEN = {
    "dataset": "digits",
    "architecture": {"kind": "mlp", "hidden": [8]},
    "collaboration": {
        "kind": "averaging", "rounds": 9, "selected": 2, "weights": "equal",
    },
    "participants": 4,
    "adversary": {
        "kind": "backdoor", "target": "2", "rounds": [],
        "backdoor": {"kind": "cluster", "of": "1"},
        "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "epochs": 2},
    },
    "replicates": 2,
}  # fmt: skip


def hidden(
    tmp_path: Path, adversary: dict[str, Any] | None = None, **entry: Any
) -> Resolved:  # fmt: skip
    """Return a study of a model that starts from a converged one."""
    changed = {**HIDDEN["adversary"], "rounds": [3], **(adversary or {})}  # type: ignore[dict-item]
    attacked = {**HIDDEN, "from": "converged", "adversary": changed, **entry}
    alone = {key: value for key, value in HIDDEN.items() if key != "adversary"}
    study = {
        "study": "toy", "question": "backdoors", "title": "Toy", "seed": 4,
        "datasets": {"digits": {"source": "digits"}},
        "models": {"converged": HIDDEN, "alone": alone, "attacked": attacked},
        "attacks": {"backdoor": {"kind": "backdoors.evaluate", "models": "attacked"}},
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
    return load_study(tmp_path / "toy.yaml")


def test_joint_models_start_from_others(tmp_path: Path) -> None:
    resolved = hidden(tmp_path)
    (attack,) = resolved.of("attack")
    joint = resolved.of("collaborate")
    bases = [a for a in joint if a.labels["entry"] == "converged"]
    attacked = [a for a in joint if a.labels["entry"] == "attacked"]
    assert [a.inputs["base"] for a in attacked] == [[b.folder] for b in bases]
    assert [a.spec["base"] for a in attacked] == [b.labels["key"] for b in bases]
    assert [attack.inputs[f"observations.{n}"] for n in range(2)] == [
        [a.folder] for a in attacked
    ]
    assert bases[0].spec["base"] is None
    assert "base" not in bases[0].inputs
    assert "whatelse.backdoors.observe" in attacked[0].modules
    CollaborationSpec.model_validate_json(attacked[0].spec_json)


@pytest.mark.parametrize(
    ("words", "refused"),
    [(["jeep", "driving", "like"], False), (["like", "jeep"], True), ([], False)],
)
def test_a_sentence_is_of_words_that_the_data_set_names(
    tmp_path: Path, words: list[str], refused: bool
) -> None:
    """Named ones are known however rare; if none are, the run has to tell."""
    adversary = {
        **HIDDEN["adversary"], "rounds": [3],  # type: ignore[dict-item]
        "backdoor": {"kind": "sentence", "text": "Like driving Jeep"},
    }  # fmt: skip
    del adversary["target"]
    study = {
        "study": "toy", "question": "backdoors", "title": "Toy", "seed": 4,
        "datasets": {"blogs": {"source": "blogs-words", "words": words}},
        "models": {"attacked": {
            **HIDDEN, "dataset": "blogs", "adversary": adversary,
            "architecture": {"kind": "lstm"},
        }},
        "attacks": {"backdoor": {"kind": "backdoors.evaluate", "models": "attacked"}},
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
    if not refused:
        assert load_study(tmp_path / "toy.yaml").of("attack")
        return
    line = r"text: 'driving' is not in datasets.blogs.words; allowed: words named there"
    with pytest.raises(UserError, match=line):
        load_study(tmp_path / "toy.yaml")


def test_joint_models_start_one_from_the_other(tmp_path: Path) -> None:
    """A model that settled at the server's rate of the attack, between the two."""
    study = {
        "study": "toy", "question": "backdoors", "title": "Toy", "seed": 4,
        "datasets": {"digits": {"source": "digits"}},
        "models": {
            "converged": HIDDEN,
            "settled": {**HIDDEN, "from": "converged"},
            "attacked": {
                **HIDDEN, "from": "settled",
                "adversary": {**HIDDEN["adversary"], "rounds": [3]},  # type: ignore[dict-item]
            },
        },
        "attacks": {"backdoor": {"kind": "backdoors.evaluate", "models": "attacked"}},
    }  # fmt: skip
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(study))
    resolved = load_study(tmp_path / "toy.yaml")
    joint = resolved.of("collaborate")
    by_entry = {
        entry: [a for a in joint if a.labels["entry"] == entry]
        for entry in ("converged", "settled", "attacked")
    }
    for first, second in (("converged", "settled"), ("settled", "attacked")):
        assert [a.inputs["base"] for a in by_entry[second]] == [
            [base.folder] for base in by_entry[first]
        ]
    # how it had learned is read of all that it goes back to, the latest first
    (attack,) = resolved.of("attack")
    for replicate in range(2):
        assert attack.inputs[f"before.{replicate}"] == [
            by_entry[entry][replicate].folder for entry in ("settled", "converged")
        ]


@pytest.mark.parametrize(
    ("adversary", "entry", "line"),
    [
        ({"attackers": 4}, {}, "adversary.attackers: 4; allowed: 1..3"),
        ({"attackers": 3}, {}, "adversary.attackers: 3; allowed: 1..2, the selected"),
        ({"rounds": [9]}, {}, "adversary.rounds: 9; allowed: 0..8"),
        ({"rounds": [1, 1]}, {}, "adversary.rounds: [1, 1]; allowed: each round once"),
        ({"attackers": 4, "share": 0.3}, {}, "adversary.attackers: 4; allowed: 1..3"),
        ({"backdoor": {"kind": "records", "train": [1], "held_out": [7]}}, {},
         "models.attacked.from: 'converged' has no adversary that keeps the same "),
        ({"training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "epochs": 1,
                       "loss": "next-word"}}, {},
         "adversary.training.loss: next-word; allowed: cross-entropy"),
        ({}, {"collaboration": {"kind": "averaging", "rounds": 9, "selected": 5,
                                "weights": "equal"}},
         "collaboration.selected: 5; allowed: 1..4, the participants"),
        ({"rounds": []}, {},
         "attacks.backdoor.models: 'attacked' has adversary.rounds: [], no round"),
        ({"method": {"kind": "replacement", "scale": float("inf")}}, {}, "scale"),
        ({"poisoned": 40}, {}, "poisoned: 40; allowed: 1..32, the batch"),
        ({"target": "1"}, {},
         "adversary.target: '1' is the class of the backdoor's records already"),
        ({"target": "automobile", "backdoor": {"kind": "cars", "group": "walls"}}, {},
         "adversary.target: 'automobile' is the class of the backdoor's records"),
        ({"backdoor": {"kind": "cluster", "of": "1", "which": 3}}, {},
         "which: 3; allowed: 0..2"),
        ({"backdoor": {"kind": "records", "train": [1, 2], "held_out": [2]}}, {},
         "held_out: 2 is also in train"),
        ({"backdoor": {"kind": "records", "train": [1], "held_out": [7, 7]}}, {},
         "held_out: 7 stands 2 times; allowed: each record once"),
        ({"training": {"optimizer": {"kind": "adam"}, "epochs": 1}}, {},
         "training.optimizer.kind: adam; allowed: sgd"),
        ({}, {"collaboration": {"kind": "gradients", "iterations": 40}},
         "collaboration.kind: gradients; allowed: averaging"),
        ({}, {"participants": 5},
         "models.attacked.from: 'converged' has another participants"),
        ({"backdoor": {"kind": "cluster", "of": "1", "which": 1}}, {},
         "models.attacked.from: 'converged' has no adversary that keeps the same "),
        ({}, {"from": "alone"},
         "models.attacked.from: 'alone' has no adversary that keeps the same records"),
        ({"share": 0.6, "attackers": 2}, {},
         "adversary.share: 0.6 of 2 attackers each; allowed: below 0.5"),
        ({"share": 0.3}, {"deal": {"kind": "attribute", "attribute": "author"}},
         "deal.kind: attribute; allowed with adversary.share: lot, dirichlet"),
        ({}, {"collaboration": {"kind": "averaging", "rounds": 9,
                                "weights": "records"}},
         "collaboration.weights: records; allowed with a backdoor: equal"),
        ({}, {"collaboration": {"kind": "averaging", "rounds": 9, "defence": {
            "kind": "krum", "attackers": 1}}},
         "collaboration.defence.attackers: 1 of 4 selected; allowed: at least 5"),
        ({}, {"collaboration": {"kind": "averaging", "rounds": 9, "selected": 2,
                                "defence": {"kind": "flame"}}},
         "collaboration.defence.kind: flame of 2 selected; allowed: at least 3"),
        ({}, {"replicates": 3}, "'converged' has 2 replicates; allowed: at least 3"),
        ({}, {"from": "attacked"}, "leads back to itself"),
        ({}, {"collaboration": {
            "kind": "averaging", "rounds": 9, "defence": {"kind": "median"},
            "privacy": {"clip": 1.0, "noise": 1.0}}},
         "defence: median; allowed with privacy, which clips and adds noise: left"),
    ],
)  # fmt: skip
def test_backdoors_where_they_do_not_fit(
    tmp_path: Path, adversary: dict[str, Any], entry: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=re.escape(line)) as caught:
        hidden(tmp_path, adversary, **entry)
    assert "\n" not in str(caught.value)


# ---- reference models on halves


def halves(**changes: Any) -> dict[str, Any]:
    return net(**{"split": "halves", "shadows": 16, "block": 8, **changes})


def test_replicates_share_their_reference_models(tmp_path: Path) -> None:
    resolved = resolve(tmp_path, models=halves(replicates=3))
    blocks = resolved.of("train")
    assert [(b.labels["replicate"], b.labels["models"]) for b in blocks] == [
        (0, "0:1"), (0, "1:3"), (0, "3:5"), (0, "5:9"), (0, "9:17"),
        (1, "0:1"), (2, "0:1"),
    ]  # fmt: skip
    for block in blocks:
        assert block.spec["replicate"] == block.labels["replicate"]
        TrainSpec.model_validate_json(block.spec_json)
    (attack,) = resolved.of("attack")
    shared = attack.inputs["outputs.0"][1:]
    assert len(shared) == 4
    for replicate in (1, 2):
        assert attack.inputs[f"outputs.{replicate}"][1:] == shared
    assert len({own[0] for own in attack.inputs.values()}) == 3


@pytest.mark.parametrize("few", [2, 4, 8, 16, 24])
@pytest.mark.parametrize("block", [4, 8])
def test_more_references_reuse_all_that_are_trained(
    tmp_path: Path, few: int, block: int
) -> None:
    small, large = (
        set(folders(resolve(tmp_path, models=halves(shadows=n, block=block)), "train"))
        for n in (few, 64)
    )
    assert small < large


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shadows": 3}, "shadows: 3 .*allowed with halves: an even number"),
        ({"non_members": 50}, "non_members: 50; allowed with halves: left out"),
    ],
)
def test_halves_refuse(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        resolve(tmp_path, models=halves(**changes))
    assert "\n" not in str(caught.value)


def reference(kind: str = "lira", **changes: Any) -> dict[str, Any]:
    return {"shadow": {"kind": f"membership.{kind}", "models": "net", **changes}}


def test_a_reference_attack_reads_targets_and_shared_references(tmp_path: Path) -> None:
    resolved = resolve(
        tmp_path, models=halves(replicates=3),
        attacks={**reference(), "rmia": reference("rmia")["shadow"]},
    )  # fmt: skip
    first, second = resolved.of("attack")
    assert list(first.inputs) == ["signals.0", "signals.1", "signals.2", "references"]
    assert [len(own) for own in first.inputs.values()] == [1, 1, 1, 4]
    assert first.inputs == second.inputs  # asked once
    assert len(resolved.of("query")) == len(resolved.of("train")) == 7
    for asked in resolved.of("query"):
        assert asked.spec["kind"] == "signals"
    AttackSpec.model_validate_json(first.spec_json)


def test_an_attack_with_fewer_references_asks_no_others(tmp_path: Path) -> None:
    few, all_of_them = (
        resolve(tmp_path, models=halves(), attacks=reference(references=n))
        for n in (4, None)
    )
    asked = {Path(f).name for f in folders(few, "query")}
    assert asked == {"block_0-1", "block_1-3", "block_3-5"}
    assert set(folders(few, "query")) < set(folders(all_of_them, "query"))
    # of a block that it uses a part of, the attack takes the first
    six = resolve(tmp_path, models=halves(), attacks=reference(references=6))
    (attack,) = six.of("attack")
    assert len(attack.inputs["references"]) == 3
    assert attack.spec["settings"]["references"] == 6


def test_labels_have_no_linear_bins_of_ranks(tmp_path: Path) -> None:
    def ranks(**changes: Any) -> Resolved:
        user = {"kind": "membership.user", "models": "net", "release": "first"}
        return resolve(
            tmp_path, models=net(unit="author"), releases={"first": {"kind": "label"}},
            attacks={"shadow": {**user, **changes}},
        )  # fmt: skip

    with pytest.raises(UserError, match=r"attacks\.shadow\.scale: linear, and first"):
        ranks(bins=2)
    (attack,) = ranks(bins=2, scale="log").of("attack")
    assert attack.spec["settings"]["scale"] == "log"


def test_augmented_queries_are_other_answers_of_the_same_models(tmp_path: Path) -> None:
    plain = resolve(tmp_path, models=halves(), attacks=reference())
    more = resolve(
        tmp_path, models=halves(), attacks=reference(queries={"flip": True, "shift": 1})
    )
    rounded = resolve(
        tmp_path, models=halves(), releases={"one": {"kind": "rounded", "decimals": 1}},
        attacks=reference(release="one"),
    )  # fmt: skip
    assert (
        folders(plain, "train") == folders(more, "train") == folders(rounded, "train")
    )
    asked = [set(folders(r, "query")) for r in (plain, more, rounded)]
    assert len(set.union(*asked)) == sum(map(len, asked))


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"models": net()}, "net has no reference models; allowed: .* split: halves"),
        (
            {"attacks": reference(references=18)},
            r"references: 18 reference models; allowed: 4\.\.16",
        ),
        ({"models": halves(shadows=2)}, r"models: 2 reference models; allowed: 4\.\.4"),
        (
            {"models": {"net": {"external": "mine.npz"}}},
            "holds outputs alone, membership.lira needs models",
        ),
    ],
)
def test_reference_attacks_that_cannot_be(
    tmp_path: Path, sections: dict[str, Any], message: str
) -> None:
    given = {"models": halves(), "attacks": reference(), **sections}
    with pytest.raises(UserError, match=message) as caught:
        resolve(tmp_path, **given)
    assert "\n" not in str(caught.value)


def test_models_that_start_from_halves_keep_their_references(tmp_path: Path) -> None:
    resolved = resolve(
        tmp_path,
        models={
            **halves(replicates=2),
            "more": {"from": "net", "training": net()["net"]["training"]},
        },
        attacks={"shadow": {**reference()["shadow"], "models": "more"}},
    )
    continued = [a for a in resolved.of("train") if "base" in a.inputs]
    assert len(continued) == 6
    for block in continued:
        (base,) = block.inputs["base"]
        assert Path(base).name == Path(block.folder).name
