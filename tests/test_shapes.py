"""The checks of signatures that this suite adds: of functions, methods and data classes, those of mscon included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch
from beartype.roar import BeartypeCallHintViolation
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from mscon.method.pairs import Pairs
from mscon.method.similarities.categorical import same_class
from shapes import checked, unchecked_shapes

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]

ones = torch.ones


@checked
def product(
    left: Float[Tensor, "rows dim"], right: Float[Tensor, "dim columns"], is_turned: bool = False, of: Unknown = None
) -> Float[Tensor, "rows columns"]:
    return (left @ right).T if is_turned else left @ right


@checked
@dataclass(frozen=True, slots=True)
class Box:
    low: Float[Tensor, " dim"]
    high: Float[Tensor, " dim"]
    names: tuple[str, ...] = ()

    @property
    @checked
    def name(self) -> str:
        return self.names[0] if self.names else None

    @classmethod
    @checked
    def at(cls, place: Float[Tensor, " dim"]) -> Box:
        return cls(place, place)

    @checked
    def corners(self, count: int) -> Iterator[Tensor]:
        yield from (self.low, self.high)[:count]

    @checked
    def moved(self, by: Float[Tensor, " dim"]) -> Box:
        return Box(product(self.low[:, None], ones(1, 1))[:, 0] + by, self.high + by)


def test_calls_that_keep_to_their_signature_are_those_of_the_function():
    assert product(ones(2, 3), ones(3, 5)).shape == (2, 5)
    assert product(ones(4, 1), right=ones(1, 1), of=3).shape == (4, 1)
    assert product(ones(2, 3), ones(3, 2), is_turned=True).shape == (2, 2)
    assert product.__name__ == "product" and product.__doc__ is None
    box = Box.at(ones(2)).moved(ones(2))  # "dim" is 1 in a call within this one, of 2
    assert [*box.corners(1)] == [box.low] and Box(ones(1), ones(1), ("a",)).name == "a"


@pytest.mark.parametrize(
    "call",
    [
        lambda: product(ones(2, 3), ones(4, 5)),
        lambda: product(ones(2, 3), ones(3)),
        lambda: product(ones(2, 3), ones(3, 5, dtype=torch.int64)),
        lambda: product(ones(2, 3), ones(3, 5), is_turned=1),
        lambda: product(ones(2, 3), ones(3, 5), is_turned=True),  # the result is [columns, rows]
        lambda: Box(ones(2), ones(3)),
        lambda: Box(ones(2), ones(2), (1,)),
        lambda: Box(ones(2), ones(2)).name,
        lambda: Box.at(ones(2, 2)),
        lambda: Box.at(ones(2)).corners("1"),
        lambda: Box.at(ones(2)).moved(ones(2, dtype=torch.bool)),
        lambda: Pairs(ones(2, 3), ones(2, 2, dtype=torch.bool)),
        lambda: same_class(ones(2, dtype=torch.int64), ones(1, 2, dtype=torch.int64)),
    ],
)
def test_others_are_refused(call: Callable[[], object]):
    with pytest.raises((BeartypeCallHintViolation, TypeCheckError)):
        call()


def test_without_checks_nothing_is_refused():
    with unchecked_shapes():
        Pairs(ones(2, 3), ones(2, 2, dtype=torch.bool))
        assert product(ones(2, 3), ones(3, 5), is_turned=True).shape == (5, 2)
        assert Box(ones(2), ones(3)).name is None
    with pytest.raises(BeartypeCallHintViolation):
        Pairs(ones(2, 3), ones(2, 2, dtype=torch.bool))
