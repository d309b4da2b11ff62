"""Samples of what attacks write, made from known distributions, and checks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.text import Text
from scipy import stats
from sklearn.metrics import roc_curve

from whatelse.figures import style
from whatelse.measures.roc import class_rocs, tpr_at_fpr
from whatelse.records import write_json, write_record
from whatelse.seeding import stream


def make_attack(
    folder: Path,
    *,
    name: str = "shadow",
    grid: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    num_seeds: int = 3,
    num_classes: int = 10,
    gap: float = 1.0,
    per_class: int = 20,
    target: bool = True,
) -> Path:
    """Write the folder of one attack, and return it.

    Members' scores are normal around `gap`, those of non-members around 0; a score
    above gap / 2 calls its record a member. With `gap` = 0 classes 0 and 1 call
    nobody a member.
    """
    replicates, curves, scores = [], [], []
    for seed in range(num_seeds):
        random = stream(seed, "sample", str(grid), name)
        member = np.tile(np.repeat([True, False], per_class), num_classes)
        label = np.repeat(np.arange(num_classes), 2 * per_class)
        shift = gap * random.uniform(0.5, 1.5, num_classes)[label]
        score = random.normal(size=len(member)) + member * shift
        decision = score > gap / 2
        if gap == 0:
            decision &= label > 1
        fpr, tpr, threshold = roc_curve(member, score)
        curves.append(
            pd.DataFrame(
                {"replicate": seed, "fpr": fpr, "tpr": tpr, "threshold": threshold}
            )
        )
        scores.append(
            pd.DataFrame(
                {
                    "replicate": seed,
                    "record": np.arange(len(member)),
                    "label": label,
                    "member": member,
                    "score": score.astype(np.float32),
                    "decision": decision,
                    "true_probability": np.exp(-np.exp(-score)),
                    "entropy": random.uniform(size=len(member)),
                }
            )
        )
        rows = []
        of_classes = class_rocs(score, member, label, [0.1, 0.01, 0.001])
        for number, told in enumerate(of_classes):
            here = label == number
            rows.append(
                {
                    "class": number,
                    "name": str(number),
                    "members": int(member[here].sum()),
                    "non_members": int((~member[here]).sum()),
                    **_measures(member[here], decision[here]),
                    **told,
                    "train_accuracy": _rate(1.0, per_class),
                    "test_accuracy": _rate(0.5 + 0.05 * number % 0.5, per_class),
                }
            )
        accuracy = 0.6 + 0.05 * random.uniform()
        auc = float(np.trapezoid(tpr, fpr))
        replicates.append(
            {
                "replicate": seed,
                "target": {
                    "train_accuracy": _rate(0.999, 1000),
                    "test_accuracy": _rate(accuracy, 1000),
                }
                if target
                else {},
                "attack": {
                    **_measures(member, decision),
                    "auc": _rate(auc, len(member)),
                    "best_balanced_accuracy": _rate(
                        float(1 + (tpr - fpr).max()) / 2, len(member)
                    ),
                    "tpr_at_fpr": {
                        f"{fpr:g}": tpr_at_fpr(score, member, fpr)
                        for fpr in (0.1, 0.01, 0.001)
                    },
                },
                "per_class": rows,
                "controls": {},
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "metrics.json",
        {
            "kind": "membership.shadow",
            "name": name,
            "grid": grid or {},
            "dataset": {
                "name": "location",
                "title": "Location (Foursquare check-ins in Bangkok)",
                "records": 5010,
                "classes": num_classes,
                "stand_in_for": None,
                "remarks": [],
                **(dataset or {}),
            },
            "replicates": replicates,
            "summary": _summary(replicates),
        },
    )
    pd.concat(curves).to_csv(folder / "curves.csv", index=False)
    pd.concat(scores).to_parquet(folder / "scores.parquet")
    write_record(
        folder,
        kind="attack",
        spec={},
        inputs={},
        code=[],
        outputs=["metrics.json", "curves.csv", "scores.parquet"],
    )
    return folder


def make_risk(
    folder: Path, *, what: str = "picture", records: int = 60, num_classes: int = 5,
    alone: bool = False,
) -> Path:  # fmt: skip
    """Write the folder of ``membership.risk``, the exposed ones first, and return it.

    Record r has place r + 1 and a risk that falls from 1 to .2; 8 of either end are
    kept. `alone`: the last class has one record, and no interval.
    """
    place = np.arange(1, records + 1)
    risk = np.linspace(1, 0.2, records)
    kept = (place <= 8) | (place > records - 8)
    about: dict[str, Any] = {"words": [f"thing {n} = 1, other = 2" for n in place]}
    if what == "picture":
        about = {
            "picture": [np.full(12, n, np.uint8).tobytes() for n in place],
            "shape": "1,3,4",
        }
    scores = pd.DataFrame(
        {
            "replicate": 0, "record": place - 1, "label": place % num_classes,
            "risk": risk, "low": risk - 0.15, "high": risk + 0.15,
            "first_half": risk, "second_half": risk[::-1], "place": place, **about,
        }
    )  # fmt: skip
    scores.loc[~kept, list(about)] = None
    curves = pd.DataFrame(
        {
            "replicate": 0, "share": (place - 0.5) / records, "risk": risk,
            "low": risk - 0.15, "high": risk + 0.15, "chance": 0.5,
        }
    )  # fmt: skip
    groups = [
        {
            "class": number,
            "name": f"class {number}",
            "records": 1 if alone and number == num_classes - 1 else records,
            "risk": None
            if alone and number == num_classes - 1
            else {"value": 0.5 + 0.01 * number, "low": 0.45, "high": 0.6},
            "highest": 1.0,
        }
        for number in range(num_classes)
    ]
    measures = {
        "risk_mean": {"value": 0.6},
        "risk_of_exposed": {"value": 0.9},
        "risk_agreement": {"value": 0.4, "low": 0.3, "high": 0.5},
        "exposed_share": {"value": 0.25},
        "exposed_by_chance": {"value": 0.025},
    }
    report = {
        "replicate": 0,
        "models": 36,
        "target": {"train_accuracy": _rate(1.0, 10), "test_accuracy": _rate(0.9, 10)},
        "risk": measures,
        "per_class": groups,
        "per_group": {"age": groups[:2]},
        "controls": {},
    }
    values = {name: [found["value"]] for name, found in measures.items()}
    return _memory(
        folder, "membership.risk", {"name": "risk", "grid": {}}, [report], values,
        curves, scores,
    )  # fmt: skip


def assert_fits(figure: Figure) -> None:
    """Check that all text lies on the page, and no legend over axes."""
    with style.context():
        figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    page = figure.bbox
    parts = [*style.parts_of(figure)]
    for text in figure.findobj(Text):
        if not text.get_text().strip() or not text.get_visible():  # type: ignore[attr-defined]
            continue
        if any(_is_hidden_tick(text, part) for part in parts):
            continue
        box = text.get_window_extent(renderer)
        assert box.x0 >= page.x0 - 1, text
        assert box.x1 <= page.x1 + 1, text
        assert box.y0 >= page.y0 - 1, text
        assert box.y1 <= page.y1 + 1, text
    for part in parts:
        for legend in part.legends:
            box = legend.get_window_extent(renderer)
            for axes in part.axes:
                around = axes.get_tightbbox(renderer)
                assert not box.overlaps(around), "legend over axes"


def _is_hidden_tick(text: Any, part: Any) -> bool:
    """Return whether a tick's text belongs to a tick outside the axis' limits."""
    for axes in part.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if text in (tick.label1, tick.label2):
                    inside = low <= tick.get_loc() <= high
                    return not inside or not axes.axison
    return False


def _rate(value: float, trials: int) -> dict[str, float]:
    margin = 1.96 * np.sqrt(max(value * (1 - value), 1e-6) / trials)
    return {
        "value": float(value),
        "low": float(max(value - margin, 0)),
        "high": float(min(value + margin, 1)),
    }


def _measures(member: np.ndarray, decision: np.ndarray) -> dict[str, Any]:
    called = int(decision.sum())
    hits = int((decision & member).sum())
    return {
        "precision": _rate(hits / called, called) if called else None,
        "recall": _rate(hits / member.sum(), int(member.sum())),
        "accuracy": _rate(float((decision == member).mean()), len(member)),
    }


def _summary(replicates: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    for replicate in replicates:
        rates = {**replicate["target"], **replicate["attack"]}
        for name, rate in rates.items():
            if name != "tpr_at_fpr":
                found.setdefault(name, []).append(rate["value"])
        for fpr, rate in replicate["attack"]["tpr_at_fpr"].items():
            if "value" in rate:
                found.setdefault(f"tpr_at_{fpr}", []).append(rate["value"])
        for measure, how in (
            ("precision", "mean"),
            ("precision", "median"),
            ("recall", "median"),
        ):
            values = [row[measure] for row in replicate["per_class"]]
            known = [value["value"] for value in values if value]
            found.setdefault(f"class_{measure}_{how}", []).append(
                float(getattr(np, how)(known))
            )
    return {name: _spread(values) for name, values in found.items()}


def _spread(values: list[float]) -> dict[str, Any]:
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        std = low = high = None
    else:
        std = float(np.std(values, ddof=1))
        margin = float(stats.t.ppf(0.975, count - 1)) * std / np.sqrt(count)
        low, high = mean - margin, mean + margin
    return {
        "mean": mean,
        "std": std,
        "count": count,
        "low": low,
        "high": high,
        "values": values,
    }


def make_decode(
    folder: Path,
    *,
    name: str = "lsb",
    grid: dict[str, Any] | None = None,
    dataset: dict[str, Any] | None = None,
    num_seeds: int = 2,
    records: int = 20,
    shape: tuple[int, ...] = (6, 5),
    noise: float = 0.0,
    decoders: tuple[str, ...] = ("published",),
    carrier: dict[str, Any] | None = None,
    **more: list[float],
) -> Path:
    """Write the folder of ``memorization.decode``, and return it.

    Pixel i of record r is i + r; every pixel comes out `noise` levels too bright, of a
    second decoder ten more. The weights of the benign model fill two bins evenly,
    those of the tampered one by 3 : 1. `more` are further metrics, a value a seed.
    """
    is_text = len(shape) == 1
    size = int(np.prod(shape))
    frames, replicates = [], []
    for seed in range(num_seeds):
        truth = np.add.outer(np.arange(records), np.arange(size)).astype(np.uint8)
        for number, decoder in enumerate(decoders):
            off = int(noise) + 10 * number
            decoded = truth + np.uint8(off)
            quality = (
                {"token_precision": 0.5, "token_recall": 0.4, "cosine_similarity": 0.3}
                if is_text
                else {"mape": float(off), "ssim": 1 - off / 255}
            )
            frames.append(
                pd.DataFrame(
                    {
                        "replicate": seed,
                        "decoder": decoder,
                        "record": 100 + np.arange(records)[::-1],
                        **quality,
                        "truth": [row.tobytes() for row in truth],
                        "decoded": [row.tobytes() for row in decoded],
                        "shape": ",".join(map(str, shape)),
                    }
                )
            )
        test, benign = 0.9 + 0.01 * seed, 0.925
        replicates.append(
            {
                "replicate": seed,
                "target": {
                    "test_accuracy": _rate(test, 1000),
                    "benign_test_accuracy": _rate(benign, 1000),
                },
                "fidelity": {"bit_error_rate": _rate(0.125, 1000), "records": records},
                "controls": {},
            }
        )
    tests = [0.9 + 0.01 * seed for seed in range(num_seeds)]
    values = {
        "test_accuracy": tests,
        "benign_test_accuracy": [0.925] * num_seeds,
        "accuracy_change": [test - 0.925 for test in tests],
        "bit_error_rate": [0.125] * num_seeds,
        "records": [float(records)] * num_seeds,
        "capacity_used": [0.75] * num_seeds,
        **{metric: [value] * num_seeds for metric, value in quality.items()},
        **more,
    }
    if not is_text:
        values["mape"] = [float(noise)] * num_seeds
    if len(decoders) > 1:
        values["mape_published"] = [noise + 10.0] * num_seeds
    bins = [
        {"replicate": seed, "model": model, "low": low, "high": low + 1, "share": share}
        for seed in range(num_seeds)
        for model, shares in (("tampered", (0.75, 0.25)), ("benign", (0.5, 0.5)))
        for low, share in zip((-1.0, 0.0), shares, strict=True)
    ]
    return _memory(
        folder,
        "memorization.decode",
        {"name": name, "grid": grid or {}, "dataset": dataset or {}},
        replicates,
        values,
        pd.DataFrame(bins),
        pd.concat(frames, ignore_index=True),
        carrier,
    )


def make_low_bits(
    folder: Path,
    *,
    name: str = "sweep",
    grid: dict[str, Any] | None = None,
    last: tuple[int, ...] = (19, 18),
    wrong: tuple[int, ...] = (),
    most: int = 23,
) -> Path:
    """Write the folder of ``memorization.low-bits``, a seed for each of `last`.

    Accuracy is .9 up to `last` and falls by 4 points for each further bit; at the b of
    `wrong` the first seed did not read back what was written.
    """
    rows = [
        {
            "replicate": seed,
            "bits": bits,
            "test_accuracy": 0.9 - 0.04 * max(bits - end, 0),
            "exact": int(seed > 0 or bits not in wrong),
        }
        for seed, end in enumerate(last)
        for bits in range(1, most + 1)
    ]
    return _memory(
        folder,
        "memorization.low-bits",
        {"name": name, "grid": grid or {}},
        [
            {
                "replicate": seed,
                "target": {"test_accuracy": _rate(0.9, 1000)},
                "fidelity": {"lossless_bits": end},
                "controls": {},
            }
            for seed, end in enumerate(last)
        ],
        {"lossless_bits": list(last), "test_accuracy": [0.9] * len(last)},
        pd.DataFrame(rows),
        pd.DataFrame(rows)[["replicate", "bits", "exact"]],
    )


def make_scrub(
    folder: Path,
    scrubs: dict[str, tuple[float, float, float]],
    *,
    name: str = "lsb",
    grid: dict[str, Any] | None = None,
    fidelity: str = "bit_error_rate",
    num_seeds: int = 2,
) -> Path:
    """Write the folder of ``memorization.scrub``.

    `scrubs` holds payload left, fidelity and change of accuracy of the first seed by
    scrub; every further seed loses another point of accuracy.
    """
    rows = [
        {
            "replicate": seed,
            "order": order,
            "scrub": scrub,
            "test_accuracy": 0.9 + change - 0.01 * seed,
            "accuracy_change": change - 0.01 * seed,
            "payload_left": left,
            fidelity: quality,
        }
        for seed in range(num_seeds)
        for order, (scrub, (left, quality, change)) in enumerate(scrubs.items())
    ]
    return _memory(
        folder,
        "memorization.scrub",
        {"name": name, "grid": grid or {}},
        [
            {"replicate": seed, "target": {}, "fidelity": {}, "controls": {}}
            for seed in range(num_seeds)
        ],
        {"test_accuracy": [0.9] * num_seeds, "accuracy_change": [0.0] * num_seeds},
        pd.DataFrame(rows),
        pd.DataFrame(rows),
    )


def make_detect(
    folder: Path, *, name: str = "audit", grid: dict[str, Any] | None = None,
    detected: tuple[float, ...] = (1.0, 0.0),
) -> Path:  # fmt: skip
    """Write the folder of ``memorization.detect``, a seed for each of `detected`."""
    rows = pd.DataFrame(
        {
            "replicate": np.arange(len(detected)),
            "role": "suspect",
            "model": 0,
            "score": detected,
            "flagged": [bool(value) for value in detected],
            "fired": "low bits",
        }
    )
    return _memory(
        folder,
        "memorization.detect",
        {"name": name, "grid": grid or {}},
        [
            {
                "replicate": seed,
                "detection": {"detected": value, "false_alarms": _rate(0.05, 20)},
                "controls": {},
            }
            for seed, value in enumerate(detected)
        ],
        {"detected": list(detected), "false_alarms": [0.05] * len(detected)},
        pd.DataFrame([{"low bits": 3.0}]),
        rows,
    )


def _memory(
    folder: Path,
    kind: str,
    head: dict[str, Any],
    replicates: list[dict[str, Any]],
    values: dict[str, list[float]],
    curves: pd.DataFrame,
    scores: pd.DataFrame,
    carrier: dict[str, Any] | None = None,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / "metrics.json",
        {
            "kind": kind,
            **head,
            "dataset": {
                "name": "digits",
                "title": "Digits",
                "records": 1797,
                "classes": 10,
                "stand_in_for": None,
                "remarks": [],
                **head.get("dataset", {}),
            },
            "replicates": replicates,
            "summary": {metric: _spread(own) for metric, own in values.items()},
        },
    )
    curves.to_csv(folder / "curves.csv", index=False)
    scores.to_parquet(folder / "scores.parquet")
    write_record(
        folder,
        kind="attack",
        spec={"carrier": carrier},
        inputs={},
        code=[],
        outputs=["metrics.json", "curves.csv", "scores.parquet"],
    )
    return folder
