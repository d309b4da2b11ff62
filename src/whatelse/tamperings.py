"""Which tamperings there are: apart, so that a new one retrains nothing."""

TAMPERINGS = {
    "lsb": "whatelse.memorization.tamper_lsb",
    "correlated": "whatelse.memorization.tamper_correlated",
    "sign": "whatelse.memorization.tamper_sign",
}
"""Kind to module, each with a function ``tamper`` like
``whatelse.training.tampering.Tamper``."""
