"""Hill climbing (P1 Algorithm 1): all records at once, and one after the other.

The target of ``config/studies/membership-location-shadows.yaml`` is trained first.
Then both ways search for records of all classes in turn, in one process, on one thread
and in several rounds. One asks the target about every record that is not finished at
once, the other is the algorithm as it stands in the paper. ``docs/performance.md`` has
the result.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# before anything imports NumPy or torch: equal bytes need an equal thread count
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import yaml

from whatelse import records
from whatelse.cli import main as whatelse
from whatelse.datasets.store import open_dataset
from whatelse.errors import UserError
from whatelse.membership.domain import Domain, domain_of
from whatelse.membership.model_based import climb
from whatelse.membership.shadow_data_settings import ModelBased, SynthesisSpec
from whatelse.membership.synthesise import Ask, Target
from whatelse.seeding import stream
from whatelse.studies.resolve import Artefact, Resolved, load_study
from whatelse.training.blocks import load_block

ROOT = Path(__file__).resolve().parents[1]
STUDY = ROOT / "config/studies/membership-location-shadows.yaml"
REGISTRY = ROOT / "data/datasets.yaml"


def one_after_the_other(
    ask: Ask, domain: Domain, wanted: int, settings: ModelBased,
    rng: np.random.Generator,
) -> tuple[bool, int]:  # fmt: skip
    """Search for one record of a class, as P1's Algorithm 1 stands in the paper.

    Returns
    -------
    (bool, int)
        Whether it was found, and the queries.
    """
    features = domain.num_features
    record = domain.draw(rng, 1)
    best, confidence, rejected = record, 0.0, 0
    k_max = min(settings.k_max, features)
    k, k_min = k_max, min(settings.k_min, k_max)
    for iteration in range(settings.iter_max):
        answer = ask(record)[0]
        if answer[wanted] >= confidence:
            sure = answer[wanted] > settings.conf_min and answer.argmax() == wanted
            if sure and rng.random() < answer[wanted]:
                return True, iteration + 1
            best, confidence, rejected = record, answer[wanted], 0
        else:
            rejected += 1
            if rejected > settings.rej_max:
                k, rejected = max(k_min, -(-k // 2)), 0
        chosen = rng.choice(features, k, replace=False)
        record = best.copy()
        words = rng.integers(0, 2**32, k, dtype=np.uint32)
        record[0, chosen] = domain.values(chosen, words)
    return False, settings.iter_max


def target_of(
    folder: Path, epochs: int, raw: Path
) -> tuple[Ask, Domain, SynthesisSpec, int]:  # fmt: skip
    """Train the study's target; return how to ask it, and what is searched for."""
    resolved = load_study(_study(folder, epochs), folder / "results", replicates=1)
    (spec,) = (
        artefact
        for artefact in resolved.of("synthesise")
        if artefact.spec["settings"]["kind"] == "model-based"
    )
    data, block = Path(spec.inputs["data"][0]), Path(spec.inputs["block"][0])
    for artefact in _upstream(resolved, spec):
        _make(artefact, folder, raw)
    told = SynthesisSpec.model_validate_json(spec.spec_json)
    dataset = open_dataset(data)
    assert told.release is not None
    device = torch.device("cpu")
    target = Target(load_block(block), told.release, dataset, device)
    return target.ask, domain_of(dataset), told, dataset.num_classes


def _study(folder: Path, epochs: int) -> Path:
    study = yaml.safe_load(STUDY.read_text(encoding="utf-8"))
    for model in study["models"].values():
        model["training"]["epochs"] = epochs or model["training"]["epochs"]
    study["figures"], study["claims"] = {}, []
    path = folder / STUDY.name
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


def _upstream(resolved: Resolved, of: Artefact) -> list[Artefact]:
    wanted = {folder for folders in of.inputs.values() for folder in folders}
    return [artefact for artefact in resolved.artefacts if artefact.folder in wanted]


