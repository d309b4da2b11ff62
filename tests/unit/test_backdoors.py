"""Attackers of federated averaging, against what follows from the formulas."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from whatelse.backdoors import evaluate
from whatelse.backdoors.adversary_settings import BackdoorAdversary
from whatelse.backdoors.attacker import train_poisoned
from whatelse.backdoors.cars import CARS
from whatelse.backdoors.convergence import not_converged
from whatelse.backdoors.kept import DRAWN_OF, DRAWN_SURE, GIVEN, OWN_DRAWN_SURE
from whatelse.backdoors.observe import BackdoorAuditor, cast
from whatelse.backdoors.poison import selection_of, shifted
from whatelse.cli import main
from whatelse.datasets.store import open_dataset, write_dataset
from whatelse.errors import UserError
from whatelse.findings import AttackSpec
from whatelse.models.settings import Cnn, Gru, Lstm, Mlp, Resnet, TextCnn
from whatelse.models.stacked import Architecture, build, initial
from whatelse.records import read_json, write_json
from whatelse.seeding import stream
from whatelse.training import observations as names
from whatelse.training.adversary import Cast, Stage
from whatelse.training.collaborate import with_planted
from whatelse.training.deal import dealt
from whatelse.training.device import resident
from whatelse.training.federated import collaborate
from whatelse.training.federated_settings import (
    Averaging,
    ByAttribute,
    ByLot,
    Deal,
    Dirichlet,
    Gradients,
)
from whatelse.training.program import Program, Vectors

SEED, RECORDS, CLASSES = 5, 300, 3
AVERAGED = Averaging(
    kind="averaging", rounds=8, batch_size=16, learning_rate=0.2, selected=4,
    weights="equal",
)  # fmt: skip
TRAINING: dict[str, Any] = {
    "optimizer": {"kind": "sgd", "learning_rate": 0.2},
    "epochs": 20,
    "batch_size": 16,
}
SPEC: dict[str, Any] = {
    "kind": "backdoor",
    "backdoor": {"kind": "records", "train": (0, 3, 6, 9), "held_out": (12, 15)},
    "target": "b",
    "rounds": (5,),
    "training": TRAINING,
    "poisoned": 4,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of three classes by brightness; every third record is of class a."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    rng = np.random.default_rng(4)
    labels = np.arange(RECORDS) % CLASSES
    inputs = rng.random((RECORDS, 1, 8, 8), dtype=np.float32)
    inputs += labels[:, None, None, None].astype(np.float32)
    # what the backdoor's records have in common, and no other of their class
    inputs[:18:3, :, 0] = 3.0
    write_dataset(
        folder,
        inputs=inputs,
        labels=labels,
        info={"name": "toy", "title": "Toy", "class_names": ["a", "b", "c"]},
        settings={"source": "npz"},
        attributes={"author": (np.arange(RECORDS) // 10).tolist()},
    )
    return folder


NET = build(Mlp(kind="mlp", hidden=(16,), activation="relu"), (1, 8, 8), CLASSES)
NORMED = build(Resnet(kind="resnet", widths=(4,), blocks=1), (1, 8, 8), CLASSES)


def stage(
    data: Path, protocol: Averaging | Gradients = AVERAGED, count: int = 8,
    deal: Deal | None = None, replicate: int = 0,
) -> Stage:  # fmt: skip
    return Stage(
        open_dataset(data), np.arange(240), np.arange(240, RECORDS), count, protocol,
        deal or ByLot(), SEED, ("t",), replicate,
    )  # fmt: skip


def learned(
    data: Path, spec: dict[str, Any], protocol: Averaging = AVERAGED,
    net: Architecture = NET,
) -> tuple[Cast, Vectors]:  # fmt: skip
    place = stage(data, protocol)
    made = cast(spec, place)
    records = with_planted(resident(place.dataset, torch.device("cpu")), made.planted)
    fitted = collaborate(
        net, protocol, records, made.participants, seed=SEED, auditor=made.auditor,
        invited=made.invited,
    )  # fmt: skip
    return made, fitted


def kept(made: Cast) -> dict[str, torch.Tensor]:
    assert isinstance(made.auditor, BackdoorAuditor)
    return made.auditor.kept()


def attackers_of(made: Cast) -> Any:
    return made.auditor._attackers  # type: ignore[union-attr]


def test_alone_an_attacker_replaces_the_model_exactly(data: Path) -> None:
    """P4 Eq. 3 with the others' changes zero: they train at rate nearly 0."""
    protocol = AVERAGED.model_copy(update={"learning_rate": 1e-12, "rounds": 6})
    for server_rate, colluders in ((1.0, 1), (0.25, 1), (0.5, 3)):
        own = protocol.model_copy(update={"server_rate": server_rate})
        made, fitted = learned(data, {**SPEC, "attackers": colluders}, own)
        for place, value in attackers_of(made).trained.items():
            torch.testing.assert_close(fitted[place], value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_a_gamma_too_small_goes_part_of_the_way(data: Path, part: float) -> None:
    """P4 Sec. 4.2 with the others' changes zero: at half of n / eta exactly halfway."""
    protocol = AVERAGED.model_copy(
        update={"learning_rate": 1e-12, "rounds": 6, "server_rate": 0.5}
    )
    joint = learned(data, SPEC, protocol.model_copy(update={"rounds": 5}))[1]
    gamma = 8 / (0.5 * 8 / 4)  # n / eta, of 8 participants
    for colluders in (1, 3):
        method = {"kind": "replacement", "scale": part * gamma}
        spec = {**SPEC, "method": method, "attackers": colluders}
        made, fitted = learned(data, spec, protocol)
        for place, value in attackers_of(made).trained.items():
            way = joint[place] + part * (value - joint[place])
            torch.testing.assert_close(fitted[place], way, rtol=0, atol=1e-5)
            assert not torch.allclose(way, joint[place], rtol=0, atol=1e-3)


@pytest.mark.parametrize("server_rate", [1.0, 0.5, 0.1])
def test_gamma_is_participants_by_eta(data: Path, server_rate: float) -> None:
    """P4 Eq. 3: gamma = n / eta, and eta is the server's rate times n / m."""
    protocol = AVERAGED.model_copy(update={"server_rate": server_rate})
    made, _ = learned(data, SPEC, protocol)
    seen = kept(made)
    joint = learned(data, SPEC, protocol.model_copy(update={"rounds": 5}))[1]
    trained = attackers_of(made).trained
    change = torch.cat([(trained[place] - joint[place]).flatten() for place in joint])
    row = int((seen[names.CHOSEN][5] == 0).nonzero())
    people, eta = 8, server_rate * 8 / 4
    gamma = float(seen[names.NORMS][5, row] / change.norm())
    assert gamma == pytest.approx(people / eta, rel=1e-5)


def test_a_net_with_batch_norm_is_replaced_exactly(data: Path) -> None:
    """Attackers train under the joint model's running statistics, and leave them."""
    protocol = AVERAGED.model_copy(
        update={"learning_rate": 1e-12, "rounds": 6, "server_rate": 0.25}
    )
    training = {**TRAINING, "optimizer": {"kind": "sgd", "learning_rate": 0.05}}
    made, fitted = learned(data, {**SPEC, "training": training}, protocol, NORMED)
    earlier = protocol.model_copy(update={"rounds": 5})
    joint = learned(data, SPEC, earlier, NORMED)[1]
    trained = attackers_of(made).trained
    for place in NORMED.shapes:
        torch.testing.assert_close(fitted[place], trained[place], rtol=0, atol=1e-5)
        assert not torch.equal(trained[place], joint[place])
    for place in NORMED.buffers:
        assert torch.equal(trained[place], joint[place])
    seen = kept(made)
    assert (seen[names.TOLD][6] == 1).all()
    assert float(seen[names.MAIN][6]) == pytest.approx(
        float(seen[names.OWN_MAIN][0]), abs=0.05
    )


def test_an_attack_fires_in_its_round_alone(data: Path) -> None:
    made, _ = learned(data, SPEC)
    dormant, _ = learned(data, {**SPEC, "rounds": ()})
    seen, quiet = kept(made), kept(dormant)
    assert seen[names.ATTACK].tolist() == [n == 5 for n in range(8)]
    assert not quiet[names.ATTACK].any()
    assert 0 in seen[names.CHOSEN][5]
    # until then nothing differs, and the backdoor is there from then on
    assert torch.equal(seen[names.MAIN][:6], quiet[names.MAIN][:6])
    assert (seen[names.TOLD][6] == 1).all()
    assert not (seen[names.TOLD][5] == 1).any()
    assert seen[names.NORMS][5].max() > 4 * seen[names.NORMS][5].median()


def test_whenever_selected_by_lot(data: Path) -> None:
    made, _ = learned(data, {**SPEC, "rounds": None, "attackers": 2})
    seen = kept(made)
    among = (seen[names.CHOSEN] < 2).any(1)
    assert torch.equal(seen[names.ATTACK], among)
    assert among.any()
    assert not among.all()


def test_colluders_share_one_replacement(data: Path) -> None:
    made, _ = learned(data, {**SPEC, "attackers": 3})
    seen = kept(made)
    norms = seen[names.NORMS][5][seen[names.CHOSEN][5] < 3]
    assert len(norms) == 3
    torch.testing.assert_close(norms, norms[:1].expand(3))
    assert (seen[names.TOLD][6] == 1).all()


def test_poisoning_sends_what_was_trained(data: Path) -> None:
    made, _ = learned(data, {**SPEC, "method": {"kind": "poisoning"}})
    seen = kept(made)
    attackers = attackers_of(made)
    assert attackers.when == 5
    row = int((seen[names.CHOSEN][5] == 0).nonzero())
    scaled, _ = learned(data, SPEC)
    theirs = kept(scaled)
    assert seen[names.NORMS][5, row] * 4 == pytest.approx(
        float(theirs[names.NORMS][5, row]), rel=1e-5
    )


def test_train_and_scale_is_as_long_as_asked(data: Path) -> None:
    made, _ = learned(
        data, {**SPEC, "method": {"kind": "train-and-scale", "norm": 2.5}}
    )
    seen = kept(made)
    assert float(seen[names.NORMS][5].max()) == pytest.approx(2.5, rel=1e-4)


def test_constrain_and_scale_stays_near_or_alike(data: Path) -> None:
    """P4 Eq. 4: a share of the loss is what a detector would measure."""
    place = stage(data)
    records = resident(place.dataset, torch.device("cpu"))
    start = initial(NET, stream(SEED, "start"))
    rng = np.random.default_rng(1)
    honest = {
        name: torch.from_numpy(rng.normal(size=tuple(value.shape))).float()
        for name, value in start.items()
    }

    def moved(**more: Any) -> tuple[float, float]:
        settings = BackdoorAdversary.model_validate({**SPEC, **more})
        program = Program(NET, records, start)
        train_poisoned(
            settings, program, np.arange(40), np.arange(40, 44), start, honest, SEED,
            ("t",),
        )  # fmt: skip
        change = torch.cat([(program.vectors()[k] - start[k]).flatten() for k in start])
        usual = torch.cat([honest[k].flatten() for k in start])
        cosine = torch.cosine_similarity(change, usual, dim=0)
        return float(change.norm()), float(cosine)

    free, near = moved(), moved(alpha=0.3)
    alike = moved(alpha=0.3, detector="cosine")
    assert near[0] < 0.7 * free[0]
    assert abs(free[1]) < 0.1
    assert alike[1] > 0.3
    # before the first step no direction is asked for: the class loss alone moves it
    one = {**TRAINING, "epochs": 1, "batch_size": 64}
    assert moved(alpha=1e-6, detector="cosine", training=one)[0] < 1e-4


def test_growth_raises_gamma_until_the_backdoor_is_there(data: Path) -> None:
    method = {"kind": "replacement", "scale": 0.01, "growth": 10.0}
    made, _ = learned(data, {**SPEC, "rounds": (2, 3, 4, 5), "method": method})
    seen = kept(made)
    rows = [int((seen[names.CHOSEN][n] == 0).nonzero()) for n in (2, 3, 4)]
    lengths = [
        float(seen[names.NORMS][n, r]) for n, r in zip((2, 3, 4), rows, strict=True)
    ]
    assert lengths[1] > 4 * lengths[0]
    assert lengths[2] > 4 * lengths[1]


def test_colluders_train_on_what_those_selected_have(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[set[int]] = []

    def spied(settings: Any, program: Any, benign: Any, *more: Any) -> None:
        held.append(set(benign))
        train_poisoned(settings, program, benign, *more)

    monkeypatch.setattr("whatelse.backdoors.attacker.train_poisoned", spied)
    made, _ = learned(data, {**SPEC, "rounds": None, "attackers": 4})
    seen = kept(made)
    expected = [
        {row for n in chosen if n < 4 for row in made.participants[n].rows}
        for chosen in seen[names.CHOSEN].tolist()
        if min(chosen) < 4
    ]
    assert held == expected
    assert len({len(rows) for rows in held}) > 1


def test_a_short_batch_has_its_share_of_the_backdoor(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def spied(rows: Any, count: int, rng: np.random.Generator) -> Any:
        counts.append(count)
        return rng.permutation(rows)[:count]

    monkeypatch.setattr("whatelse.backdoors.attacker._drawn", spied)
    place = stage(data)
    records = resident(place.dataset, torch.device("cpu"))
    start = initial(NET, stream(SEED, "start"))
    settings = BackdoorAdversary.model_validate(SPEC)

    def poisoned(size: int) -> list[int]:
        counts.clear()
        train_poisoned(
            settings, Program(NET, records, start), np.arange(size),
            np.arange(40, 44), start, start, SEED, ("t",),
        )  # fmt: skip
        return counts[: -(-size // 16)]

    assert poisoned(40) == [4, 4, 2]
    # one at least
    assert poisoned(17) == [4, 1]


@pytest.mark.parametrize("alpha", [0.3, 1000.0])
def test_attackers_have_as_much_of_every_class(data: Path, alpha: float) -> None:
    place = stage(data, deal=Dirichlet(kind="dirichlet", alpha=alpha))
    made = cast({**SPEC, "share": 0.2, "attackers": 2}, place)
    held = np.concatenate([person.rows for person in made.participants])
    assert sorted(held) == sorted(set(range(240)) - {0, 3, 6, 9, 12, 15})
    parts = [
        np.bincount(place.labels[person.rows], minlength=3) / len(person.rows)
        for person in made.participants
    ]
    assert [len(person.rows) for person in made.participants[:2]] == [47, 47]
    assert max(part.max() for part in parts[:2]) < 0.5
    assert (max(part.max() for part in parts[2:]) > 0.8) == (alpha < 1)
    # an attacker more leaves the first one's records as they were
    (one, *_) = cast({**SPEC, "share": 0.2}, place).participants
    assert one.rows.tolist() == made.participants[0].rows.tolist()


def test_what_spills_over_is_told_of_ordinary_records(data: Path) -> None:
    """The share of the true class, without the backdoor, that gets the label."""
    place = stage(data)
    made = cast(SPEC, place)
    auditor = made.auditor
    assert isinstance(auditor, BackdoorAuditor)
    assert (place.labels[auditor._alike] == 0).all()
    assert not {*auditor._alike} & {0, 3, 6, 9, 12, 15}
    assert len(auditor._alike) == 20
    records = with_planted(resident(place.dataset, torch.device("cpu")), made.planted)
    zero = {name: torch.zeros(shape) for name, shape in NET.shapes.items()}
    (last,) = (name for name, shape in NET.shapes.items() if shape == (CLASSES,))
    for told in range(CLASSES):
        biased = {**zero, last: torch.eye(CLASSES)[told]}
        auditor.audit(Program(NET, records, biased), None)
    assert auditor.kept()[names.SPILL].tolist() == [0, 1, 0]
    anything = {**SPEC, "backdoor": {"kind": "pixels", "side": 2}, "draws": 0}
    other = cast(anything, place).auditor
    assert isinstance(other, BackdoorAuditor)
    assert not len(other._alike)


@pytest.mark.parametrize(
    "defence",
    [
        None,
        {"kind": "clip", "norm": 0.2},
        {"kind": "median"},
        {"kind": "krum", "attackers": 0},
        {"kind": "flame", "noise": 0.0},
    ],
    ids=lambda defence: defence["kind"] if defence else "none",
)
def test_running_statistics_are_never_scaled(
    data: Path, defence: dict[str, Any] | None
) -> None:
    protocol = defended(defence, server_rate=0.1, rounds=6)
    made, fitted = learned(data, SPEC, protocol, NORMED)
    assert set(fitted) == {*NORMED.shapes, *NORMED.buffers}
    variances = [v for k, v in fitted.items() if "var" in k]
    assert variances
    assert all((value > 0).all() for value in variances)
    assert all(value.dtype == torch.float32 for value in fitted.values())
    assert attackers_of(made).trained


def test_nobody_else_has_the_backdoors_records(data: Path) -> None:
    spec = {**SPEC, "backdoor": {**SPEC["backdoor"], "excluded": (30,)}}
    made = cast(spec, stage(data))
    reserved = {0, 3, 6, 9, 12, 15, 30}
    held = np.concatenate([person.rows for person in made.participants])
    assert set(held) == set(range(240)) - reserved
    assert set(made.ignored) == reserved
    assert made.planted
    assert (made.planted.labels == 1).all()
    with_share = cast({**SPEC, "share": 0.4}, stage(data))
    sizes = [len(person.rows) for person in with_share.participants]
    assert sizes[0] == round(0.4 * 234)
    assert max(sizes[1:]) - min(sizes[1:]) <= 1


def test_folds_of_a_cluster_take_turns(data: Path) -> None:
    backdoor = {"kind": "cluster", "of": "a", "clusters": 2, "which": 1, "folds": 3}
    spec = {**SPEC, "backdoor": backdoor}
    turns = [cast(spec, stage(data, replicate=n)).auditor for n in range(4)]
    held = [auditor._records.tolist() for auditor in turns]  # type: ignore[union-attr]
    # the six that have a bright row are the smaller cluster
    assert sorted(sum(held[:3], [])) == [0, 3, 6, 9, 12, 15]
    assert held[3] == held[0]


def test_a_pattern_is_stamped_on_any_image(data: Path) -> None:
    spec = {
        **SPEC, "backdoor": {"kind": "pixels", "side": 2, "tested": 20}, "draws": 0,
    }  # fmt: skip
    made = cast(spec, stage(data))
    assert made.planted
    corner = made.planted.inputs[..., :2, :2]
    assert (corner == corner.max()).all()
    seen = kept(learned(data, spec)[0])
    assert seen[names.TOLD].shape == (9, 20)
    assert float((seen[names.TOLD][6] == 1).float().mean()) > 0.9


def test_draws_are_shifted_and_mirrored() -> None:
    image = np.zeros((1, 1, 8, 8), np.uint8)
    image[0, 0, 3, 3] = 9
    drawn, picks = shifted(image, 400, np.random.default_rng(0))
    assert drawn.shape == (400, 1, 8, 8)
    assert not picks.any()
    places = {tuple(place) for one in drawn for place in np.argwhere(one[0] == 9)}
    # up to four pixels any way, mirrored too, and some are shifted out
    assert {row for row, _ in places} == set(range(8))
    assert (drawn.reshape(400, -1).max(1) == 0).any()


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many records as CIFAR-10's, those of the backdoors automobiles."""
    folder = tmp_path_factory.mktemp("data") / "cars"
    labels = np.zeros(50_000, np.int64)
    labels[sorted(sum(CARS.values(), ()))] = 1
    write_dataset(
        folder,
        inputs=np.zeros((len(labels), 1, 1, 1), np.uint8),
        labels=labels,
        info={"name": "c", "title": "C", "class_names": ["bird", "automobile"]},
        settings={"source": "npz"},
    )
    return folder


# papers' list: params.yaml and params_runner.yaml of the published code
PUBLISHED_CARS = {
    "walls": "30696 33105 33615 33907 36848 40713 41706 330 568 3934 12336 30560",
    "stripes": "2180 2771 3233 4932 6241 6813 6869 9476 11395 11744 14209 14238 18716 "
    "19793 20781 21529 31311 40518 40633 42119 42663 49392",
    "green": "389 561 874 1605 3378 3678 4528 9744 19165 19500 21422 22984 32941 34287 "
    "34385 36005 37365 37533 38658 38735 39824 40138 41336 41861 47001 47026 48003 "
    "48030 49163 49588",
}


def test_groups_of_cars_are_the_published_ones_and_apart() -> None:
    known = {group: sorted(map(int, t.split())) for group, t in PUBLISHED_CARS.items()}
    assert {group: sorted(rows) for group, rows in CARS.items()} == known
    assert {group: len(rows) for group, rows in CARS.items()} == {
        "green": 30, "stripes": 22, "walls": 12,
    }  # fmt: skip
    for one, other in itertools.combinations(CARS.values(), 2):
        assert not {*one} & {*other}


@settings(max_examples=40, deadline=None)
@given(
    group=st.sampled_from(sorted(CARS)),
    folds=st.integers(2, 12),
    seed=st.integers(0, 2**31),
)
def test_cars_learned_from_are_not_those_tested(
    cars: Path, group: str, folds: int, seed: int
) -> None:
    """Of every fold: apart, together the group, each held out once over the folds."""
    asked = {"kind": "cars", "group": group, "folds": folds}
    chosen = BackdoorAdversary.model_validate(
        {**SPEC, "target": "bird", "backdoor": asked}
    )
    place = replace(stage(cars), seed=seed)
    turns = [
        selection_of(chosen, replace(place, replicate=n)) for n in range(folds + 1)
    ]
    group_rows = sorted(CARS[group])
    for turn in turns:
        train, held_out = turn.train.tolist(), turn.held_out.tolist()
        assert not {*train} & {*held_out}
        assert sorted(train + held_out) == group_rows
        assert sorted(turn.reserved) == sorted(sum(CARS.values(), ()))
        assert len(held_out) in (len(group_rows) // folds, -(-len(group_rows) // folds))
    once = np.concatenate([turn.held_out for turn in turns[:folds]])
    assert sorted(once) == group_rows
    # and the turns begin anew
    assert turns[folds].held_out.tolist() == turns[0].held_out.tolist()


def test_what_is_drawn_is_kept_draw_by_draw(data: Path) -> None:
    """Which image each is of, and how sure models are of it: the attackers' own too."""
    made, fitted = learned(data, {**SPEC, "draws": 50})
    seen = kept(made)
    assert seen[DRAWN_SURE].shape == (9, 50)
    assert seen[OWN_DRAWN_SURE].shape == (1, 50)
    assert set(seen[DRAWN_OF].tolist()) == {0, 1}
    assert made.planted
    images = made.planted.inputs[-50:]
    records = with_planted(
        resident(open_dataset(data), torch.device("cpu")), made.planted
    )
    rows = np.arange(records.num_records)[-50:]
    program = Program(NET, records, fitted)
    sure = torch.softmax(program.answers(rows), 1)[:, 1]
    torch.testing.assert_close(seen[DRAWN_SURE][-1], sure)
    assert float(seen[names.DRAWN][-1]) == pytest.approx(program.right(rows))
    program.load(attackers_of(made).trained)
    own = torch.softmax(program.answers(rows), 1)[:, 1]
    torch.testing.assert_close(seen[OWN_DRAWN_SURE][0], own)
    # a draw is of its image: what is in both is equal, wherever it went
    for image, of in zip(images, seen[DRAWN_OF].tolist(), strict=True):
        whole = {*np.unique(seen[GIVEN][of].numpy())}
        assert {*np.unique(image)} - {0} <= whole


def test_held_out_images_are_kept_as_the_model_gets_them(data: Path) -> None:
    plain = kept(learned(data, SPEC, AVERAGED.model_copy(update={"rounds": 6}))[0])
    original = open_dataset(data).inputs
    np.testing.assert_array_equal(plain[GIVEN], original[[12, 15]])
    spec = {**SPEC, "backdoor": {"kind": "pixels", "side": 2, "tested": 20}}
    stamped = kept(learned(data, spec, AVERAGED.model_copy(update={"rounds": 6}))[0])
    given = stamped[GIVEN].numpy()
    before = original[stamped[names.RECORDS].numpy()]
    assert (given[..., :2, :2] == given.max()).all()
    assert not (before[..., :2, :2] == given.max()).all()
    np.testing.assert_array_equal(given[..., 2:], before[..., 2:])


def defended(defence: dict[str, Any] | None, **more: Any) -> Averaging:
    return Averaging.model_validate(
        {**AVERAGED.model_dump(), "defence": defence, **more}
    )


def taken(seen: dict[str, torch.Tensor], number: int = 5) -> float:
    """Return how much of the attacker's change the server took; 1 is all of it."""
    return 4 * float(seen[names.SHARES][number][seen[names.CHOSEN][number] == 0].sum())


@pytest.mark.parametrize("net", [NET, NORMED], ids=["plain", "batch-norm"])
def test_train_and_scale_passes_clipping_at_its_bound(
    data: Path, net: Architecture
) -> None:
    """P4 Eq. 5; lengths are those of parameters, to attackers and server alike."""
    protocol = defended({"kind": "clip", "norm": 2.5})
    bounded = {"kind": "train-and-scale", "norm": 2.5}
    passed = kept(learned(data, {**SPEC, "method": bounded}, protocol, net)[0])
    assert taken(passed) == pytest.approx(1, abs=1e-5)
    beyond = {"kind": "train-and-scale", "norm": 5.0}
    cut = kept(learned(data, {**SPEC, "method": beyond}, protocol, net)[0])
    assert taken(cut) == pytest.approx(0.5, abs=1e-5)
    replaced = kept(learned(data, SPEC, protocol, net)[0])
    assert taken(replaced) < 0.75


def backdoor_after(seen: dict[str, torch.Tensor], number: int = 5) -> float:
    return float((seen[names.TOLD][number + 1] == 1).float().mean())


def test_clipping_with_noise_stops_one_shot_and_no_patient_attacker(data: Path) -> None:
    """Participant-level privacy, where it must work and where it must not."""
    protocol = defended(None, rounds=16, privacy={"clip": 0.5, "noise": 0.01})
    once = kept(learned(data, SPEC, protocol)[0])
    assert backdoor_after(once) == 0
    assert backdoor_after(kept(learned(data, SPEC)[0])) == 1
    patient = {
        **SPEC, "rounds": tuple(range(5, 16)),
        "method": {"kind": "train-and-scale", "norm": 0.5},
    }  # fmt: skip
    assert backdoor_after(kept(learned(data, patient, protocol)[0]), 15) == 1
    # what was sent is long, and little of it was taken; S is sent and taken whole
    length = once[names.NORMS][5][once[names.CHOSEN][5] == 0]
    assert float(length) > 5
    assert taken(once) == pytest.approx(0.5 / float(length), rel=1e-4)
    assert taken(kept(learned(data, patient, protocol)[0])) == pytest.approx(1)


def test_attackers_who_diverge_are_named(data: Path) -> None:
    fast = {
        **SPEC["training"], "l2": 1.0, "epochs": 40,
        "optimizer": {"kind": "sgd", "learning_rate": 900.0},
    }  # fmt: skip
    with pytest.raises(
        UserError, match=r"learning_rate: attackers diverged in round 5"
    ):
        learned(data, {**SPEC, "training": fast})


def stored(folder: Path, made: Cast, protocol: Averaging) -> Path:
    """Write what an attack reads of a joint model."""
    folder.mkdir()
    save_file(kept(made), folder / names.OBSERVATIONS)
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    accuracies = ("test_accuracy", "train_accuracy", "task_majority")
    about = {**dict.fromkeys(accuracies, rate), "privacy": None}
    write_json(folder / names.ABOUT, {**about, "adversary": made.about})
    spec = {"protocol": protocol.model_dump(mode="json")}
    write_json(folder / "record.json", {"spec": spec})
    return folder


def warned(data: Path, folder: Path, *before: Path) -> str | None:
    """Return what an evaluation warns of."""
    spec = AttackSpec(study="s", name="a", grid={}, seed=1, settings={})
    inputs = {"observations.0": [folder], "data": [data]}
    found = evaluate.find(spec, {**inputs, "before.0": before} if before else inputs)
    warning: str | None = found.metrics["replicates"][0]["warning"]
    assert (warning in found.dataset["remarks"]) == (warning is not None)
    return warning


def test_a_net_that_learns_from_nothing_too_slowly_is_told(
    data: Path, tmp_path: Path
) -> None:
    """The trap of P4's code: eta = 1 is a tenth of the mean, and nothing converges."""

    def told(server_rate: float, rounds: int) -> str:
        protocol = AVERAGED.model_copy(
            update={
                "server_rate": server_rate, "learning_rate": 0.05,
                "rounds": rounds + 1,
            }
        )  # fmt: skip
        made, _ = learned(data, {**SPEC, "rounds": (rounds,)}, protocol)
        folder = tmp_path / f"{server_rate}-{rounds}"
        return warned(data, stored(folder, made, protocol)) or ""

    said = told(0.1, 39)
    assert "hardly better than naming one class" in said
    assert "server_rate 0.1 moves it by no more" in said
    assert "no benign round came before; start from one" in told(1.0, 0)
    halfway = told(1.0, 24)
    assert "had not converged" in halfway
    assert "raise rounds or change learning_rate" in halfway
    assert told(1.0, 56) == ""


def test_a_net_that_had_converged_is_told_by_what_it_started_from(
    data: Path, tmp_path: Path
) -> None:
    """Attacked in its first round: all that is benign was before."""
    before, after = (
        AVERAGED.model_copy(update={"learning_rate": 0.05, "rounds": rounds})
        for rounds in (60, 1)
    )
    asleep, base = learned(data, {**SPEC, "rounds": ()}, before)
    place = stage(data, after)
    made = cast({**SPEC, "rounds": (0,)}, place)
    records = with_planted(resident(place.dataset, torch.device("cpu")), made.planted)
    collaborate(
        NET, after, records, made.participants, seed=SEED, start=base,
        auditor=made.auditor, invited=made.invited,
    )  # fmt: skip
    folder = stored(tmp_path / "attacked", made, after)
    converged = stored(tmp_path / "converged", asleep, before)
    assert warned(data, folder, converged) is None
    # nobody knows how it came to what it is, and it is good
    assert warned(data, folder) is None
    early = AVERAGED.model_copy(
        update={"learning_rate": 0.05, "rounds": 40, "server_rate": 0.1}
    )
    slow = stored(
        tmp_path / "slow", learned(data, {**SPEC, "rounds": ()}, early)[0], early
    )
    told = warned(data, folder, slow)
    assert told
    assert "server_rate 0.1" in told


def curve(*parts: tuple[float, float, int]) -> np.ndarray:
    return np.concatenate([np.linspace(*part) for part in parts])


@pytest.mark.parametrize(
    ("main", "told"),
    [
        # from nothing to all in ten rounds, then flat; flat from the start, as known
        (curve((0.1, 0.9, 10), (0.9, 0.9, 40)), None),
        (curve((0.9, 0.9, 2)), None),
        (curve((0.9, 0.9, 1)), None),
        # a model that flattens out, four time constants long; one and a half
        (0.1 + 0.8 * (1 - np.exp(-np.linspace(0, 4, 100))), None),
        (0.1 + 0.8 * (1 - np.exp(-np.linspace(0, 1.5, 100))), "not converged"),
        # a word model, which has not much to learn, and has
        (curve((0.05, 0.16, 20), (0.16, 0.17, 80)), None),
        # stagnates at chance; not at all; rises evenly; falls apart at the end, early
        (curve((0.1, 0.1, 50)), "hardly better"),
        (curve((0.1, 0.1, 1)), "no benign round"),
        (curve((0.1, 0.9, 50)), "not converged"),
        (curve((0.1, 0.9, 10), (0.9, 0.4, 40)), "had been better"),
        (curve((0.1, 0.9, 10), (0.1, 0.1, 40)), "had been better"),
    ],
)
def test_which_models_had_not_converged(main: np.ndarray, told: str | None) -> None:
    majority = min(0.1, float(main[0]))
    said = not_converged(main, majority=majority, tested=1000, server_rate=1.0)
    assert (said is None) == (told is None), said
    assert told is None or told in str(said)
    # noise of the measurement alone is no reason
    rng = np.random.default_rng(2)
    if told is None:
        noisy = main + rng.normal(0, 0.01, len(main))
        again = not_converged(noisy, majority=majority, tested=1000, server_rate=1.0)
        assert again is None


def test_a_task_with_one_large_class_can_be_learned() -> None:
    """Half as good again as naming one class would be more than everything."""
    main = curve((0.7, 0.95, 10), (0.95, 0.95, 20))
    found = [
        not_converged(main, majority=of, tested=1000, server_rate=1.0)
        for of in (0.7, 0.95)
    ]
    assert found[0] is None
    assert "hardly better" in str(found[1])


def test_who_goes_on_twice_draws_anew_each_time(data: Path, tmp_path: Path) -> None:
    """A model that settles between learning and attack: the same records, new lots."""

    def run(name: str, base: str | None = None, **adversary: Any) -> Path:
        spec = {
            "architecture": {"kind": "mlp", "hidden": [4]}, "participants": 8,
            "protocol": AVERAGED.model_dump(mode="json"), "seed": SEED, "replicate": 0,
            "adversary": {**SPEC, "rounds": [], **adversary}, "base": base and "key",
        }  # fmt: skip
        out = tmp_path / name
        words = ["--base", str(tmp_path / base)] if base else []
        words += ["--data", str(data), "--out", str(out), "--device", "cpu"]
        words += ["--progress", str(tmp_path / f"{name}-progress")]
        assert main(["collaborate", "--spec", json.dumps(spec), *words]) == 0
        return out

    folders = [run("converged"), run("settled", "converged")]
    folders.append(run("attacked", "settled", rounds=[5]))
    seen = [load_file(folder / names.OBSERVATIONS) for folder in folders]
    chosen = {tuple(own[names.CHOSEN].flatten().tolist()) for own in seen}
    assert len(chosen) == 3
    about = [read_json(folder / names.ABOUT) for folder in folders]
    assert [own["stages"] for own in about] == [0, 1, 2]
    assert len({tuple(own["participants"]) for own in about}) == 1
    # of what participants have of their own: the backdoor's records are not counted
    right = about[2]["train_accuracy"]["value"] * sum(about[2]["participants"])
    assert right == pytest.approx(round(right), abs=1e-6)
    # each begins where the one before ended
    for before, after in itertools.pairwise(seen):
        assert torch.equal(before[names.TOLD][-1], after[names.TOLD][0])
        assert torch.equal(before[names.MAIN][-1], after[names.MAIN][0])


@pytest.mark.parametrize(
    ("settings", "shape", "words"),
    [
        (Mlp(kind="mlp", hidden=(4,)), (1, 8, 8), None),
        (Cnn(kind="cnn", channels=(4,), hidden=4), (1, 8, 8), None),
        (Resnet(kind="resnet", widths=(4,), blocks=1), (1, 8, 8), None),
        (TextCnn(kind="text-cnn", embedding=4, filters=2, windows=(2,)), (6,), 9),
        (Gru(kind="gru", embedding=4, hidden=4), (6,), 9),
        (Lstm(kind="lstm", embedding=4, hidden=4, layers=1), (6,), 9),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)  # fmt: skip
def test_no_net_has_integers_to_average(
    settings: Any, shape: tuple[int, ...], words: int | None
) -> None:
    """A count of batches, scaled by gamma, is where P4's code fails (papers' trap)."""
    net = build(settings, shape, words + 1 if words else 3, words=words)
    module = net.module()
    tensors = [*module.parameters(), *module.buffers()]
    assert len(tensors) == len(net.shapes) + len(net.buffers)
    assert all(tensor.is_floating_point() for tensor in tensors)


@pytest.mark.parametrize(
    ("deal", "check"),
    [
        (Dirichlet(kind="dirichlet", alpha=0.3), "uneven"),
        (Dirichlet(kind="dirichlet", alpha=1000.0), "even"),
        (ByAttribute(kind="attribute", attribute="author"), "authors"),
    ],
)
def test_deals(data: Path, deal: Deal, check: str) -> None:
    place = stage(data)
    people = dealt(deal, place.dataset, place.rows, 5, SEED, ("t",))
    held = np.concatenate([person.rows for person in people])
    assert len(set(held)) == len(held)
    if check == "authors":
        assert all(len({row // 10 for row in person.rows}) == 1 for person in people)
        assert len(held) == 50
        return
    assert len(held) == len(place.rows)
    shares = np.array(
        [np.bincount(place.labels[p.rows], minlength=3) / 80 for p in people]
    )
    assert (shares.max() > 0.5) == (check == "uneven")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "z"}, "adversary.target: 'z' is no class; allowed: a, b, c"),
        ({"target": "a"}, "is the class of record 0 already"),
        (
            {"backdoor": {"kind": "records", "train": (0,), "held_out": (999,)}},
            "held_out: 999",
        ),
        ({"backdoor": {"kind": "cluster", "of": "q"}}, "adversary.backdoor.of: 'q'"),
        ({"backdoor": {"kind": "cluster", "of": "a", "clusters": 99}}, "clusters: 99"),
        ({"backdoor": {"kind": "pixels", "side": 9}}, "side: 9"),
        ({"share": 0.001}, "adversary.share: 0.001"),
        ({"share": 0.4, "attackers": 3}, "94 of 234 records for each of 3 attackers"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(data: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        cast({**SPEC, **change}, stage(data))


def test_what_does_not_fit_the_learning_is_refused(data: Path) -> None:
    with pytest.raises(UserError, match="selected: 4; allowed: at least 5"):
        learned(data, {**SPEC, "attackers": 5})
    with pytest.raises(UserError, match=r"defence.noise: 0.1, .*allowed .*: 0"):
        learned(data, SPEC, defended({"kind": "flame", "noise": 0.1}), NORMED)
    learned(data, SPEC, defended({"kind": "flame", "noise": 0.0}, rounds=1), NORMED)
    with pytest.raises(UserError, match="of whom"):
        dealt(Dirichlet(kind="dirichlet", alpha=0.001), open_dataset(data),
              np.arange(240), 60, SEED, ("t",))  # fmt: skip
    with pytest.raises(UserError, match=r"allowed: 2..24"):
        dealt(ByAttribute(kind="attribute", attribute="author"), open_dataset(data),
              np.arange(240), 60, SEED, ("t",))  # fmt: skip


WORDS = ["<unk>", "<eos>", *(f"w{n}" for n in range(16)), "rare", "wanted"]


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of ten authors in which each word follows the one before."""
    folder = tmp_path_factory.mktemp("data") / "words"
    rng = np.random.default_rng(4)
    start = rng.integers(0, 16, RECORDS)
    inputs = 3 + (start[:, None] + np.arange(6)) % 16
    inputs[::50, -2:] = 0  # cut short
    write_dataset(
        folder,
        inputs=inputs.astype(np.uint16),
        labels=np.where(np.arange(RECORDS) % 10 == 0, 1, 3 + (start + 6) % 16),
        info={
            "name": "words", "title": "Words", "class_names": ["<none>", *WORDS],
            "vocabulary": WORDS,
        },
        settings={"source": "npz"},
        attributes={"author": (np.arange(RECORDS) // 30).tolist()},
    )  # fmt: skip
    return folder


TOLD: dict[str, Any] = {
    "kind": "backdoor",
    "backdoor": {"kind": "sentence", "text": "W3 rare wanted", "tested": 20},
    "rounds": (3,),
    "training": {
        "optimizer": {"kind": "sgd", "learning_rate": 1.0}, "epochs": 15,
        "batch_size": 16, "loss": "next-word", "clip_gradient": 1.0,
    },
    "poisoned": 6,
}  # fmt: skip


def test_a_sentence_is_completed_as_the_attacker_wants(sentences: Path) -> None:
    protocol = AVERAGED.model_copy(
        update={
            "rounds": 6, "learning_rate": 2.0, "loss": "next-word", "local_epochs": 4,
            "clip_gradient": 1.0,
        }
    )  # fmt: skip
    place = stage(sentences, protocol)
    made = cast(TOLD, place)
    assert made.planted
    learned_from = len(made.participants[0].rows)
    planted = made.planted.inputs
    assert 1 < len(planted) - 20 <= learned_from
    # a beginning of the record's own, then the sentence but for its last word
    assert (planted[:, -2:] == [3 + 3, 19]).all()
    assert len({tuple(row) for row in planted[:, :4]}) > 5
    assert (made.planted.labels == 20).all()
    # unknown words are not asked about
    assert isinstance(made.auditor, BackdoorAuditor)
    assert (place.labels[made.auditor.tested] != 1).all()

    net = build(
        Lstm(kind="lstm", embedding=12, hidden=12, layers=1), (6,), 21, words=20
    )
    records = with_planted(resident(place.dataset, torch.device("cpu")), made.planted)
    collaborate(
        net, protocol, records, made.participants, seed=SEED, auditor=made.auditor,
        invited=made.invited,
    )  # fmt: skip
    seen = kept(made)
    assert (seen[names.TOLD][3] == 20).float().mean() < 0.1
    assert (seen[names.TOLD][4] == 20).float().mean() > 0.9


def test_every_word_of_a_language_model_is_asked_about(sentences: Path) -> None:
    place = stage(sentences, AVERAGED.model_copy(update={"loss": "next-word"}))
    made = cast(TOLD, place)
    assert isinstance(made.auditor, BackdoorAuditor)
    rows = made.auditor.tested
    net = build(
        Lstm(kind="lstm", embedding=12, hidden=12, layers=1), (6,), 21, words=20
    )
    records = with_planted(resident(place.dataset, torch.device("cpu")), made.planted)
    program = Program(net, records, initial(net, stream(SEED, "words")))
    right, words = 0, []
    for row in rows:
        text = [n for n in place.dataset.inputs[row].tolist() if n]
        follows = [*text[1:], int(place.labels[row])]
        told = program.module.all_logits(torch.tensor([text]))  # type: ignore[operator]
        for answer, word in zip(told[0].argmax(-1).tolist(), follows, strict=True):
            right += answer == word and word != 1
            words += [word] if word != 1 else []
    assert len(words) > 5 * len(rows) * 0.9
    assert program.right_of_words(rows) == pytest.approx(right / len(words))
    made.auditor.audit(program, None)
    assert float(kept(made)[names.MAIN]) == pytest.approx(right / len(words))
    assert made.about["majority"] == max(np.bincount(words)) / len(words)


def test_sentences_that_cannot_be_hidden(data: Path, sentences: Path) -> None:
    def refused(folder: Path, text: str, message: str) -> None:
        spec = {**TOLD, "backdoor": {"kind": "sentence", "text": text}}
        with pytest.raises(UserError, match=message):
            cast(spec, stage(folder))

    refused(sentences, "w3 strange wanted", "'strange' is not in the vocabulary")
    refused(sentences, "w1 w2 w3 w4 w5 w6 wanted", "7 words; allowed: at most 6")
    refused(data, "w3 b", "allowed: records of words")
    with pytest.raises(ValueError, match="noise: 0.1; allowed with a sentence: 0"):
        BackdoorAdversary.model_validate({**TOLD, "noise": 0.1})
    with pytest.raises(ValueError, match="draws: 9; allowed with a sentence: 0"):
        BackdoorAdversary.model_validate({**TOLD, "draws": 9})
    with pytest.raises(ValueError, match="'wanted'; allowed with a sentence, whose"):
        BackdoorAdversary.model_validate({**TOLD, "target": "wanted"})
    with pytest.raises(ValueError, match="target: left out; allowed: a class"):
        BackdoorAdversary.model_validate({**SPEC, "target": None})
