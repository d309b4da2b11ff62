"""What participants of collaborative learning saw: its files, and how they are read.

Whoever only reads them needs no PyTorch, which takes seconds to load.
"""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from whatelse.errors import UserError

OBSERVATIONS, ABOUT = "observations.safetensors", "collaboration.json"

# of an adversary of kind property
OBSERVED, AUXILIARY = "observed", "auxiliary"
CONTROLS = ("planted", "random")

# of an adversary of kind membership
SEEN, MEMBERS, OWN, STRANGERS = "words", "members", "own", "strangers"

# of an adversary of kind backdoor: a row for every model, the start first
MAIN, TOLD, SURE, DRAWN, SPILL = "main", "told", "sure", "drawn", "spill"
# a row for every round
ATTACK, CHOSEN, SHARES, NORMS, COSINES = (
    "attack",
    "chosen",
    "shares",
    "norms",
    "cosines",
)
# a row for every round of the attack: the attackers' own model, and a control
OWN_TOLD, OWN_SURE, OWN_MAIN, USUAL_SURE = "own.told", "own.sure", "own.main", "usual"
RECORDS = "records"


def load_observations(folder: Path) -> dict[str, NDArray[Any]]:
    """Read what the adversary of a joint model kept; empty if there was none.

    Raises
    ------
    UserError
        If the file is missing, truncated, or no safetensors file.
    """
    path = folder / OBSERVATIONS
    try:
        arrays: dict[str, NDArray[Any]] = load_file(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a safetensors file: {error}") from None
    return arrays
