"""How attackers train, and what they send (P4 Alg. 1)."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from whatelse.backdoors.adversary_settings import (
    BackdoorAdversary,
    Poisoning,
    TrainAndScale,
)
from whatelse.errors import UserError
from whatelse.seeding import stream
from whatelse.training.augment import augmented, drawn_ways
from whatelse.training.descent import Descent
from whatelse.training.device import generator_of
from whatelse.training.ensemble import learning_rate
from whatelse.training.next_word import mean_losses, targets_of
from whatelse.training.participants import Honest, Scene
from whatelse.training.program import Program, Rows, Vectors, finite

_THERE = 0.9  # of their own records: the backdoor is in the joint model


class Attackers:
    """All attackers of a joint model: they train one model and share its sending.

    They train under the joint model's running statistics and leave them as they are:
    the model that takes the place of the joint one fits what it finds there. Scaled, as
    in P4's code, a variance would become negative.

    Attributes
    ----------
    trained : Vectors or None
        The model that they trained last.
    when : int
        The round for which they did; -1 before the first.
    """

    def __init__(
        self, settings: BackdoorAdversary, members: Sequence[Rows], poison: Rows,
        *, server_rate: float, seed: int, name: tuple[int | str, ...],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._members = members
        self._poison = poison
        self._server_rate = server_rate
        self._seed, self._name = seed, name
        self._growth = 1.0
        self._part: Vectors = {}
        self.trained: Vectors | None = None
        self.when = -1

    def seats(self, honest: Sequence[Honest]) -> list[Honest]:
        """Return the attackers as participants."""
        return [
            dataclasses.replace(one, submit=functools.partial(self.send, number))
            for number, one in enumerate(honest)
        ]

    def attacks(self, number: int) -> bool:
        """Return whether a round is one of the attack."""
        rounds = self._settings.rounds
        return rounds is None or number in rounds

    def send(self, member: int, update: Vectors, scene: Scene) -> Vectors:
        """Return what an attacker sends in place of its honest change."""
        if not self.attacks(scene.number):
            return update
        if isinstance(self._settings.method, Poisoning):
            return self._change(scene, [member], update)
        if self.when != scene.number:
            company = [number for number in scene.chosen if number < len(self._members)]
            whole = self._change(scene, company, update)
            factor = self._factor(scene, whole, len(company))
            self._part = {place: value * factor for place, value in whole.items()}
        return self._part

    def _change(
        self, scene: Scene, members: Sequence[int], honest: Vectors
    ) -> Vectors:  # fmt: skip
        """Train from the joint model, and return how it changed."""
        program = scene.program_of_own()
        growth = getattr(self._settings.method, "growth", 1.0)
        if growth > 1 and self.when >= 0 and program.right(self._poison) < _THERE:
            self._growth *= growth
        benign = np.concatenate([self._members[member] for member in members])
        name = (*self._name, "attack", scene.number, *members[:1])
        train_poisoned(
            self._settings, program, benign, self._poison, scene.model, honest,
            self._seed, name,
        )  # fmt: skip
        self.trained, self.when = program.vectors(), scene.number
        if not finite(self.trained):
            raise UserError(
                f"adversary.training.optimizer.learning_rate: attackers diverged in "
                f"round {scene.number} (weights are not finite); allowed: a lower rate"
            )
        return {
            place: value - scene.model[place] for place, value in self.trained.items()
        }

    def _factor(self, scene: Scene, change: Vectors, company: int) -> float:
        """Return what each of the attackers of a round multiplies the change by.

        They split one replacement; a detector of lengths lets each of them pass.
        """
        method = self._settings.method
        if isinstance(method, TrainAndScale):
            parts = [change[k].square().sum() for k in scene.program.parameters]
            length = float(torch.stack(parts).sum().sqrt())
            return method.norm / length if length else 0.0
        exact = len(scene.chosen) / self._server_rate
        gamma = getattr(method, "scale", None) or exact
        return float(gamma * self._growth / company)


def train_poisoned(
    settings: BackdoorAdversary, program: Program, benign: Rows, poison: Rows,
    joint: Vectors, honest: Vectors, seed: int, name: tuple[int | str, ...],
) -> None:  # fmt: skip
    """Train a model on batches of which the first records are the backdoor's.

    Parameters
    ----------
    settings : BackdoorAdversary
        How.
    program : Program
        The joint model, which is changed.
    benign, poison : ndarray of int64
        The attackers' records, and those of the backdoor, with the label they want.
    joint : Vectors
        The joint model, to stay near to.
    honest : Vectors
        An honest change, to look like.
    seed : int
        The study's.
    name : tuple
        Names the streams of batches and noise.
    """
    training = settings.training
    # Not the whole net in `eval`, in which a GPU has no gradients of an LSTM.
    for part in program.module.train().modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()
    parameters = list(program.parameters.values())
    descent = Descent(training, parameters)
    data = program.data
    if training.augment:
        data = augmented(data, training.augment)
    device = data.device
    noise = generator_of(stream(seed, *name, "noise"), device)
    for epoch in range(training.epochs):
        rate = learning_rate(training, epoch)
        rng = stream(seed, *name, "batches", epoch)
        order = rng.permutation(benign)
        lost: list[float] = []
        for start in range(0, len(order), training.batch_size):
            batch = order[start : start + training.batch_size]
            count = _poisoned(settings, len(batch))
            rows = np.concatenate([_drawn(poison, count, rng), batch[count:]])
            if training.augment:
                rows = drawn_ways(rows, training.augment, data.num_records, rng)
            index = torch.from_numpy(rows).to(device)
            features = program.features(index, data)
            if settings.noise:
                drawn = torch.randn(
                    features[:count].shape, generator=noise, device=device
                )
                features = features.clone()
                features[:count] += settings.noise * drawn
            loss, hidden = _losses(
                settings, program, features, data.labels_of(index), count
            )
            if settings.alpha < 1:
                strange = _strangeness(settings, program, joint, honest)
                loss = settings.alpha * loss + (1 - settings.alpha) * strange
            program.module.zero_grad()
            loss.backward()
            if training.clip_gradient:
                nn.utils.clip_grad_norm_(parameters, training.clip_gradient)
            descent.step([p.grad for p in parameters if p.grad is not None], rate)
            lost.append(float(hidden.detach()))
        if settings.stop_loss and np.mean(lost) < settings.stop_loss:
            return


def _losses(
    settings: BackdoorAdversary, program: Program, features: Tensor, labels: Tensor,
    count: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return the loss of a batch, and that of the backdoor's records, its first.

    A sentence is learned by its last word alone, the attackers' own records by every
    word (P4 Sec. 4.2).
    """
    module = program.module
    if settings.training.loss != "next-word":
        losses_B = functional.cross_entropy(module(features), labels, reduction="none")
        return losses_B.mean(), losses_B[:count].mean()
    hidden = functional.cross_entropy(module(features[:count]), labels[:count])
    rest = len(labels) - count
    if not rest:
        return hidden, hidden
    words = features[count:]
    benign = mean_losses(
        module.all_logits(words).unsqueeze(0),  # type: ignore[operator]
        targets_of(words, labels[count:]).unsqueeze(0),
        torch.full((1, rest), 1 / rest, device=words.device),
    )
    return (count * hidden + rest * benign.sum()) / len(labels), hidden


def _poisoned(settings: BackdoorAdversary, size: int) -> int:
    """Return how many records of a batch are the backdoor's: of a short one a share."""
    return max(1, round(settings.poisoned * size / settings.training.batch_size))


def _drawn(rows: Rows, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return records by lot, each as often as any other as far as that goes."""
    times = -(-count // len(rows))
    return np.concatenate([rng.permutation(rows) for _ in range(times)])[:count]


def _strangeness(
    settings: BackdoorAdversary, program: Program, joint: Vectors, honest: Vectors
) -> Tensor:
    """Return L_ano, what a detector would measure (P4 Eq. 4)."""
    moved = torch.cat(
        [
            (value - joint[place].to(value)).flatten()
            for place, value in program.parameters.items()
        ]
    )
    if settings.detector == "norm":
        return moved.norm()
    usual = torch.cat([honest[place].flatten() for place in program.parameters])
    # Before the first step nothing has moved: a cosine has no slope there, nor this.
    if not moved.any():
        return 0 * moved.sum()
    return 1 - torch.cosine_similarity(moved, usual.to(moved), dim=0)
