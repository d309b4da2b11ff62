"""Shadow data: what its adversary may see, hill climbing against a plain loop."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core_samples import outputs, query_block, train_block, train_spec
from whatelse.cli import main
from whatelse.datasets.store import Dataset, open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec
from whatelse.membership.domain import Domain, domain_of, random_words
from whatelse.membership.evaluate import find, shadow_data
from whatelse.membership.marginals import make as of_marginals
from whatelse.membership.model_based import Climbed, climb
from whatelse.membership.noisy import make as of_noise
from whatelse.membership.shadow_data_settings import ModelBased, Noisy, SynthesisSpec
from whatelse.membership.synthesise import Knowledge
from whatelse.models.outputs import CONTROL, Outputs, save_outputs
from whatelse.records import canonical_json, file_digest, read_json
from whatelse.seeding import stream
from whatelse.shadow_data import SHADOW_DATA
from whatelse.sources import closure
from whatelse.training.blocks import load_block

FEATURES, CLASSES = 24, 3
PROBABILITIES = {"kind": "probabilities"}


def bits(features: int = FEATURES) -> Domain:
    low, step = np.zeros(features), np.ones(features)
    levels = np.full(features, 2, dtype=np.uint64)
    return Domain((features,), np.dtype(np.uint8), low, step, levels)


def settings(**changes: Any) -> ModelBased:
    return ModelBased(kind="model-based", **changes)


def wrote(folder: Path, inputs: NDArray[Any], labels: NDArray[Any], **info: Any) -> Path:  # fmt: skip  # noqa: E501
    names = [f"c{number}" for number in range(int(labels.max()) + 1)]
    about = {"name": "toy", "title": "Toy", "class_names": names, "remarks": ["odd"]}
    write_dataset(
        folder, inputs=inputs, labels=labels, info={**about, **info},
        settings={"source": "npz"},
    )  # fmt: skip
    return folder


class Known:
    """A model that is a known function: the share of agreement with prototypes.

    Whole numbers and one division: the same to the bit, however many are asked about.
    """

    def __init__(self, power: int = 8, classes: int = CLASSES) -> None:
        rng = np.random.default_rng(5)
        self.prototypes = rng.integers(0, 2, (classes, FEATURES))
        self.power, self.queries, self.sizes = power, 0, []

    def __call__(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        self.queries += len(inputs)
        self.sizes.append(len(inputs))
        agree = (inputs[:, None] == self.prototypes).sum(2).astype(np.float64)
        return agree**self.power / (agree**self.power).sum(1, keepdims=True)


# ---- the form of a record


def domain(tmp_path: Path, inputs: NDArray[Any], **info: Any) -> Domain:
    labels = np.arange(len(inputs)) % 2
    return domain_of(open_dataset(wrote(tmp_path / "d", inputs, labels, **info)))


def test_the_form_of_bits_bytes_and_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    # a bit that is never set is a bit all the same
    made = domain(tmp_path / "a", np.array([[0, 1, 0], [1, 0, 0]] * 3, dtype=np.uint8))
    assert (made.low.tolist(), made.levels.tolist()) == ([0] * 3, [2] * 3)
    pictures = rng.integers(0, 256, (50, 1, 4, 4), dtype=np.uint8)
    pictures[0, 0, 0, :2], pictures[:, 0, 0, 0] = (0, 255), 0
    made = domain(tmp_path / "b", pictures)
    # a pixel that is always black may have any grey
    assert (made.low[0], made.step[0], made.levels[0]) == (0, 1, 256)
    assert made.shape == (1, 4, 4)
    numbers = np.array([[-1.5, 3, 7], [2.5, 4, 7], [0.5, 3, 7], [0, 3, 7]], np.float32)
    made = domain(tmp_path / "c", numbers)
    assert made.levels.tolist() == [2**24, 2, 1]
    drawn = made.draw(rng, 4000)
    assert drawn.dtype == np.float32
    assert drawn[:, 0].min() == pytest.approx(-1.5, abs=0.01)
    assert drawn[:, 0].max() == pytest.approx(2.5, abs=0.01)
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=4 * 4 / 12**0.5 / 4000**0.5)
    assert set(drawn[:, 1].tolist()) == {3.0, 4.0}
    assert set(drawn[:, 2].tolist()) == {7.0}


def test_words_have_no_form_that_one_could_draw(tmp_path: Path) -> None:
    inputs = np.ones((4, 3), dtype=np.uint16)
    with pytest.raises(UserError, match="are rows of word numbers; allowed: features"):
        domain(tmp_path, inputs, vocabulary=["a", "b"])


def test_as_many_features_change_as_are_asked_for() -> None:
    rng = np.random.default_rng(1)
    made, before = bits(), rng.integers(0, 2, (500, FEATURES), dtype=np.uint8)
    counts = np.arange(500) % (FEATURES + 1)
    words = random_words(rng, 500, FEATURES)
    kept = before.copy()
    after = made.changed(before, counts, words, flip=True)
    np.testing.assert_array_equal(before, kept)
    np.testing.assert_array_equal((after != before).sum(1), counts)
    # a random value is the old one half of the time
    again = made.changed(before, counts, words)
    expected = counts.sum() / 2
    assert (again != before).sum() == pytest.approx(expected, abs=4 * expected**0.5)
    # and every feature is as likely as any other
    share = (after != before).mean(0)
    assert share == pytest.approx(counts.mean() / FEATURES, abs=4 * 0.5 / 500**0.5)


def test_a_record_does_not_depend_on_how_many_there_are() -> None:
    few, more = (
        random_words(stream(1, "x"), count, FEATURES) for count in (3, 50)
    )  # fmt: skip
    np.testing.assert_array_equal(few, more[:3])


# ---- hill climbing


def plain(
    ask: Callable[[NDArray[Any]], NDArray[np.float64]], made: Domain, wanted: int,
    asked: ModelBased, row: int, rows: int, seed: int,
) -> tuple[list[int], bool, int]:  # fmt: skip
    """P1's Algorithm 1 as it stands in the paper, for one record."""
    x = made.draw(stream(seed, "t", 0, "start"), rows)[row]
    best, confidence, rejected, k = None, 0.0, 0, asked.k_max
    for iteration in range(asked.iter_max):
        y = ask(x[None])[0]
        chance = stream(seed, "t", 0, "chance", iteration).random(rows)[row]
        if y[wanted] >= confidence:
            sure = y[wanted] > asked.conf_min and y.argmax() == wanted
            if sure and chance < y[wanted]:
                return x.tolist(), True, iteration + 1
            best, confidence, rejected = x.copy(), y[wanted], 0
        else:
            rejected += 1
            if rejected > asked.rej_max:
                k, rejected = max(asked.k_min, -(-k // 2)), 0
        words = random_words(stream(seed, "t", 0, "change", iteration), rows, len(x))[
            row
        ]
        x = best.copy()
        for feature in np.argsort(words)[:k]:
            spread = int(words[feature]) * 0x9E3779B1 % 2**32
            level = spread * int(made.levels[feature]) >> 32
            x[feature] = made.low[feature] + made.step[feature] * level
    return best.tolist(), False, asked.iter_max


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"k_max": 8, "k_min": 3, "rej_max": 0},
        {"conf_min": 0.9, "iter_max": 40},
        {"rej_max": 2, "iter_max": 7},
    ],
)
def test_all_at_once_is_one_after_the_other(changes: dict[str, Any]) -> None:
    asked = settings(**{"k_max": 16, "k_min": 1, "rej_max": 3, "iter_max": 90, **changes})  # fmt: skip  # noqa: E501
    wanted = np.arange(31) % CLASSES
    model = Known(power=4)
    made = climb(model, bits(), wanted, asked, seed=9, name=("t",))
    one_by_one = [
        plain(Known(power=4), bits(), int(c), asked, row, len(wanted), 9)
        for row, c in enumerate(wanted)
    ]
    assert made.inputs.tolist() == [inputs for inputs, _, _ in one_by_one]
    assert made.found.tolist() == [found for _, found, _ in one_by_one]
    assert made.queries.tolist() == [queries for _, _, queries in one_by_one]
    assert made.found.any()
    # each query is one of the model's, and an iteration asks once
    assert made.queries.sum() == model.queries
    assert len(model.sizes) == made.queries.max()
    assert model.sizes == sorted(model.sizes, reverse=True)


