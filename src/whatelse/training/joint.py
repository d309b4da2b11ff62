"""What reports on joint models have in common."""

from collections.abc import Sequence
from typing import Any

from whatelse.findings import Inputs, replicates_of
from whatelse.measures.spread import Spread, spread
from whatelse.records import read_json
from whatelse.training.observations import ABOUT

_ACCURACIES = ("test_accuracy", "train_accuracy", "task_majority")


def about_joint(inputs: Inputs) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return what a report says of each joint model, and facts of its adversary.

    The former are accuracies and privacy, with the test accuracy of joint models
    without an adversary, where a study names some.
    """
    found = []
    alone = replicates_of(inputs, "alone")
    for number, (folder,) in enumerate(replicates_of(inputs, "observations")):
        about = read_json(folder / ABOUT)
        target = {name: about[name] for name in _ACCURACIES}
        if alone:
            (other,) = alone[number]
            target["alone_test_accuracy"] = read_json(other / ABOUT)["test_accuracy"]
        report = {"target": target, "privacy": about["privacy"]}
        found.append((report, about["adversary"]))
    return found


def summary_of(
    reports: Sequence[dict[str, Any]], more: dict[str, list[float | None]]
) -> dict[str, Spread]:  # fmt: skip
    """Return spreads over seeds: of `more`, then of accuracies and epsilon."""
    columns = dict(more)
    for name in reports[0]["target"]:
        columns[name] = [report["target"][name]["value"] for report in reports]
    if reports[0]["privacy"]:
        columns["epsilon"] = [report["privacy"]["epsilon"] for report in reports]
    return {name: spread(values) for name, values in columns.items()}
