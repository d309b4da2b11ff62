"""The door to a model's answers: each form by hand, counted and capped."""

import json
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from whatelse.errors import UserError
from whatelse.models.release import Oracle
from whatelse.models.settings import ReleaseSettings

# probabilities .1, .2, .3, .4
LOGITS = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))


def oracle(**settings: Any) -> Oracle:
    return Oracle(TypeAdapter(ReleaseSettings).validate_json(json.dumps(settings)))


def answer(**settings: Any) -> list[float]:
    (row,) = oracle(**settings).answer(LOGITS).tolist()
    return row


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"kind": "probabilities"}, [0.1, 0.2, 0.3, 0.4]),
        ({"kind": "top", "count": 1}, [0, 0, 0, 0.4]),
        ({"kind": "top", "count": 3}, [0, 0.2, 0.3, 0.4]),
        ({"kind": "top", "count": 99}, [0.1, 0.2, 0.3, 0.4]),
        ({"kind": "label"}, [0, 0, 0, 1]),
        # squares .01 .04 .09 .16 over their sum .30
        ({"kind": "temperature", "temperature": 0.5}, [1 / 30, 4 / 30, 0.3, 16 / 30]),
        ({"kind": "temperature", "temperature": 1e6}, [0.25] * 4),
    ],
)  # fmt: skip
def test_each_form_by_hand(settings: dict[str, Any], expected: list[float]) -> None:
    assert answer(**settings) == pytest.approx(expected, abs=1e-6)


def test_rounding_leaves_that_many_places() -> None:
    logits = torch.log(torch.tensor([[0.123456, 0.876544]], dtype=torch.float64))
    for decimals, expected in ((1, [0.1, 0.9]), (3, [0.123, 0.877])):
        released = oracle(kind="rounded", decimals=decimals).answer(logits)
        assert released[0].tolist() == expected


def test_a_sure_model_keeps_its_digits() -> None:
    """In float32 the softmax of a large margin is 1: the door computes in float64."""
    released = oracle(kind="probabilities").answer(torch.tensor([[0.0, 30.0]]))
    assert released.dtype == torch.float64
    assert released[0, 0].item() == pytest.approx(9.3576e-14, rel=1e-3)


def test_shape_and_logits_are_kept() -> None:
    logits = torch.zeros(2, 3, 5)
    for kind in ("probabilities", "label"):
        assert oracle(kind=kind).answer(logits).shape == (2, 3, 5)
    assert (logits == 0).all()


def test_every_record_is_a_query() -> None:
    door = oracle(kind="label")
    door.answer(LOGITS.repeat(5, 1))
    door.answer(torch.zeros(2, 3, 4))
    assert door.queries == 11


def test_the_cap_is_the_last_that_is_answered() -> None:
    door = oracle(kind="probabilities", max_queries=3)
    door.answer(LOGITS.repeat(3, 1))
    with pytest.raises(UserError, match="max_queries: 4 queries asked; allowed: 3"):
        door.answer(LOGITS)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "top"},
        {"kind": "top", "count": 0},
        {"kind": "rounded", "decimals": 0},
        {"kind": "temperature", "temperature": 0},
        {"kind": "label", "max_queries": 0},
        {"kind": "nothing"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        oracle(**settings)
