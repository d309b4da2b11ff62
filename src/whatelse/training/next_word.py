"""The loss of a language model: each word of a record says the next one.

Legend for shape suffixes: S models of the stack, B records of a batch, L words of a
record, C classes, x any of them.
"""

import torch
from torch import Tensor
from torch.nn import functional

from whatelse.datasets.vocabulary import UNKNOWN
from whatelse.errors import UserError
from whatelse.models.stacked import Architecture
from whatelse.models.text import StackedLstm, last_words

_NONE = 0  # the filler: no target


def language_model(architecture: Architecture) -> StackedLstm:
    """Return an architecture that has a loss after each word.

    Raises
    ------
    UserError
        If it has none.
    """
    # as many classes as words, filler included
    if (
        isinstance(architecture, StackedLstm)
        and architecture.num_classes == architecture.rows
    ):
        return architecture
    raise UserError(
        "training.loss: next-word; allowed for language models only: architecture lstm "
        "on records whose class is the next word, such as those of blogs-words"
    )


def targets_of(words_xL: Tensor, labels_x: Tensor) -> Tensor:
    """Return the word that is to follow each word, shape (..., L).

    That after it, and the label after the last one. 0 where nothing is to be said: at
    the filler, and before words that stand for unknown ones.
    """
    words_xL = words_xL.long()
    targets_xL = functional.pad(words_xL[..., 1:], (0, 1))
    targets_xL.scatter_(
        -1, last_words(words_xL).unsqueeze(-1), labels_x.long().unsqueeze(-1)
    )
    return torch.where(targets_xL == UNKNOWN, _NONE, targets_xL)


def mean_losses(
    logits_SBLC: Tensor, targets_SBL: Tensor, shares_SB: Tensor
) -> Tensor:  # fmt: skip
    """Return each model's cross-entropy, the mean over all targets of its batch.

    Parameters
    ----------
    logits_SBLC : Tensor
        After each word.
    targets_SBL : Tensor of int64
        What is to follow; 0 for nothing.
    shares_SB : Tensor
        Equal for the records of a model's batch, zero for padding.

    Returns
    -------
    Tensor, shape (S,)
        0 of a batch without any target.
    """
    # In the order in which they lie: a copy of logits is as dear as a layer.
    words_first = logits_SBLC.transpose(1, 2).is_contiguous()
    logits_SxC, targets_Sx = (
        value.transpose(1, 2) if words_first else value
        for value in (logits_SBLC, targets_SBL)
    )
    losses_Sx = functional.cross_entropy(
        logits_SxC.flatten(0, 2), targets_Sx.flatten(), ignore_index=_NONE,
        reduction="none",
    ).view(targets_Sx.shape)  # fmt: skip
    of_words = 1 if words_first else 2
    total_S = (losses_Sx.sum(of_words) * shares_SB).sum(1)
    count_S = ((targets_SBL != _NONE).sum(2) * shares_SB).sum(1)
    # a share is at least one in a million: no batch with a target is cut
    return total_S / count_S.clamp(min=1e-9)
