"""Collaborative learning: participants fit one model and keep their data.

Two protocols: synchronised SGD (``gradients``; P3 Alg. 1: every participant sends the
gradient of one batch, and the model steps against their sum) and federated averaging
(``averaging``; P3 Alg. 2, P4 Eq. 1: those selected train the model on their own data,
and it moves by the mean of their changes). An observer keeps what it needs as rounds
stream by; nothing here stores updates.
"""

from collections.abc import Mapping, Sequence

from whatelse.errors import UserError
from whatelse.models.stacked import Architecture, initial
from whatelse.seeding import stream
from whatelse.training.averaging import average
from whatelse.training.ensemble import TrainingData
from whatelse.training.federated_settings import Averaging, Gradients
from whatelse.training.gradients import share_gradients
from whatelse.training.participants import Auditor, Observer, OnRound, Participant
from whatelse.training.program import Vectors


def collaborate(
    architecture: Architecture,
    settings: Gradients | Averaging,
    data: TrainingData,
    participants: Sequence[Participant],
    *,
    seed: int,
    name: tuple[int | str, ...] = (),
    start: Vectors | None = None,
    observer: Observer | None = None,
    auditor: Auditor | None = None,
    invited: Mapping[int, Sequence[int]] | None = None,
    on_round: OnRound | None = None,
) -> Vectors:
    """Fit one model by a protocol.

    Parameters
    ----------
    architecture : Architecture
        Of the model.
    settings : Gradients or Averaging
        The protocol, and how long it goes.
    data : TrainingData
        All participants' records, on the device to train on.
    participants : sequence of Participant
        At least two.
    seed : int
        The study's.
    name : tuple, optional
        Names the stream of the initial model and of selections.
    start : dict of str to Tensor, optional
        Parameters and buffers to begin with; drawn anew if left out.
    observer : Observer, optional
        Sits among the participants.
    auditor : Auditor, optional
        Sees every round of averaging.
    invited : mapping of int to sequence of int, optional
        Participants that are among those selected in a round.
    on_round : callable, optional
        Called after each round with its number, from 1, and the mean loss.

    Returns
    -------
    dict of str to Tensor
        Parameters and buffers, float32, on the CPU.

    Raises
    ------
    UserError
        If a participant has no records, or the architecture has running statistics,
        which synchronised SGD does not share.
    """
    for number, participant in enumerate(participants):
        if not len(participant.rows):
            raise UserError(
                f"participants: {number} has no records; allowed: fewer participants"
            )
    start = start or initial(architecture, stream(seed, *name, "init"))
    model = {place: value.to(data.device) for place, value in start.items()}
    common = (data, participants, seed, name, model, observer, on_round)
    if isinstance(settings, Averaging):
        final = average(architecture, settings, *common, auditor, invited or {})
    else:
        final = share_gradients(architecture, settings, *common)
    return {place: value.to("cpu", copy=True) for place, value in final.items()}
