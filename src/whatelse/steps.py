"""Which steps make data sets from others: apart, so that a new one makes none stale."""

STEPS = {
    "split": "whatelse.datasets.split",
    "task": "whatelse.datasets.task",
    "canaries": "whatelse.datasets.canaries",
    "phrases": "whatelse.datasets.phrases",
    "capacity-abuse": "whatelse.memorization.capacity_abuse",
}
"""Kind to module, each with a function ``derive`` like
``whatelse.datasets.derived.Derive``."""