def test_what_is_climbed_to_is_of_the_class_and_sure() -> None:
    model = Known(power=12)
    wanted = np.arange(60) % CLASSES
    asked = settings(k_max=12, k_min=1, conf_min=0.95, iter_max=2000)
    made = climb(model, bits(), wanted, asked, seed=2, name=("t",))
    assert made.found.all()
    answer = model(made.inputs)
    np.testing.assert_array_equal(answer.argmax(1), wanted)
    assert answer[np.arange(60), wanted].min() > 0.95
    # which a record by lot hardly ever is
    random = bits().draw(np.random.default_rng(0), 6000)
    lucky = model(random)[np.arange(6000), np.arange(6000) % CLASSES] > 0.95
    assert lucky.mean() < 0.1
    assert len({tuple(row) for row in made.inputs.tolist()}) > 50


def test_a_class_that_the_model_never_says_is_not_found() -> None:
    def ask(inputs: NDArray[Any]) -> NDArray[np.float64]:
        return np.tile([0.5, 0.3, 0.2], (len(inputs), 1))

    made = climb(
        ask, bits(), np.array([0, 1, 2]), settings(iter_max=50, conf_min=0.1), seed=0,
        name=("t",),
    )  # fmt: skip
    assert made.found.tolist() == [True, False, False]
    assert made.queries.tolist()[1:] == [50, 50]


