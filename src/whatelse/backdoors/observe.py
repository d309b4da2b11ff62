"""Who takes part when a model is backdoored, and what is measured of every round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whatelse.backdoors.adversary_settings import BackdoorAdversary
from whatelse.backdoors.attacker import Attackers
from whatelse.backdoors.kept import DRAWN_OF, DRAWN_SURE, GIVEN, OWN_DRAWN_SURE
from whatelse.backdoors.poison import inputs_of, selection_of, shifted
from whatelse.datasets.vocabulary import UNKNOWN
from whatelse.errors import UserError
from whatelse.seeding import stream
from whatelse.training import observations as names
from whatelse.training.adversary import Cast, Planted, Stage
from whatelse.training.deal import parts_of, seated
from whatelse.training.federated_settings import Averaging, ByAttribute, ByLot
from whatelse.training.next_word import targets_of
from whatelse.training.participants import Honest, Move
from whatelse.training.program import Program, Rows


def cast(settings: Mapping[str, Any], stage: Stage) -> Cast:
    """Deal out records so that attackers alone hold those of the backdoor.

    Raises
    ------
    UserError
        If the backdoor's records are not there or not apart, or the attackers' share
        cannot be had.
    """
    chosen = BackdoorAdversary.model_validate(settings)
    protocol = stage.protocol
    assert isinstance(protocol, Averaging)  # a study's grammar sees to it
    selection = selection_of(chosen, stage)
    rows = np.setdiff1d(stage.rows, selection.reserved)
    honest = _dealt(chosen, stage, rows)
    mine = np.concatenate([one.rows for one in honest[: chosen.attackers]])
    train, held_out = inputs_of(chosen, stage, selection, mine)
    rng = stream(stage.seed, *stage.name, "draws")
    draws, drawn_of = held_out[:0], np.zeros(0, np.int64)
    if chosen.draws:
        draws, drawn_of = shifted(held_out, chosen.draws, rng)
    inputs = np.concatenate([train, held_out, draws])
    first = stage.dataset.num_records
    numbers = np.split(
        np.arange(first, first + len(inputs)),
        np.cumsum([len(train), len(held_out)]),
    )
    attackers = Attackers(
        chosen, [one.rows for one in honest[: chosen.attackers]], numbers[0],
        server_rate=protocol.server_rate, seed=stage.seed, name=stage.name,
    )  # fmt: skip
    usual = np.setdiff1d(stage.held_out, selection.reserved)
    if stage.dataset.num_words:
        # nothing is to be said where the next word is an unknown one
        usual = usual[stage.labels[usual] != UNKNOWN]
    tested = stream(stage.seed, *stage.name, "tested").permutation(usual)
    alike = tested[:0]
    if selection.source is not None:
        alike = tested[stage.labels[tested] == selection.source]
    of_words = protocol.loss == "next-word"
    auditor = BackdoorAuditor(
        attackers, chosen.attackers, tested[: chosen.tested], numbers[1], numbers[2],
        selection.held_out, alike[: chosen.tested], drawn_of,
        given=held_out if held_out.ndim == 4 else None, every_word=of_words,
    )  # fmt: skip
    counts = np.bincount(_told(stage, auditor.tested, every_word=of_words))
    about = {
        "attackers": chosen.attackers,
        "participants": stage.count,
        "method": chosen.method.kind,
        "target": chosen.wanted,
        "learned_from": len(train),
        "held_out": len(held_out),
        "benign_records": len(mine),
        "majority": float(counts.max() / counts.sum()),
        "by_lot": chosen.rounds is None,
    }
    invited = {number: tuple(range(chosen.attackers)) for number in chosen.rounds or ()}
    return Cast(
        [*attackers.seats(honest[: chosen.attackers]), *honest[chosen.attackers :]],
        None,
        about,
        auditor,
        Planted(inputs, np.full(len(inputs), selection.target)),
        invited,
        selection.reserved,
    )


def _dealt(chosen: BackdoorAdversary, stage: Stage, rows: Rows) -> list[Honest]:
    """Deal out benign records, first to attackers who are to have a share of all.

    Theirs are drawn evenly from all classes, however uneven the others' are: P4's
    attackers have as many of each.
    """
    if chosen.share is None:
        return stage.dealt(rows, stage.count)
    assert not isinstance(stage.deal, ByAttribute)  # the grammar, again
    each, others = round(chosen.share * len(rows)), stage.count - chosen.attackers
    theirs = each * chosen.attackers
    if not each or len(rows) - theirs < others:
        raise UserError(
            f"adversary.share: {chosen.share}, {each} of {len(rows)} records for each "
            f"of {chosen.attackers} attackers; allowed: a share that leaves everybody "
            "some"
        )
    rng = stream(stage.seed, *stage.name, "deal")
    order = rng.permutation(rows)
    mine, rest = np.split(order[:theirs], chosen.attackers), order[theirs:]
    if isinstance(stage.deal, ByLot):
        left = np.array_split(rest, others)  # by lot already
    else:
        left = parts_of(stage.deal, stage.dataset, rest, others, rng)
    return seated([*mine, *left], stage.seed, stage.name)


def _told(stage: Stage, rows: Rows, *, every_word: bool) -> NDArray[np.int64]:
    """Return what is right for records, or for every word of them."""
    labels = stage.labels[rows]
    if not every_word:
        return labels
    words = torch.from_numpy(np.asarray(stage.dataset.inputs[rows], dtype=np.int64))
    targets = targets_of(words, torch.from_numpy(labels)).numpy()
    found: NDArray[np.int64] = targets[targets > 0]
    return found


class BackdoorAuditor:
    """Measures accuracy, the backdoor and all changes, round by round.

    Attributes
    ----------
    tested : ndarray of int64
        Held-out records without any of the backdoor's. Of language models every word
        of them is asked about.
    """

    def __init__(
        self, attackers: Attackers, count: int, tested: Rows, held_out: Rows,
        draws: Rows, records: Rows, alike: Rows, drawn_of: Rows, *,
        given: NDArray[np.generic] | None = None, every_word: bool = False,
    ) -> None:  # fmt: skip
        self.tested = tested
        self._alike, self._every_word = alike, every_word
        self._attackers, self._count = attackers, count
        self._held_out, self._draws, self._records = held_out, draws, records
        self._drawn_of, self._given = drawn_of, given
        self._kept: dict[str, list[Tensor]] = {}

    def audit(self, program: Program, move: Move | None) -> None:
        """Ask the model, and compare what was sent."""
        number = len(self._kept.get(names.MAIN, ())) - 1
        self._keep(names.MAIN, self._main(program))
        wanted = self._wanted(program)
        told, sure = self._asked(program, self._held_out)
        self._keep(names.TOLD, told)
        self._keep(names.SURE, sure[:, wanted])
        if len(self._draws):
            told, sure = self._asked(program, self._draws)
            self._keep(names.DRAWN, (told == wanted).float().mean())
            self._keep(DRAWN_SURE, sure[:, wanted])
        if len(self._alike):
            spilled = program.answers(self._alike).argmax(1) == wanted
            self._keep(names.SPILL, spilled.float().mean())
        if move is None:
            return
        attack = self._attackers.attacks(number) and min(move.chosen) < self._count
        self._keep(names.ATTACK, torch.tensor(attack))
        self._keep(names.CHOSEN, torch.tensor(move.chosen))
        self._keep(names.SHARES, torch.from_numpy(move.shares).float())
        norms, cosines = _compared(
            [{k: one[k] for k in program.parameters} for one in move.sent]
        )
        self._keep(names.NORMS, norms)
        self._keep(names.COSINES, cosines)
        if attack and self._attackers.trained:
            self._ask_attackers(program)

    def kept(self) -> dict[str, Tensor]:
        """Return what was measured: the first row of models is the start."""
        whole = {name: torch.stack(rows) for name, rows in self._kept.items()}
        whole[names.RECORDS] = torch.from_numpy(self._records)
        if len(self._draws):
            whole[DRAWN_OF] = torch.from_numpy(self._drawn_of)
        if self._given is not None:
            whole[GIVEN] = torch.from_numpy(np.array(self._given))
        return whole

    def _ask_attackers(self, program: Program) -> None:
        """Ask the attackers' own model, as a control, in place of the joint one."""
        joint = program.vectors()
        program.load(self._attackers.trained or joint)
        wanted = self._wanted(program)
        told, sure = self._asked(program, self._held_out)
        self._keep(names.OWN_TOLD, told)
        self._keep(names.OWN_SURE, sure[:, wanted])
        if len(self._draws):
            _, sure = self._asked(program, self._draws)
            self._keep(OWN_DRAWN_SURE, sure[:, wanted])
        self._keep(names.OWN_MAIN, self._main(program))
        # how sure the joint model is of the target for records that have no backdoor
        program.load(joint)
        _, usual = self._asked(program, self.tested)
        self._keep(names.USUAL_SURE, usual[:, wanted])

    def _wanted(self, program: Program) -> int:
        """Return the label that the attackers want, the same of all that they plant."""
        return int(program.data.labels[int(self._held_out[0])])

    def _main(self, program: Program) -> Tensor:
        right = program.right_of_words if self._every_word else program.right
        return torch.tensor(right(self.tested))

    def _asked(self, program: Program, rows: Rows) -> tuple[Tensor, Tensor]:
        """Return the classes that a model names, and its probabilities."""
        answers = torch.softmax(program.answers(rows), 1)
        return answers.argmax(1), answers

    def _keep(self, name: str, value: Tensor) -> None:
        self._kept.setdefault(name, []).append(value)


def _compared(sent: Sequence[Mapping[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Return the length of each change, and its cosine with the mean of the others."""
    whole = torch.stack(
        [torch.cat([value.flatten() for value in one.values()]) for one in sent]
    )
    others = whole.sum(0) - whole
    return whole.norm(dim=1), torch.cosine_similarity(whole, others)
