"""One study, here and through SLURM, in one job or in many: the same files."""

import pytest

from checkouts import Checkout, copy_of
from conftest import Submitter
from whatelse import records

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize(
    ("together", "submitted"),
    # models and attacks; or each block and attack alone
    [(100, 2), (1, 6 + 2)],
)
def test_any_grouping_gives_the_same(
    local: Checkout, submitter: Submitter, together: int, submitted: int
) -> None:
    groups = dict.fromkeys(("models", "attacks"), together)
    submitter.site({"group-components": groups})
    study = str(submitter.study.relative_to(submitter.root))
    submitter.whatelse("plan", study, "--profile", "slurm", "--json", "plan.json")
    submitter.call(*submitter.command())

    assert submitter.records() == local.records()
    for attack in ("shadow", "threshold"):
        assert submitter.metrics(attack) == local.metrics(attack)
    assert submitter.slurm.num_submitted() == submitted
    plan = records.read_json(submitter.root / "plan.json")
    assert plan["submissions"] == submitted
    trained = [
        submitter.telemetry(path.parent)
        for path in submitter.results.glob("models/*/*/telemetry.json")
    ]
    assert sum(t["trained"] + t["ahead"] for t in trained) == 12
    # one ensemble a job
    assert max(t["trained"] + t["ahead"] for t in trained) == min(12, 2 * together)

    # the other way of running finds nothing to do
    assert submitter.planned() == {}
    said = submitter.run().stdout
    assert "Nothing to do" in said


def test_cluster_takes_over_where_this_machine_began(
    local: Checkout, submitter: Submitter
) -> None:
    here = copy_of(local.root, submitter.root.parent / "begun")
    begun = Submitter(here.root, submitter.slurm)
    # what was not made yet: a block, another's outputs, and what follows from them
    for lost in ("models/*/block_0-2", "outputs/*/*/block_2-4"):
        next(begun.results.glob(f"{lost}/record.json")).unlink()
    begun.call(*begun.command())
    assert 1 <= begun.slurm.num_submitted() <= 2
    assert begun.records() == local.records()
    assert begun.planned() == {}
