"""Figures of the backdoors question, drawn from what the attack really writes."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from figure_samples import assert_fits
from matplotlib.figure import Figure
from matplotlib.text import Text
from pydantic import TypeAdapter
from safetensors.torch import save_file

from whatelse.backdoors import evaluate
from whatelse.backdoors.kept import DRAWN_OF, DRAWN_SURE, GIVEN, OWN_DRAWN_SURE
from whatelse.claims.judge import FOUND
from whatelse.datasets.store import write_dataset
from whatelse.errors import UserError
from whatelse.figures import (
    backdoor_sheet,
    backdoor_table,
    results,
    rounds,
    settings,
    updates,
)
from whatelse.findings import AttackSpec, Findings
from whatelse.records import RECORD, write_json
from whatelse.training import observations as names

MODULES: dict[str, Any] = {
    "rounds": rounds, "updates": updates, "backdoor_table": backdoor_table,
    "backdoor_sheet": backdoor_sheet,
}  # fmt: skip
SETTINGS: TypeAdapter[Any] = TypeAdapter(settings.FigureSettings)
ROUNDS, HELD, START, DRAWS = 6, 12, 2, 24


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_dataset(
        folder,
        inputs=np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8),
        labels=np.arange(40) % 3,
        info={"name": "toy", "title": "Toy", "class_names": ["a", "b", "c"]},
        settings={"source": "npz"},
    )
    return folder


def joint(
    folder: Path, *, main: float = 0.9, drawn: bool = True, by_lot: bool = False
) -> Path:
    """Write what was kept of a joint model that was attacked in its third round."""
    folder.mkdir(parents=True)
    told = torch.zeros(ROUNDS + 1, HELD, dtype=torch.int64)
    told[START + 1 :] = 1  # the target
    told[-2, : HELD // 4 * 3] = 0  # it falls
    told[-1, : HELD // 3 * 2] = 0  # and rises
    attack = torch.arange(ROUNDS) == START
    chosen = torch.tensor([[0, 3, 5]] * ROUNDS)
    norms = torch.full((ROUNDS, 3), 0.5)
    norms[START, 0] = 50.0
    shares = torch.full((ROUNDS, 3), 1 / 3)
    shares[START, 0] = 1 / 6
    sure = torch.where(told == 1, 0.9, 0.05) + torch.linspace(0, 0.05, HELD)
    kept = {
        names.MAIN: torch.full((ROUNDS + 1,), main),
        names.TOLD: told, names.SURE: sure,
        names.ATTACK: attack, names.CHOSEN: chosen, names.SHARES: shares,
        names.NORMS: norms, names.COSINES: torch.zeros(ROUNDS, 3),
        names.OWN_TOLD: torch.ones(1, HELD, dtype=torch.int64),
        names.OWN_SURE: 0.95 + torch.linspace(0, 0.04, HELD).unsqueeze(0),
        names.OWN_MAIN: torch.tensor([main - 0.02]),
        names.USUAL_SURE: torch.rand(1, 30, generator=torch.Generator().manual_seed(1)),
        names.RECORDS: torch.arange(HELD),
        GIVEN: torch.full((HELD, 1, 8, 8), 7, dtype=torch.uint8),
    }  # fmt: skip
    if drawn:
        kept[names.DRAWN] = (told == 1).float().mean(1) * 0.9
        of = torch.arange(DRAWS) % (HELD - 1)  # the last image was never drawn
        kept[DRAWN_OF], kept[DRAWN_SURE] = of, sure[:, of]
        kept[OWN_DRAWN_SURE] = kept[names.OWN_SURE][:, of]
        kept[names.SPILL] = torch.arange(ROUNDS + 1) / 10
    save_file(kept, folder / names.OBSERVATIONS)
    write_json(
        folder / names.ABOUT,
        {
            "participants": [10] * 6, "privacy": None,
            "test_accuracy": {"value": main, "low": main, "high": main},
            "train_accuracy": {"value": main, "low": main, "high": main},
            "task_majority": {"value": 0.1, "low": 0.1, "high": 0.1},
            "adversary": {
                "attackers": 1, "target": "b", "held_out": HELD, "majority": 0.4,
                "by_lot": by_lot,
            },
        },
    )  # fmt: skip
    write_json(folder / RECORD, {"spec": {"protocol": {"server_rate": 0.01}}})
    return folder


def found(tmp_path: Path, data: Path, **more: Any) -> Findings:
    inputs = {f"observations.{n}": [joint(tmp_path / f"{n}", **more)] for n in range(2)}
    spec = AttackSpec(
        study="s", name="shot", grid={}, seed=1,
        settings={"kind": "backdoors.evaluate"},
    )  # fmt: skip
    return evaluate.find(spec, {**inputs, "data": [data]})


def test_what_is_measured(tmp_path: Path, data: Path) -> None:
    got = found(tmp_path, data)
    attack = got.metrics["replicates"][0]["attack"]
    assert (attack["first_round"], attack["rounds_kept"]) == (2, 2)
    assert (attack["backdoor_before"], attack["backdoor_after"]) == (0, 1)
    assert attack["backdoor_final"] == pytest.approx(1 / 3)
    assert attack["backdoor_lowest"] == pytest.approx(1 / 4)
    assert attack["backdoor_mean"] == pytest.approx((1 + 1 + 1 / 4 + 1 / 3) / 4)
    assert attack["norm_ratio"] == pytest.approx(100)
    assert attack["taken"] == pytest.approx(0.5)
    assert attack["drawn_after"] == pytest.approx(0.9)
    assert attack["drawn_mean"] == pytest.approx(0.9 * attack["backdoor_mean"])
    assert attack["drawn_lowest"] == pytest.approx(0.9 / 4)
    assert attack["spill_before"] == pytest.approx(0.2)
    assert attack["spill_after"] == pytest.approx(0.3)
    assert got.metrics["replicates"][0]["warning"] is None
    controls = got.metrics["replicates"][0]["controls"]
    assert controls["positive"]["auc"]["low"] > FOUND
    assert "24 draws of 12 held-out records" in controls["positive"]["what"]
    assert controls["negative"]["p_value"] > 0.01
    assert got.metrics["summary"]["backdoor_after"]["mean"] == 1
    assert set(got.scores["before"]) == {"a"}
    assert set(got.scores["after"]) == {"b"}
    # what the model was given, not what the data set has
    assert set(got.scores["picture"]) == {bytes([255] * 64)}
    sure = got.scores["drawn_sure_after"].to_numpy()[:HELD]
    np.testing.assert_allclose(sure[:-1], got.scores["sure_after"][: HELD - 1])
    assert np.isnan(sure[-1])
    changes = got.curves[got.curves["what"] == "change"]
    assert changes["malicious"].sum() == 2
    assert len(changes) == 2 * ROUNDS * 3


def test_means_of_attackers_by_lot_are_over_all_rounds(
    tmp_path: Path, data: Path
) -> None:
    """P4 Fig. 4b: the rounds before anybody attacks count too."""
    got = found(tmp_path, data, by_lot=True)
    attack = got.metrics["replicates"][0]["attack"]
    assert attack["backdoor_mean"] == pytest.approx((1 + 1 + 1 / 4 + 1 / 3) / ROUNDS)
    assert attack["drawn_mean"] == pytest.approx(0.9 * attack["backdoor_mean"])


def test_what_was_not_measured_is_left_out(tmp_path: Path, data: Path) -> None:
    attack = found(tmp_path, data, drawn=False).metrics["replicates"][0]["attack"]
    assert not {"drawn_mean", "drawn_lowest", "spill_after"} & set(attack)
    assert attack["backdoor_lowest"] == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("learned", "holds"),
    [((0, 1, 2, 3), True), ((3,), False), ((), False)],
    ids=["planted", "of one image", "not learned"],
)
def test_the_positive_control_of_four_images(
    learned: tuple[int, ...], holds: bool
) -> None:
    """P4's walls: 200 draws of four images, where intervals over images tell nothing.

    An attackers' model that has not learned it is a little surer of each draw, as any
    two models differ: that must not pass.
    """
    rng = np.random.default_rng(3)
    of = rng.integers(4, size=200)
    # images differ in how much they look like the target, draws of one a little
    logit = np.array([-6.0, -5.0, -4.0, -3.0])[of] + rng.normal(size=200)
    own = logit + 0.1 + rng.normal(0, 0.05, 200)
    own[np.isin(of, learned)] += 7
    assert (own > logit).mean() > 0.9  # by signs all of them pass

    def sure(values: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-values)))[None].astype(np.float32)

    nothing = np.zeros((1, 4), np.int64)
    seen = {
        names.OWN_SURE: sure(np.zeros(4)), names.SURE: sure(np.zeros(4)),
        names.TOLD: nothing, names.USUAL_SURE: rng.random((1, 60)),
        DRAWN_SURE: sure(logit), OWN_DRAWN_SURE: sure(own), DRAWN_OF: of,
    }  # fmt: skip
    control = evaluate._controls(seen, 0, rng)["positive"]
    assert control["auc"]
    assert (control["auc"]["low"] > FOUND) == holds
    assert "200 draws of 4 held-out records" in control["what"]


def test_the_control_without_draws_is_asked_of_the_records() -> None:
    rng = np.random.default_rng(3)
    own, before = rng.uniform(0.8, 1, (1, 27)), rng.uniform(0, 0.1, (1, 27))
    seen = {
        names.OWN_SURE: own, names.SURE: before, names.USUAL_SURE: rng.random((1, 60)),
        DRAWN_SURE: before[:, :5], OWN_DRAWN_SURE: before[:, :5],
    }  # fmt: skip
    # five draws would tell less than the 27 images
    control = evaluate._controls(seen, 0, rng)["positive"]
    assert control["auc"]
    assert control["auc"]["low"] > FOUND
    assert "by 27 held-out records" in control["what"]


def test_a_model_that_learned_nothing_is_told(tmp_path: Path, data: Path) -> None:
    """P4's trap: a replacement of a model that has not converged shows nothing."""
    warning = found(tmp_path, data, main=0.41).metrics["replicates"][0]["warning"]
    assert "hardly better than naming one class" in warning
    assert "server_rate" in warning
    remarks = found(tmp_path / "again", data, main=0.41).dataset["remarks"]
    assert remarks == [warning]


