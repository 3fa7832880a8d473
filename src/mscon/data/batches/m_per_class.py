"""Balanced batches: a batch has a minimum number of rows of a class (the floor) or none, in every column that is named.

This module works on class numbers and knows no similarity, table or image.

How the batches of an epoch are planned:

1. The rows of each class are grouped into bundles of k to 2k - 1 rows, where k is the floor. The leading column is the
   one whose rows would most often lack others of their class in random batches; rows without a class there are bundled
   by the next column. Within a class, rows that also share classes in the other columns come into one bundle.
2. Bundles are put into batches, larger ones first and else in random order, each into the batch with fewest rows.
3. A row is short if its batch has fewer rows of its class than the floor. Bundles are exchanged where that helps.
4. Rows that are still short are taken out, until none is, and put back into batches that have room and enough rows of
   their classes. With `keep_short` they stay.

Steps 1 and 2 keep the floor of the leading column for every row. So with one column every row comes exactly once.
Step 4 keeps all floors of all columns, whatever the table; rows that fit into no batch are reported as left over.
Without it every row comes exactly once, and floors hold as far as the other steps reached.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from jaxtyping import Int

# A column leads or is sorted by if chance alone would leave more than this share of its rows short.
_RARE = 0.01
# Exchanges tried for a row that is short. Of 20 nearly all that can be helped are.
_TRIES = 20
# Rounds over all that is short; a later round helps where an earlier one made room.
_ROUNDS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """The batches of one epoch.

    Attributes:
        batches: positions of the rows of each; no row is in two, or twice in one.
        left_over: positions of the rows that are in none, ascending.
    """

    batches: tuple[Int[np.ndarray, " _"], ...]
    left_over: Int[np.ndarray, " left_over"]


def count_balanced(rows: int, batch_size: int, at_least: int) -> int:
    """How many batches `balanced_plan` makes: a few more than full ones would be, so that bundles always fit.

    Raises:
        ValueError: if a batch is too small for the floor.
    """
    room = batch_size - 2 * (at_least - 1)
    if at_least < 1 or room < 1:
        raise ValueError(f"a batch of {batch_size} rows is too small for a floor of {at_least}: it takes 2 k - 1.")
    return -(-rows // room) if rows > batch_size else min(rows, 1)


def demanded(codes: Int[np.ndarray, "columns rows"], at_least: int) -> Int[np.ndarray, "columns rows"]:
    """The same codes, -1 also for classes that have fewer rows than the floor: nothing can be demanded of them."""
    large = codes.copy()
    for column in large:
        known = column >= 0
        sizes = np.bincount(column[known], minlength=1)
        column[known & (sizes[np.maximum(column, 0)] < at_least)] = -1
    return large


def balanced_plan(
    codes: Int[np.ndarray, "columns rows"],
    batch_size: int,
    at_least: int,
    seed: int,
    epoch: int,
    *,
    keep_short: bool = False,
) -> Plan:
    """Plan the batches of an epoch so that in each of them a class has `at_least` rows or none.

    A function of its arguments alone. Every row is in at most one batch, every batch has at most `batch_size` rows,
    and their number is `count_balanced`. Classes of fewer than `at_least` rows demand nothing, so their rows are
    placed like rows without a label. With one column no row is left over. With several, rows are left over where the
    columns contradict each other: in the worst case, two columns whose pairs make long chains, very many are.

    Args:
        codes: for each column a class number a row, -1 where missing.
        batch_size: most rows of a batch.
        at_least: the floor k; 1 demands nothing.
        seed, epoch: what is by chance depends on these two.
        keep_short: keep rows for which a floor does not hold, so that none is left over.

    Raises:
        ValueError: if a batch is too small for the floor.
    """
    rows = codes.shape[1]
    count = count_balanced(rows, batch_size, at_least)
    chance = np.random.default_rng(_hashed(seed, epoch))
    if rows == 0:
        return Plan((), np.arange(0))
    demands = demanded(codes, at_least)
    risk = [_short_by_chance(column, rows, min(batch_size, rows), at_least) for column in demands]
    order = [int(c) for c in np.argsort(-np.array(risk), kind="stable")] if risk else []
    leading = [c for c in order if risk[c] > _RARE] or order[:1]
    batches = _Batches.dealt(_bundles(demands, leading, at_least, chance), demands, count, batch_size, at_least)
    batches.exchange(chance)
    left = [] if keep_short else batches.put_back(batches.take_out(), leading, chance)
    return Plan(
        tuple(chance.permutation(np.array(batch, dtype=np.int64)) for batch in batches.rows()),
        np.array(sorted(left), dtype=np.int64),
    )


def _hashed(seed: int, epoch: int) -> int:
    # Hashed and not added: seed 0 in epoch 1 must not be seed 1 in epoch 0.
    return int.from_bytes(blake2b(f"{seed}/{epoch}/balanced".encode(), digest_size=8).digest(), "big")


def _short_by_chance(column: Int[np.ndarray, " rows"], rows: int, batch_size: int, at_least: int) -> float:
    """Expected share of rows with fewer than `at_least` of their class in a random batch (Poisson approximation)."""
    known = column[column >= 0]
    sizes = np.bincount(known)[np.unique(known)] if known.size else np.array([1])
    mean = (sizes - 1) * (batch_size - 1) / max(rows - 1, 1)
    few = sum(np.exp(-mean) * mean**j / math.factorial(j) for j in range(at_least - 1))
    return float((sizes * few).sum() / rows)


def _bundles(
    codes: Int[np.ndarray, "columns rows"], leading: Sequence[int], at_least: int, chance: np.random.Generator
) -> list[list[int]]:
    """Bundles of step 1: rows of one class of a leading column, or a single row."""
    bundles: list[list[int]] = []
    rest = chance.permutation(codes.shape[1])
    # Classes in an order of this epoch's own, so that not the same rows are alike in the other columns each time.
    numbers = {c: chance.permutation(int(codes[c].max(initial=0)) + 1) for c in leading}
    for c in leading:
        known = codes[c, rest] >= 0
        mine, rest = rest[known], rest[~known]
        others = [numbers[o][codes[o, mine]] for o in reversed(leading) if o != c]
        mine = mine[np.lexsort([*others, codes[c, mine]])]  # stable: of equal ones the order by chance stays
        for group in np.split(mine, np.flatnonzero(np.diff(codes[c, mine])) + 1):
            cuts = np.arange(1, max(len(group) // at_least, 1)) * at_least
            bundles += [part.tolist() for part in np.split(group, cuts) if len(part)]
    bundles += [[int(row)] for row in rest]
    shuffled = [bundles[i] for i in chance.permutation(len(bundles))]
    return sorted(shuffled, key=len, reverse=True)


class _Batches:
    """Bundles in batches, and how many rows of which class each batch has. Changed from step to step."""

    def __init__(self, codes: Int[np.ndarray, "columns rows"], count: int, batch_size: int, at_least: int) -> None:
        self.demands = [[(c, int(v)) for c, v in enumerate(row) if v >= 0] for row in codes.T]
        self.most, self.floor = batch_size, at_least
        self.members: list[list[list[int]]] = [[] for _ in range(count)]
        self.sizes = [0] * count
        # (column, class) -> batch -> rows. Sparse: of many classes a batch has few.
        self.where: defaultdict[tuple[int, int], Counter[int]] = defaultdict(Counter)

    @classmethod
    def dealt(
        cls,
        bundles: Iterable[list[int]],
        codes: Int[np.ndarray, "columns rows"],
        count: int,
        batch_size: int,
        at_least: int,
    ) -> _Batches:
        batches = cls(codes, count, batch_size, at_least)
        emptiest = [(0, number) for number in range(count)]
        for bundle in bundles:
            size, number = heapq.heappop(emptiest)
            batches._put(bundle, number)
            heapq.heappush(emptiest, (size + len(bundle), number))
        return batches

    def rows(self) -> list[list[int]]:
        return [[row for bundle in batch for row in bundle] for batch in self.members]

    def _put(self, bundle: list[int], number: int) -> None:
        self.members[number].append(bundle)
        self._count(bundle, number, 1)

    def _count(self, bundle: list[int], number: int, sign: int) -> int:
        """Add or remove the rows of a bundle; returns by how much the number of short rows in the batch grew."""
        self.sizes[number] += sign * len(bundle)
        grown = 0
        for row in bundle:
            for demand in self.demands[row]:
                here = self.where[demand]
                before = here[number]
                after = before + sign
                if after:
                    here[number] = after
                else:
                    del here[number]
                grown += (after < self.floor) * after - (before < self.floor) * before
        return grown

    def _short(self, bundle: list[int], number: int) -> list[tuple[int, int]]:
        """Classes of a bundle of which its batch has too few rows."""
        return [d for row in bundle for d in self.demands[row] if self.where[d][number] < self.floor]

    def exchange(self, chance: np.random.Generator) -> None:
        """Swap bundles between batches as long as fewer rows are short for it."""
        if len(self.members) < 2:
            return
        for _ in range(_ROUNDS):
            helped = False
            for number in range(len(self.members)):
                for bundle in list(self.members[number]):
                    # It may have gone elsewhere meanwhile, in exchange for one that was short.
                    here = any(bundle is member for member in self.members[number])
                    if here and (short := self._short(bundle, number)):
                        helped |= self._help(number, bundle, short[0], chance)
            if not helped:
                return

    def _help(self, number: int, bundle: list[int], demand: tuple[int, int], chance: np.random.Generator) -> bool:
        """Move a bundle to a batch with rows of its class, or such rows here, in exchange for another bundle."""
        elsewhere = [other for other in self.where[demand] if other != number]
        if not elsewhere:
            return False
        for draw in chance.random((_TRIES, 2)):
            other = elsewhere[int(draw[0] * len(elsewhere))]
            theirs = self.members[other]
            if draw[1] < 0.5:  # what is left of the draw chooses the bundle that is given in exchange
                goes, comes = bundle, theirs[int(2 * draw[1] * len(theirs))]
            else:
                mine = self.members[number]
                goes = mine[int((2 * draw[1] - 1) * len(mine))]
                comes = next(b for b in theirs if any(demand in self.demands[row] for row in b))
            if goes is comes or (self._swap(number, goes, other, comes)):
                return True
        return False

    def _swap(self, a: int, goes: list[int], b: int, comes: list[int]) -> bool:
        """Exchange two bundles if fewer rows are short then; whether it was done."""
        more = len(comes) - len(goes)
        if self.sizes[a] + more > self.most or self.sizes[b] - more > self.most:
            return False
        moves = ((goes, a, -1), (comes, b, -1), (goes, b, 1), (comes, a, 1))
        if sum(self._count(*move) for move in moves) < 0:
            self.members[a].remove(goes)
            self.members[b].remove(comes)
            self.members[a].append(comes)
            self.members[b].append(goes)
            return True
        for bundle, number, sign in reversed(moves):
            self._count(bundle, number, -sign)
        return False

    def take_out(self) -> list[int]:
        """Take out every row that is short, and those that are short for it, until none is."""
        removed: list[int] = []
        for number, batch in enumerate(self.members):
            rows = [row for bundle in batch for row in bundle]
            while out := [row for row in rows if self._short([row], number)]:
                for row in out:
                    self._count([row], number, -1)
                gone = set(out)
                rows = [row for row in rows if row not in gone]
                removed += out
            self.members[number] = [[row] for row in rows]
        return removed

    def put_back(self, removed: Sequence[int], leading: Sequence[int], chance: np.random.Generator) -> list[int]:
        """Place rows one by one, then in groups of one class, where all floors hold; those without a place."""
        left = [row for row in chance.permutation(np.array(removed, dtype=np.int64)).tolist() if not self._place([row])]
        for c in leading:
            groups: defaultdict[int, list[int]] = defaultdict(list)
            for row in left:
                groups[next((v for d, v in self.demands[row] if d == c), -1)].append(row)
            left = groups.pop(-1, [])
            for group in groups.values():
                for start in range(0, len(group), self.floor):
                    part = group[start : start + self.floor]
                    if not self._place(part):
                        left += part
        return [row for row in left if not self._place([row])]

    def _place(self, group: list[int]) -> bool:
        """Put rows into the emptiest batch in which all floors hold with them."""
        needs = Counter(d for row in group for d in self.demands[row])
        poor = [d for d, n in needs.items() if n < self.floor]
        room = self.most - len(group)
        # Where a class is at all, it has its floor.
        homes = set(self.where[poor[0]]) if poor else set(range(len(self.members)))
        for demand in poor[1:]:
            homes &= self.where[demand].keys()
        fitting = [number for number in homes if self.sizes[number] <= room]
        if not fitting:
            return False
        self._put(group, min(fitting, key=lambda number: (self.sizes[number], number)))
        return True