def test_more_records_keep_the_first_and_many_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def made(records: int) -> Climbed:
        wanted = np.arange(records) % CLASSES
        asked = settings(k_max=16, iter_max=60)
        return climb(Known(), bits(), wanted, asked, seed=3, name=("t",))

    few, more = made(9), made(30)
    np.testing.assert_array_equal(few.inputs, more.inputs[:9])
    np.testing.assert_array_equal(few.queries, more.queries[:9])
    # what is too much to be held at once is climbed to in parts, each with its streams
    monkeypatch.setattr("whatelse.membership.model_based._VALUES", 10 * FEATURES)
    parts = made(30)
    np.testing.assert_array_equal(parts.inputs[:9], few.inputs)
    assert (parts.inputs[10:] != more.inputs[10:]).any()


# ---- marginals and noise


def spec(kind: dict[str, Any], **changes: Any) -> SynthesisSpec:
    given = {
        "settings": kind, "records": 40, "release": None, "split": "random",
        "members": 20, "non_members": None, "seed": 3, "replicate": 0, **changes,
    }  # fmt: skip
    return SynthesisSpec.model_validate_json(json.dumps(given))


def population(records: int = 3000) -> NDArray[np.uint8]:
    """Bits set with a probability of .05 to .95; the last equals the first."""
    rng = np.random.default_rng(8)
    found = rng.random((records, FEATURES)) < np.linspace(0.05, 0.95, FEATURES)
    found[:, -1] = found[:, 0]
    return found.astype(np.uint8)


def test_marginals_are_those_of_the_population_and_nothing_else_is() -> None:
    real, model = population(), Known()
    knowledge = Knowledge(bits(), CLASSES, model, real, None)
    made = of_marginals(spec({"kind": "marginals"}, records=20_000), knowledge)
    spread = np.sqrt(real.mean(0) * (1 - real.mean(0)) / 20_000)
    assert (np.abs(made.inputs.mean(0) - real.mean(0)) < 4.5 * spread).all()
    # the first and last feature go together in the population, not in these
    together = np.corrcoef(made.inputs[:, 0], made.inputs[:, -1])[0, 1]
    assert abs(together) < 4 / 20_000**0.5
    # the target says the classes, asked once about each record
    assert model.queries == 20_000
    np.testing.assert_array_equal(made.labels, model(made.inputs).argmax(1))


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.1, 2), (0.2, 5), (1, 24)])
def test_noise_changes_that_share_of_each_record(share: float, changed: int) -> None:
    real = population(500)
    labels = np.arange(500)  # tells which record one was
    kind = Noisy(kind="noisy", share=share).model_dump()
    made = of_noise(spec(kind, records=400), Knowledge(bits(), 500, None, real, labels))
    assert len(set(made.labels.tolist())) == 400
    flips = made.inputs != real[made.labels]
    assert (flips.sum(1) == changed).all()
    assert flips.mean(0) == pytest.approx(changed / FEATURES, abs=4 * 0.5 / 400**0.5)
    assert f"{changed} of 24 features" in made.remark


def test_noise_on_numbers_stays_in_their_range() -> None:
    rng = np.random.default_rng(2)
    real = rng.normal(size=(60, 4)).astype(np.float32)
    low, high = real.min(0).astype(float), real.max(0).astype(float)
    levels = np.full(4, 2**24, dtype=np.uint64)
    made = Domain((4,), real.dtype, low, (high - low) / (2**24 - 1), levels)
    found = of_noise(
        spec({"kind": "noisy", "share": 0.5}),
        Knowledge(made, 60, None, real, np.arange(60)),
    )
    assert ((found.inputs != real[found.labels]).sum(1) == 2).all()
    assert (found.inputs >= low.astype(np.float32)).all()
    assert (found.inputs <= high.astype(np.float32)).all()