def test_a_model_that_nobody_attacked_is_refused(tmp_path: Path, data: Path) -> None:
    folder = joint(tmp_path / "0")
    save_file({names.MAIN: torch.ones(3)}, folder / names.OBSERVATIONS)
    spec = AttackSpec(study="s", name="a", grid={}, seed=1, settings={})
    with pytest.raises(UserError, match="no round of an attack"):
        evaluate.find(spec, {"observations.0": [folder], "data": [data]})


def drawn(
    tmp_path: Path, data: Path, kind: str, **more: Any
) -> tuple[Figure, pd.DataFrame]:
    folders = []
    for name in ("shot", "baseline"):
        got = found(tmp_path / name / "joint", data)
        folder = tmp_path / name / "attack"
        folder.mkdir(parents=True)
        about = {k: v for k, v in got.dataset.items() if k != "class_names"}
        head: dict[str, Any] = {"kind": "backdoors.evaluate", "name": name, "grid": {}}
        write_json(folder / "metrics.json", {**head, "dataset": about, **got.metrics})
        got.scores.to_parquet(folder / "scores.parquet", index=False)
        got.curves.to_csv(folder / "curves.csv", index=False)
        folders.append(folder)
    asked = SETTINGS.validate_python(
        {"kind": kind, "attacks": ["shot", "baseline"], "title": "A title", **more}
    )
    loaded = results.load(folders, asked.attacks, asked.draws)
    figure, table = MODULES[kind].draw(asked, loaded)
    return figure, table


