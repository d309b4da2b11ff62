"""Which true-positive rates are rough: few false positives set their threshold."""

from collections.abc import Mapping, Sequence
from typing import Any

FEWEST = 5
LEGEND = (
    f"*: fewer than {FEWEST} false positives set the threshold, so the rate is rough."
)
_RATE = "tpr_at_"


def is_rough(metric: str, replicates: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a rate is to be marked.

    Parameters
    ----------
    metric : str
        A name of a summary, e.g. ``tpr_at_0.01``; no other than such is rough.
    replicates : sequence of mapping
        Those of an attack's ``metrics.json``, with the non-members of each class.

    Returns
    -------
    bool
        Whether, in the replicate with the fewest non-members, fewer than `FEWEST` of
        them may pass at this false-positive rate.
    """
    if not metric.startswith(_RATE):
        return False
    fewest = min(
        sum(own["non_members"] for own in report["per_class"]) for report in replicates
    )
    # rounded: .05 * 100 is not quite 5 in floating point
    return round(fewest * float(metric.removeprefix(_RATE)), 9) < FEWEST