def test_a_small_population_gives_fewer_noisy_records() -> None:
    knowledge = Knowledge(bits(), 30, None, population(30), np.arange(30))
    assert len(of_noise(spec({"kind": "noisy"}), knowledge).labels) == 30


# ---- the verb


def toy(folder: Path, seed: int = 0, records: int = 150) -> Path:
    """Records of bits around a prototype of each class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(records) % CLASSES
    near = rng.random((records, FEATURES)) < 0.9
    inputs = np.where(near, Known().prototypes[labels], 1 - Known().prototypes[labels])
    return wrote(folder, inputs.astype(np.uint8), labels)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set, and its target with a control beside it."""
    folder = tmp_path_factory.mktemp("place")
    data = toy(folder / "data")
    assert train_block(folder, data, "0:2", spec=trained()) == 0
    return folder


def trained() -> dict[str, Any]:
    spec = train_spec()
    return {**spec, "training": {**spec["training"], "epochs": 30}}


def synthesise(
    out: Path, data: Path, kind: dict[str, Any], *more: str, **changes: Any
) -> int:
    asks = SHADOW_DATA[kind["kind"]].asks
    told = {"release": PROBABILITIES if asks else None, **changes}
    words = ["--spec", spec(kind, **told).model_dump_json(), "--data", str(data)]
    return main(["synthesise", *words, "--out", str(out), "--device", "cpu", *more])


def made_by(place: Path, name: str, kind: dict[str, Any], **changes: Any) -> Dataset:
    block = ["--block", str(place / "b")] if SHADOW_DATA[kind["kind"]].asks else []
    assert synthesise(place / name, place / "data", kind, *block, **changes) == 0
    return open_dataset(place / name)


CLIMB = {"kind": "model-based", "k_max": 8, "k_min": 1}


@pytest.mark.parametrize("kind", [CLIMB, {"kind": "marginals"}, {"kind": "noisy"}])
def test_the_verb_writes_a_data_set_of_the_same_form(
    place: Path, kind: dict[str, Any]
) -> None:
    name = kind["kind"]
    made, base = made_by(place, name, kind), open_dataset(place / "data")
    assert made.inputs.shape == (40, FEATURES)
    assert made.inputs.dtype == base.inputs.dtype
    for field in ("name", "class_names", "scale", "shift", "input_shape"):
        assert made.info[field] == base.info[field]
    assert made.info["title"] == f"Toy, shadow data: {name}"
    record = read_json(place / name / "record.json")
    asked = SHADOW_DATA[name].asks
    told = spec(kind, release=PROBABILITIES if asked else None)
    assert canonical_json(record["spec"]) == canonical_json(told.model_dump(mode="json"))  # fmt: skip  # noqa: E501
    inputs = {"data": file_digest(place / "data" / "record.json")}
    if asked:
        inputs["block"] = file_digest(place / "b" / "record.json")
    assert record["inputs"] == inputs
    # of noise there is no target to ask: its code is no part of what hill climbing is
    sources = closure("whatelse.membership.synthesise", SHADOW_DATA[name].module)
    others = {kind.module.rpartition(".")[2] for kind in SHADOW_DATA.values()}
    assert len(others & {path.stem for path in sources}) == 1


def test_queries_are_counted(place: Path) -> None:
    climbed = made_by(place, "counted", CLIMB)
    queries = int(climbed.attributes["queries"].sum())
    assert queries > 40
    assert read_json(place / "counted" / "telemetry.json")["queries"] == queries
    remark = (
        f"shadow data, model-based: 40 of 40 records, {queries} queries of the target"  # noqa: E501
    )
    assert climbed.info["remarks"][1] == remark
    assert "0 searches failed" in climbed.info["remarks"][2]
    made_by(place, "marginal", {"kind": "marginals"})
    assert read_json(place / "marginal" / "telemetry.json")["queries"] == 40
    noisy = made_by(place, "noise", {"kind": "noisy"})
    assert read_json(place / "noise" / "telemetry.json")["queries"] == 0
    assert "40 of 40 records, 0 queries" in noisy.info["remarks"][1]


