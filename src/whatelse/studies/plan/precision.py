"""What fewer shadow models cost in precision, from a benchmark on record.

The change of the AUC with the number of shadows was measured on digits
(``benchmarks/shadows.py``), target by target, and is transferred as it is: other data
and nets will differ. The part that no number of shadows mends, the draw of the tested
records, follows from Hanley and McNeil (Radiology 143, 1982).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whatelse.errors import UserError
from whatelse.records import read_json

_FILE = "shadows-digits.json"


@dataclass(frozen=True)
class Change:
    """How far the attack's AUC is from that with the number of shadows asked for.

    Attributes
    ----------
    mean : float
        Over the measured sizes of training set.
    low, high : float
        The lowest and the highest of these sizes.
    std : float
        Of one target's AUC, by which shadows it happened to get.
    """

    mean: float
    low: float
    high: float
    std: float


@dataclass(frozen=True)
class Curve:
    """The AUC against the number of shadows, as measured.

    Attributes
    ----------
    path : Path
        The benchmark.
    shadows : tuple of int
        Numbers of shadows, rising.
    change_mean, change_std : tuple of tuple of float
        For each size of training set: the change from the largest number.
    replicates : int
        Targets a size.
    """

    path: Path
    shadows: tuple[int, ...]
    change_mean: tuple[tuple[float, ...], ...]
    change_std: tuple[tuple[float, ...], ...]
    replicates: int

    def change(self, shadows: int, asked: int) -> Change:
        """Return what `shadows` instead of `asked` change.

        Numbers between measured ones are interpolated in the logarithm; beyond the
        largest one nothing was measured, and no change is taken.
        """
        means = [
            self._at(row, shadows) - self._at(row, asked) for row in self.change_mean
        ]
        # The largest number differs not from itself: the spread of the one before it,
        # which is that of both, is an upper bound.
        spreads = [self._at((*row[:-1], row[-2]), shadows) for row in self.change_std]
        return Change(
            sum(means) / len(means),
            min(means),
            max(means),
            math.sqrt(sum(std**2 for std in spreads) / len(spreads)),
        )

    def _at(self, row: Sequence[float], shadows: int) -> float:
        if shadows >= self.shadows[-1]:
            return row[-1]
        above = next(i for i, number in enumerate(self.shadows) if number > shadows)
        low, high = self.shadows[above - 1], self.shadows[above]
        share = math.log(shadows / low) / math.log(high / low)
        return row[above - 1] * (1 - share) + row[above] * share


def read_curve(folder: Path) -> Curve:
    """Read the benchmark.

    Raises
    ------
    UserError
        If it is missing or broken.
    """
    path = folder / _FILE
    if not path.exists():
        raise UserError(
            f"{path}: no such file; allowed: a benchmark on record, made by python "
            "benchmarks/shadows.py"
        )
    raw = read_json(path)
    try:
        curve = Curve(
            path,
            tuple(int(number) for number in raw["shadows"]),
            tuple(tuple(map(float, size["change_mean"])) for size in raw["sizes"]),
            tuple(tuple(map(float, size["change_std"])) for size in raw["sizes"]),
            min(int(size["replicates"]) for size in raw["sizes"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: no benchmark of shadows: {error!r}") from None
    lengths = {len(row) for row in (*curve.change_mean, *curve.change_std)}
    if (
        lengths != {len(curve.shadows)}
        or len(curve.shadows) < 2
        or curve.shadows[0] != 1
    ):
        raise UserError(f"{path}: no benchmark of shadows: columns do not match")
    return curve


def sampling_error(members: int, non_members: int, area: float = 0.5) -> float:
    """Return the standard error of an AUC by the draw of the tested records.

    Hanley and McNeil, Radiology 143, 1982, equations 1 and 2. At an area of .5, the
    default, it is the largest.

    Parameters
    ----------
    members, non_members : int
        Tested records of each kind.
    area : float, optional
        The AUC.
    """
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (members - 1) * (first - area**2)
    variance += (non_members - 1) * (second - area**2)
    return math.sqrt(variance / (members * non_members))
