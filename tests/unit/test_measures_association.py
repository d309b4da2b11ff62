"""Association of two columns, by hand and by NumPy."""

import numpy as np
import pytest

from whatelse.measures.association import cramers_v, pearson


def test_cramers_v_is_the_length_of_pearsons_r_of_two_values() -> None:
    task = np.array([0, 0, 0, 1, 1, 1, 1, 1])
    has = np.array([1, 1, 0, 0, 0, 0, 0, 1], dtype=bool)
    # 2 of 3 against 1 of 5: (2 * 4 - 1 * 1) / sqrt(3 * 5 * 3 * 5)
    assert pearson(task, has) == pytest.approx(-7 / 15)
    assert cramers_v(task, has) == pytest.approx(7 / 15)
    assert np.corrcoef(task, has)[0, 1] == pytest.approx(-7 / 15)


def test_tables_of_more_values() -> None:
    task = np.repeat([0, 1, 2], 4)
    assert cramers_v(task, task) == pytest.approx(1)
    assert cramers_v(task, np.tile([0, 1], 6)) == pytest.approx(0)
    assert pearson(task, task > 0) is None


def test_one_value_alone_says_nothing() -> None:
    task, has = np.array([0, 1, 1]), np.array([True, True, True])
    assert cramers_v(task, has) is None
    assert cramers_v(has, task) is None
    assert pearson(task, has) is None