def test_hill_climbing_sees_no_record(place: Path, tmp_path: Path) -> None:
    """With the same target on any other records of bits it finds the same."""
    first = made_by(place, "seen", CLIMB)
    other = toy(tmp_path / "other", seed=1)
    labels = open_dataset(other).labels
    assert (open_dataset(other).inputs != open_dataset(place / "data").inputs).any()
    np.testing.assert_array_equal(labels, open_dataset(place / "data").labels)
    block = ["--block", str(place / "b")]
    assert synthesise(tmp_path / "unseen", other, CLIMB, *block) == 0
    second = open_dataset(tmp_path / "unseen")
    np.testing.assert_array_equal(first.inputs, second.inputs)
    np.testing.assert_array_equal(first.labels, second.labels)


def test_statistics_and_noise_are_of_records_that_are_not_the_targets(
    place: Path, tmp_path: Path
) -> None:
    """Other values in the target's records change nothing."""
    plan = load_block(place / "b").plan
    own = plan.train[0] | plan.test[0]
    base = open_dataset(place / "data")
    inputs = np.array(base.inputs)
    inputs[own] = 1 - inputs[own]
    other = wrote(tmp_path / "other", inputs, base.labels)
    for kind in ({"kind": "noisy", "share": 0.0}, {"kind": "marginals"}):
        first = made_by(place, f"own-{kind['kind']}", kind)
        block = ["--block", str(place / "b")] if kind["kind"] == "marginals" else []
        assert synthesise(tmp_path / kind["kind"], other, kind, *block) == 0
        second = open_dataset(tmp_path / kind["kind"])
        np.testing.assert_array_equal(first.inputs, second.inputs)
    known = {tuple(row) for row in base.inputs[~own].tolist()}
    noisy = open_dataset(place / "own-noisy")
    assert {tuple(row) for row in noisy.inputs.tolist()} <= known


def test_of_a_given_split_the_target_has_its_share(place: Path, tmp_path: Path) -> None:
    base = open_dataset(place / "data")
    inputs, records = np.array(base.inputs), base.num_records
    parts = np.where(np.arange(records) < 90, "train", "test").tolist()
    names = {"name": "toy", "title": "Toy", "class_names": ["a", "b", "c"]}
    write_dataset(
        tmp_path / "d", inputs=inputs, labels=base.labels, info=names,
        settings={"source": "npz"}, attributes={"split": parts},
    )  # fmt: skip
    given = {"split": "given", "members": 40, "non_members": 30}
    told = {**trained(), **given}
    assert train_block(tmp_path, tmp_path / "d", "0:2", spec=told) == 0
    plan = load_block(tmp_path / "b").plan
    own = plan.train[0] | plan.test[0]
    assert own.sum() == 70
    kind = {"kind": "noisy", "share": 0.0}
    code = synthesise(tmp_path / "n", tmp_path / "d", kind, records=80, **given)
    assert code == 0
    # of 150 records 80 are left: all of them
    noisy = sorted(map(tuple, open_dataset(tmp_path / "n").inputs.tolist()))
    assert noisy == sorted(map(tuple, inputs[~own].tolist()))


