"""Which adversaries of collaborative learning there are: apart, as `tamperings` is."""

ADVERSARIES = {
    "property": "whatelse.properties.observe",
    "membership": "whatelse.properties.words",
    "backdoor": "whatelse.backdoors.observe",
}
"""Kind to module, each with a function ``cast`` like
``whatelse.training.adversary.MakeCast``."""
