"""Settings of what is measured of backdoors."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Evaluate(BaseModel):
    """Main and backdoor accuracy over the rounds, and what a server could have seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Literal["backdoors.evaluate"]


# One kind so far: a union takes more in the place of the first.
BackdoorAttack = Annotated[Evaluate, Field()]
