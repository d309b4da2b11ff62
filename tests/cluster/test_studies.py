"""The demo and, on real data, the Location study, one seed each, through SLURM."""

import os
import shutil
from pathlib import Path

import pytest

from conftest import Submitter
from whatelse import records

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

STUDIES = ("membership-digits", "membership-location")


def test_demo_and_location(submitter: Submitter) -> None:
    mirror = Path(os.environ.get("WHATELSE_MIRROR", ""))
    if not (mirror / "location").is_dir():
        pytest.skip("no mirror of the Location data: see WHATELSE_MIRROR")
    shutil.copy2(submitter.root / "demo.yaml", submitter.study)  # not the small one
    paths = [f"config/studies/{study}.yaml" for study in STUDIES]
    said = submitter.whatelse(
        "run", "--profile", "slurm", "--replicates", "1", *paths,
        WHATELSE_MIRROR=str(mirror),
    ).stdout  # fmt: skip

    blocks = len(list(submitter.results.glob("models/*/*/record.json")))
    attacks = len(list(submitter.results.glob("attacks/*/*/record.json")))
    assert (blocks, attacks) == (3 + 4, 3 + 8)
    assert submitter.slurm.num_submitted() <= 1 + -(-attacks // 4)
    assert "controls: all hold" in said
    for study in STUDIES:
        claims = records.read_json(submitter.results / "claims" / study / "claims.json")
        assert claims["counts"]["reproduced"] >= 1  # a trend wants more seeds
    for path in submitter.results.rglob(records.RECORD):
        for name, digest in records.read_json(path)["outputs"].items():
            assert records.file_digest(path.parent / name) == digest
    again = submitter.whatelse(
        "run", "--replicates", "1", *paths, WHATELSE_MIRROR=str(mirror)
    )
    assert "Nothing to do" in again.stdout