def test_the_target_answers_through_its_release(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = made_by(place, "full", CLIMB)
    # a label says nothing on the way up: the search is another one
    label = made_by(place, "label", CLIMB, release={"kind": "label"})
    assert (full.inputs != label.inputs).any()
    capped = {"kind": "probabilities", "max_queries": 60}
    words = ["--block", str(place / "b")]
    assert synthesise(tmp_path / "o", place / "data", CLIMB, *words, release=capped) == 2  # fmt: skip  # noqa: E501
    assert "queries asked; allowed: 60" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_again_is_the_same_and_another_replicate_is_not(place: Path) -> None:
    for kind in (CLIMB, {"kind": "noisy"}):
        one, two = (made_by(place, name, kind) for name in ("one", "two"))
        np.testing.assert_array_equal(one.inputs, two.inputs)
        digests = [file_digest(place / name / "record.json") for name in ("one", "two")]
        assert digests[0] == digests[1]
    other = made_by(place, "other", {"kind": "noisy"}, replicate=1)
    assert (other.inputs != two.inputs).any()


@pytest.mark.parametrize(
    ("kind", "words", "changes", "line"),
    [
        (CLIMB, [], {}, "--block: left out, but these settings ask the target"),
        (CLIMB, ["b"], {"seed": 4}, "its first model is not the target of the spec"),
        (CLIMB, ["later"], {}, "its first model is not the target of the spec"),
        (
            {**CLIMB, "iter_max": 1, "conf_min": 0.99}, ["b"], {},
            "shadow_data: model-based has 0 of 40 records of class 0 ('c0'), and 3",
        ),
        (
            {"kind": "noisy"}, [], {"records": 4},
            "allowed: at least 2 of each (more members",
        ),
        ({"kind": "noisy"}, [], {"members": 100}, "members: 100 training and 100"),
        (
            {"kind": "noisy"}, [], {"split": "given"},
            "attribute 'split': missing; allowed: a data set with a split",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    kind: dict[str, Any], words: list[str], changes: dict[str, Any], line: str,
) -> None:  # fmt: skip
    if words == ["later"]:
        code = train_block(place, place / "data", "1:3", spec=trained(), name="later")
        assert code == 0
    block = [word for name in words for word in ("--block", str(place / name))]
    capsys.readouterr()
    assert synthesise(tmp_path / "o", place / "data", kind, *block, **changes) == 2
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_queries_are_counted_to_the_last(place: Path) -> None:
    """What is read off the records is what the oracle counted, failed searches too."""
    hard = {**CLIMB, "iter_max": 12, "conf_min": 0.6}
    for kind, least in ((CLIMB, 40), (hard, 40), ({"kind": "marginals"}, 40)):
        made = made_by(place, "counted", kind)
        said = shadow_data(place / "counted")
        counted = f"{len(made.labels)} of 40 records, {said['queries']:,} queries"
        assert counted in " ".join(said["remarks"])
        assert said["queries"] >= least
        if kind is hard:
            assert len(made.labels) < 40
    made_by(place, "counted", {"kind": "noisy"})
    assert shadow_data(place / "counted")["queries"] == 0


# ---- the attack


def attack(
    folder: Path, target: Outputs, shadows: Outputs | None, **more: Any
) -> dict[str, Any]:
    """Write outputs, and return what the attack reports of the one replicate."""
    inputs = {"outputs.0": [folder / "target"]}
    save_outputs(folder / "target", target)
    if shadows is not None:
        save_outputs(folder / "shadows", shadows)
        inputs["shadows.0"] = [folder / "shadows"]
    told = AttackSpec(
        study="s", name="n", grid={}, seed=1,
        settings={"kind": "membership.shadow", **more},
    )  # fmt: skip
    (report,) = find(told, inputs).metrics["replicates"]
    return dict(report)


def test_shadows_on_other_data_stand_in_for_real_ones(tmp_path: Path) -> None:
    target = outputs(num_shadows=0, leak=3.0)
    control = outputs(models=(CONTROL,), seed=9)
    useless = outputs(models=(1,), leak=-3.0, seed=5)
    names = ("model", "record", "label", "member", "probabilities")
    whole = Outputs(
        *(
            np.concatenate([getattr(part, name) for part in (target, useless, control)])
            for name in names
        ),
        about=target.about,
    )
    shadows = outputs(models=(1, 2, 3), leak=3.0, seed=7)
    found = attack(tmp_path / "a", whole, shadows)
    # the target's own shadow, which would teach the opposite, is not looked at
    assert found["attack"]["auc"]["value"] > 0.9
    assert attack(tmp_path / "b", whole, None)["attack"]["auc"]["value"] < 0.2
    # the control is the model that saw nothing, as ever
    assert found["controls"]["negative"]["what"].startswith("a model that saw neither")
    assert found["controls"]["negative"]["p_value"] > 0.01
    assert found["controls"]["positive"]["auc"]["value"] > 0.9


def test_from_target_to_attack(place: Path, tmp_path: Path) -> None:
    """All steps on a target that remembers: its members are told from others."""
    made_by(place, "whole", CLIMB, records=40)
    halves = {**trained(), "split": "halves", "members": None}
    code = train_block(place, place / "whole", "1:7", spec=halves, name="shadows")
    assert code == 0
    target = query_block(place, place / "data")
    shadows = query_block(place, place / "whole", "shadows")
    told = AttackSpec(
        study="s", name="n", grid={}, seed=1,
        settings={"kind": "membership.shadow", "sparse_classes": "pool"},
    )  # fmt: skip
    made = place / "whole"
    found = find(
        told, {"outputs.0": [target], "shadows.0": [shadows], "shadow_data.0": [made]}
    )
    (report,) = found.metrics["replicates"]
    assert len(found.scores) == 40
    about = report["shadow_data"]
    assert about["records"] == 40
    assert f"40 of 40 records, {about['queries']:,} queries" in about["remarks"][-2]
    summary = found.metrics["summary"]
    assert summary["queries"]["mean"] == 1.0
    assert summary["synthesis_queries"]["mean"] == about["queries"] / 40 > 1
    assert report["controls"]["negative"]["what"].startswith("a model that saw neither")