def said(figure: Figure) -> str:
    items = [item.get_text() for item in figure.findobj(Text)]
    return " ".join(" ".join(text for text in items if text).split())


@pytest.mark.parametrize("kind", MODULES)
def test_figures_fit(tmp_path: Path, data: Path, kind: str) -> None:
    figure, table = drawn(tmp_path, data, kind)
    assert_fits(figure)
    assert set(table["attack"]) == {"shot", "baseline"}


def test_rounds_begin_with_the_attack(tmp_path: Path, data: Path) -> None:
    figure, table = drawn(tmp_path, data, "rounds", backdoor="drawn")
    panels = [axes for part in figure.subfigs for axes in part.axes]
    assert len(panels) == 2
    marks = [line for line in panels[0].lines if line.get_linestyle() == ":"]
    assert [float(np.asarray(line.get_xdata())[0]) for line in marks] == [2.5]
    assert table["round"].max() == ROUNDS
    assert "backdoor, shifted" in said(figure)


def test_a_table_has_columns_of_shifted_images(tmp_path: Path, data: Path) -> None:
    figure, table = drawn(tmp_path, data, "backdoor_table")
    assert table["drawn_lowest_mean"].tolist() == pytest.approx([0.9 / 4] * 2)
    assert table["backdoor_after_mean"].tolist() == [1, 1]
    assert table["rounds_kept_mean"].tolist() == [2, 2]
    assert "Kept: rounds from when half" in said(figure)
    assert "Shifted: of the same images" in said(figure)


@pytest.mark.parametrize(
    ("after", "kept"),
    [([1, 0.5, 0.4, 0.9], 2), ([0, 0.2, 0.9, 0.8, 0.3], 2), ([0.4, 0], 0), ([1], 1)],
)
def test_what_comes_late_is_kept_from_then_on(after: list[float], kept: int) -> None:
    assert evaluate._kept(np.array(after)) == kept


def test_a_sheet_says_before_and_after(tmp_path: Path, data: Path) -> None:
    figure, table = drawn(tmp_path, data, "backdoor_sheet", columns=4, rows=2)
    assert len(table) == 2 * 8
    words = said(figure)
    assert words.count("before: a") == 16
    assert words.count("after: b") == 16
    assert "replicate 0 alone" in words
    assert "of several classes, which attackers want to be b." in words
    with pytest.raises(UserError, match=r"replicate: 7; allowed: 0..1"):
        drawn(tmp_path / "more", data, "backdoor_sheet", replicate=7)
