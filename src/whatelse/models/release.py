"""What the outside sees of a model: the released form of its answers (P1 Sec. IX)."""

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from whatelse.errors import UserError


class _Release(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_queries: int | None = Field(
        None, ge=1, description="Most answers that a model gives; no limit if left out."
    )


class Probabilities(_Release):
    """All class probabilities."""

    kind: Literal["probabilities"] = "probabilities"


class Top(_Release):
    """The `count` largest probabilities; the others are zero."""

    kind: Literal["top"]
    count: int = Field(..., ge=1, le=100_000)


class Rounded(_Release):
    """Probabilities rounded to some decimal places."""

    kind: Literal["rounded"]
    decimals: int = Field(..., ge=1, le=7)


class Temperature(_Release):
    """Probabilities of the logits divided by `temperature`."""

    kind: Literal["temperature"]
    temperature: float = Field(..., gt=0, le=1e6)


class Label(_Release):
    """The most probable class only, as a one-hot vector."""

    kind: Literal["label"]


ReleaseSettings = Annotated[
    Probabilities | Top | Rounded | Temperature | Label, Field(discriminator="kind")
]


class Oracle:
    """The door to a model's answers: transforms, counts and caps them.

    Parameters
    ----------
    release : ReleaseSettings
        What is seen.

    Attributes
    ----------
    queries : int
        Answers given so far.
    """

    def __init__(self, release: ReleaseSettings) -> None:
        self.release = release
        self.queries = 0

    def answer(self, logits: Tensor) -> Tensor:
        """Return what is released for some logits, shape (..., classes), float64.

        Raises
        ------
        UserError
            If that would be more answers than allowed.
        """
        self.queries += logits.shape[:-1].numel()
        limit = self.release.max_queries
        if limit is not None and self.queries > limit:
            raise UserError(
                f"release.max_queries: {self.queries} queries asked; allowed: {limit}"
            )
        logits = logits.double()
        release = self.release
        if isinstance(release, Temperature):
            logits = logits / release.temperature
        probabilities = torch.softmax(logits, -1)
        if isinstance(release, Top):
            count = min(release.count, logits.shape[-1])
            values, places = probabilities.topk(count, -1)
            return torch.zeros_like(probabilities).scatter(-1, places, values)
        if isinstance(release, Rounded):
            return probabilities.round(decimals=release.decimals)
        if isinstance(release, Label):
            best = probabilities.argmax(-1, keepdim=True)
            return torch.zeros_like(probabilities).scatter(-1, best, 1.0)
        return probabilities
