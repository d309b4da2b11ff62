"""What verbs print."""

from collections.abc import Sequence


def print_table(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> None:
    """Print rows as left-aligned columns, two spaces apart.

    Parameters
    ----------
    rows : sequence of sequence of str
        The first is the head and has all columns; others may end early.
    indent : str, optional
        Before every row.
    """
    widths = [
        max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))
    ]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        print(indent + "  ".join(cells).rstrip())
