"""Which attacks there are: apart, so that a new one reruns none."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Where an attack is found, and what it reads.

    Attributes
    ----------
    entry : str
        The module that evaluates it, with a function
        ``find(spec, inputs)`` that returns `Findings`.
    more : tuple of str
        Modules that `entry` imports by name.
    needs : tuple of str
        "outputs": what a release lets out of the models under attack. "ranks": how they
        rank the words of users. "signals": numbers of a release about every record, of
        reference models too. "data": the data set. "models": files of models, and the
        data set. "canaries": signals of all models that tossed coins for canaries.
        "observations": what an adversary kept while a joint model was trained, and the
        data set. Else a field of the settings that names more models: "benign",
        "innocent", "unseen".
    adversary : str or None
        The kind of adversary whose observations it reads.
    history : bool
        Whether it reads observations of the joint models that these go back to, too.
    """

    entry: str
    more: tuple[str, ...] = ()
    needs: tuple[str, ...] = ("outputs",)
    adversary: str | None = None
    history: bool = False

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules whose import closure is the attack's code."""
        return (self.entry, *self.more)


_MEMBERSHIP = "whatelse.membership.evaluate"
_REFERENCE = "whatelse.membership.reference"
_CANARIES = "whatelse.membership.canaries"
KINDS = {
    "membership.shadow": Kind(_MEMBERSHIP, ("whatelse.membership.shadow",)),
    "membership.user": Kind(
        _MEMBERSHIP, ("whatelse.membership.user",), needs=("ranks",)
    ),
    "membership.exposure": Kind("whatelse.membership.exposure", needs=("models",)),
    "membership.threshold": Kind(_MEMBERSHIP, ("whatelse.membership.threshold",)),
    "membership.lira": Kind(
        _REFERENCE, ("whatelse.membership.lira",), needs=("signals",)
    ),
    "membership.rmia": Kind(
        _REFERENCE, ("whatelse.membership.rmia",), needs=("signals",)
    ),
    "membership.attack-p": Kind(
        _REFERENCE, ("whatelse.membership.attack_p",), needs=("signals",)
    ),
    "membership.attack-r": Kind(
        _REFERENCE, ("whatelse.membership.attack_r",), needs=("signals",)
    ),
    "membership.audit": Kind(
        _CANARIES, ("whatelse.membership.audit",), needs=("canaries",)
    ),
    "membership.epsilon": Kind(
        _CANARIES, ("whatelse.membership.epsilon",), needs=("canaries",)
    ),
    "membership.label-only": Kind(
        _REFERENCE, ("whatelse.membership.label_only",), needs=("signals",)
    ),
    "membership.gradient-norm": Kind(
        _REFERENCE, ("whatelse.membership.gradient_norm",), needs=("signals",)
    ),
    "membership.risk": Kind("whatelse.membership.risk", needs=("signals", "data")),
    "memorization.decode": Kind(
        "whatelse.memorization.evaluate", needs=("models", "benign")
    ),
    "memorization.low-bits": Kind("whatelse.memorization.sweep", needs=("models",)),
    "memorization.scrub": Kind(
        "whatelse.memorization.scrubbed", needs=("models", "benign")
    ),
    "memorization.detect": Kind(
        "whatelse.memorization.detect", needs=("models", "innocent", "unseen")
    ),
    "properties.membership": Kind(
        "whatelse.properties.membership",
        needs=("observations",),
        adversary="membership",
    ),
    "properties.passive": Kind(
        "whatelse.properties.evaluate", needs=("observations",), adversary="property"
    ),
    "backdoors.evaluate": Kind(
        "whatelse.backdoors.evaluate",
        needs=("observations",),
        adversary="backdoor",
        history=True,
    ),
    "properties.layers": Kind("whatelse.properties.layers", needs=("models",)),
    "properties.representation": Kind(
        "whatelse.properties.representations", needs=("models",)
    ),
}