def _make(artefact: Artefact, folder: Path, raw: Path) -> None:
    spec = ["--spec", artefact.spec_json, "--out", artefact.folder]
    words = ["datasets", "prepare", *spec, "--raw", str(raw), "--registry", str(REGISTRY)]  # fmt: skip  # noqa: E501
    if artefact.kind == "dataset":
        source, fetch = artefact.spec["source"], ["--raw", str(raw)]
        fetch += ["--registry", str(REGISTRY)]
        if whatelse(["datasets", "fetch", source, *fetch]):
            raise UserError("fetch failed: its line stands above")
    else:
        words = [
            "train", *spec, "--data", *artefact.inputs["data"], "--device", "cpu",
            "--models", artefact.labels["models"], "--progress", str(folder / "p"),
        ]  # fmt: skip
    if whatelse(words):
        raise UserError(f"{artefact.kind} failed: its line stands above")


def measure(
    ask: Ask, domain: Domain, spec: SynthesisSpec, num_classes: int, *, rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return records a CPU second of both ways, a dict a round.

    By the clock, what else runs on the machine counts, and hits the one or the other.
    """
    settings = spec.settings
    assert isinstance(settings, ModelBased)
    wanted = np.arange(spec.records) % num_classes
    found = []
    for number in range(rounds):
        began = time.process_time()
        name = ("benchmark", number)
        climbed = climb(ask, domain, wanted, settings, seed=spec.seed, name=name)
        batched = int(climbed.found.sum()) / (time.process_time() - began)
        rng = stream(spec.seed, "one", number)
        done = queries = searched = 0
        began = time.process_time()
        while (taken := time.process_time() - began) < seconds or not searched:
            one = one_after_the_other(
                ask, domain, int(wanted[searched % len(wanted)]), settings, rng
            )
            done, queries, searched = done + one[0], queries + one[1], searched + 1
        found.append(
            {
                "batched": batched,
                "one_by_one": done / taken,
                "ratio": batched * taken / done if done else None,
                "batched_queries": float(climbed.queries.mean()),
                "one_by_one_queries": queries / searched,
                "one_by_one_records": searched,
                "failed": int((~climbed.found).sum()),
            }
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and write one JSON.

    Returns
    -------
    int
        0; 2 after bad input.
    """
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="of CPU, searching one by one, a round",
    )
    parser.add_argument("--records", type=int, help="default: as many as the study")
    parser.add_argument(
        "--epochs", type=int, default=0, help="of the target; default: the study's"
    )
    parser.add_argument(
        "--raw", type=Path, default=ROOT / "resources", help="where fetched files lie"
    )
    parser.add_argument("--out", type=Path, help="write a JSON file")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        for option in ("rounds", "seconds"):
            if (value := getattr(args, option)) <= 0:
                raise UserError(f"--{option}: {value}; allowed: above 0")
        with tempfile.TemporaryDirectory() as place:
            ask, domain, spec, classes = target_of(Path(place), args.epochs, args.raw)
            if args.records:
                spec = spec.model_copy(update={"records": args.records})
            rows = measure(
                ask, domain, spec, classes, rounds=args.rounds, seconds=args.seconds
            )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in rows:
        print(
            f"{spec.records:,} records at once: {row['batched']:,.0f} a CPU second, "
            f"{row['batched_queries']:.1f} queries each; one by one: "
            f"{row['one_by_one']:,.1f} a second, {row['one_by_one_queries']:.1f} "
            f"queries each ({row['one_by_one_records']} records); ratio "
            f"{row['ratio'] or 0:.1f}"
        )
    ratios = [row["ratio"] or 0.0 for row in rows]
    print(f"ratio: median {np.median(ratios):.1f}, least {min(ratios):.1f}")
    if args.out:
        about = {"settings": spec.settings.model_dump(), "records": spec.records}
        versions = records.versions()
        records.write_json(args.out, {**about, "rounds": rows, "versions": versions})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
