"""``whatelse show``: print the results of studies as a table."""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from whatelse.measures.rough import LEGEND, is_rough
from whatelse.records import read_json, write_json
from whatelse.studies.resolve import Resolved, load_study
from whatelse.terminal import print_table

_COLUMNS = {
    "membership": (
        ("train acc.", "train_accuracy"),
        ("test acc.", "test_accuracy"),
        ("attack acc.", "accuracy"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("AUC", "auc"),
        ("TPR at 1%", "tpr_at_0.01"),
        ("at 0.1%", "tpr_at_0.001"),
        ("epsilon", "epsilon"),
        ("at least", "epsilon_lower"),
        ("queries", "queries"),
        ("synthesis", "synthesis_queries"),
    ),
    "memorization": (
        ("test acc.", "test_accuracy"),
        ("change", "accuracy_change"),
        ("bit errors", "bit_error_rate"),
        ("MAPE", "mape"),
        ("min-max", "mape_published"),
        ("floor", "mape_floor"),
        ("SSIM", "ssim"),
        ("token precision", "token_precision"),
        ("token recall", "token_recall"),
        ("cosine", "cosine_similarity"),
        ("capacity used", "capacity_used"),
        ("lossless bits", "lossless_bits"),
        ("payload left", "payload_left"),
        ("by scrub", "scrub_change"),
        ("detected", "detected"),
        ("false alarms", "false_alarms"),
    ),
    "properties": (
        ("train acc.", "train_accuracy"),
        ("test acc.", "test_accuracy"),
        ("correlation", "task_correlation"),
        ("dense rounds", "dense_rounds"),
        ("precision", "precision"),
        ("recall", "recall"),
        ("AUC", "auc"),
        ("epsilon", "epsilon"),
        ("property", "property_probe"),
        ("random weights", "property_probe_random"),
        ("majority", "property_majority"),
        ("attribute", "attribute_accuracy"),
        ("de-censored", "decensored_accuracy"),
        ("attr. majority", "attribute_majority"),
    ),
    "backdoors": (
        ("main before", "main_before"),
        ("change", "main_change"),
        ("backdoor before", "backdoor_before"),
        ("after", "backdoor_after"),
        ("mean", "backdoor_mean"),
        ("at the end", "backdoor_final"),
        ("rounds kept", "rounds_kept"),
    ),
}
_ROUGH = "*"
_SIGNED = ("accuracy_change", "scrub_change", "main_change")
_IF_ANY = ("dense_rounds",)  # of no interest where they are 0
_COUNTS = ("queries", "synthesis_queries")
_IF_KNOWN = ("tpr_at", "epsilon", *_COUNTS)  # of membership; the others always stand


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.add_argument("studies", nargs="+", type=Path, metavar="STUDY.yaml")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument(
        "--summary", type=Path, metavar="FOLDER",
        help="also write the means, a small JSON file an attack, e.g. for DVC",
    )  # fmt: skip


def run(args: argparse.Namespace) -> None:
    """Print every study."""
    for path in args.studies:
        resolved = load_study(path, args.results)
        print_results(resolved)
        if args.summary:
            write_summary(args.summary / resolved.study.study, resolved)


def write_summary(folder: Path, resolved: Resolved) -> None:
    """Write a flat JSON file of means for each attack that has run; remove others."""
    written = set()
    for artefact in resolved.of("attack"):
        path = Path(artefact.folder, "metrics.json")
        if not path.exists():
            continue
        summary = read_json(path)["summary"]
        columns = _COLUMNS[resolved.study.question]
        means = {key: summary[key]["mean"] for _, key in columns if key in summary}
        written.add(folder / f"{artefact.labels['instance']}.json")
        write_json(folder / f"{artefact.labels['instance']}.json", means)
    for path in set(folder.glob("*.json")) - written:
        path.unlink()


def print_results(resolved: Resolved) -> None:
    """Print what the attacks of a study found, and the verdicts of its claims."""
    print(f"\n{resolved.study.title}")
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for artefact in resolved.of("attack"):
        path = Path(artefact.folder, "metrics.json")
        metrics = read_json(path) if path.exists() else None
        found.append((artefact.labels, metrics))
    columns = _columns(resolved.study.question, [metrics for _, metrics in found])
    each = {
        metrics["summary"].get("queries", {}).get("mean")
        for _, metrics in found
        if metrics
    }
    if each == {1.0}:  # said below
        columns.remove(("queries", "queries"))
    rows = [["attack", "seeds", *(title for title, _ in columns)]]
    for labels, metrics in found:
        name = labels["instance"]
        if metrics is None:
            rows.append([name, "not run yet"])
            continue
        summary = metrics["summary"]
        if original := labels["stand_in_for"] or metrics["dataset"]["stand_in_for"]:
            name += f" (stand-in for {original})"
        seeds = metrics["replicates"]
        cells = [_cell(key, summary.get(key), seeds) for _, key in columns]
        rows.append([name, str(len(seeds)), *cells])
    print_table(rows)
    if any(cell.endswith(_ROUGH) for row in rows[1:] for cell in row[2:]):
        print(f"  {LEGEND}")
    if each == {1.0}:
        print("  queries: one answer of the target for each record")
    for labels, metrics in found:
        for line in _warnings(metrics["replicates"] if metrics else ()):
            print(f"warning: {labels['instance']}: {line}")
    for artefact in resolved.of("claims"):
        path = Path(artefact.folder, "claims.json")
        if path.exists():
            _print_verdicts(read_json(path))


def _warnings(replicates: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield why results say little, one line an attack: of its first seed that does."""
    said = [one["warning"] for one in replicates if one.get("warning")]
    if said:
        of = "" if len(replicates) == 1 else f"{len(said)} of {len(replicates)} seeds: "
        yield f"{of}{said[0]}"


def _columns(
    question: str, found: Iterable[dict[str, Any] | None]
) -> list[tuple[str, str]]:
    """Return titles and metrics: those that any attack has, and what all might have."""
    known = {
        key
        for metrics in found
        if metrics
        for key, own in metrics["summary"].items()
        if key not in _IF_ANY or own["mean"]
    }
    return [
        (title, key)
        for title, key in _COLUMNS[question]
        if key in known or (question == "membership" and not key.startswith(_IF_KNOWN))
    ]


def _print_verdicts(table: dict[str, Any]) -> None:
    counts = {verdict: n for verdict, n in table["counts"].items() if n}
    if counts:
        print("claims: " + ", ".join(f"{n} {word}" for word, n in counts.items()))
    controls = table["controls"]["claims"]
    failed = [row for row in controls if not row["holds"]]
    print("controls: " + ("FAILED" if failed else "all hold"))
    for row in failed:
        print(f"  {row['claim']}: {row['reason']}")


def _cell(
    key: str, spread: dict[str, Any] | None, replicates: Sequence[Mapping[str, Any]]
) -> str:
    """Return mean and deviation; a rate that few false positives set is marked."""
    if spread is None or spread["mean"] is None:
        return "-"
    if key in _COUNTS:
        mean, std = (
            f"{spread[part] or 0:,.1f}".removesuffix(".0") for part in ("mean", "std")
        )
        return mean if std == "0" else f"{mean} ±{std}"
    form = ",.0f" if abs(spread["mean"]) >= 1000 else ".3f"  # an epsilon may be large
    text = f"{spread['mean']:{'+' if key in _SIGNED else ''}{form}}"
    if spread["std"] is not None:
        text += f" ±{spread['std']:.3f}"
    return text + (_ROUGH if is_rough(key, replicates) else "")
