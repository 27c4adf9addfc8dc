"""The ids of an execution's steps by position, and their positions by id."""

from array import array
from bisect import bisect_right, insort
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TypeAlias

from .. import typeid
from ..journal import LOW_62, Run

Indices: TypeAlias = "range | array[int]"
"""Positions that count up by one, or an `array("I")` of any."""

_PREFIX = "step_"
_SECOND_LAST = 1024  # two characters of an id stand for so many numbers


def joined(parts: Iterable[Iterable[int]]) -> Indices:
    """The positions one after the other: a range if they count up by one."""
    found = array("I")
    for part in parts:
        found.extend(part)
    if not found:
        return range(0)
    whole = range(found[0], found[0] + len(found))
    return whole if found[-1] == whole[-1] and found == array("I", whole) else found


def spans(at: Indices) -> Iterator[range]:
    """The longest ranges that the positions consist of, in their order."""
    if isinstance(at, range):
        yield at
        return
    start = end = 0
    for index in at:
        if index != end:
            if start != end:
                yield range(start, end)
            start = index
        end = index + 1
    if start != end:
        yield range(start, end)


class Lookup:
    """Which step has which id.

    An id that was made for one step is kept as text. Consecutive ids of many are a block, and become text when
    somebody asks: text takes longer to make and more room than all the rest of a step.
    """

    __slots__ = ("_by_place", "_greatest", "_head", "_looked_at", "by_number", "by_text", "texts")

    def __init__(self) -> None:
        self.texts: list[str | None] = []
        self.by_text: dict[str, int] = {}
        # Each block twice: its first position, the number of the id there and how many; and by that number.
        self._by_place: list[tuple[int, int, int]] = []
        self.by_number: list[tuple[int, int, int]] = []
        # No text among the first `_looked_at` steps is greater.
        self._greatest = ""
        self._looked_at = 0
        self._head = (-1, "")

    # --- making ---

    def add_runs(self, runs: Iterable[Run]) -> None:
        """The ids of the next steps, which are new."""
        for first, count in runs:
            if count == 1:
                self.by_text[first] = len(self.texts)
                self.texts.append(first)
                continue
            start, number = len(self.texts), _number(first)
            if self._looked_at == start:
                self._looked_at += count
            insort(self.by_number, (number, start, count))
            self._by_place.append((start, number, count))
            self.texts += [None] * count

    def truncate(self, count: int) -> None:
        """Forgets all steps but the first so many."""
        for text in self.texts[count:]:
            if text is not None:
                del self.by_text[text]
        del self.texts[count:]
        while self._by_place and self._by_place[-1][0] >= count:
            start, number, length = self._by_place.pop()
            self.by_number.remove((number, start, length))
        self._looked_at = min(self._looked_at, count)

    # --- by position ---

    def text(self, index: int) -> str:
        """The id of the step at this position."""
        found = self.texts[index]
        if found is None:
            high, low = divmod(self._number(index), _SECOND_LAST)
            head = self._head
            if head[0] != high:  # mostly the step before was asked for before
                head = self._head = (high, _PREFIX + typeid.suffix_of(high * _SECOND_LAST)[:-2])
            found = head[1] + typeid.PAIRS[low]
        return found

    def ids(self, at: Indices) -> list[str]:
        """The ids of the steps at these positions."""
        found: list[str] = []
        for span in spans(at):
            texts = self.texts[span.start : span.stop]
            for start, number, count in self._blocks(span):
                first = start - span.start
                texts[first : first + count] = typeid.consecutive("step", number, count)
            found += texts  # type: ignore[arg-type]  # those that were `None` are in a block
        return found

    def runs(self, at: Indices) -> list[Run]:
        """The same as runs of consecutive ids, as long as can be."""
        found: list[Run] = []
        first, count, following = "", 0, -1
        for index, number, length in self._pieces(at):
            if count and number == following and number & LOW_62:
                count += length
            else:
                if count:
                    found.append((first, count))
                first, count = self.text(index), length
            following = number + length
        if count:
            found.append((first, count))
        return found

    # --- by id ---

    def find(self, text: str) -> int | None:
        """The position of the step with this id."""
        found = self.by_text.get(text)
        if found is None and self.by_number and text.startswith(_PREFIX):
            number = typeid.number_of(text[len(_PREFIX) :])
            if number is not None:
                start, _ = self._in_block(number)
                return start
        return found

    def places(self, runs: Iterable[Run]) -> "Indices | None":
        """The positions of the steps with these ids; `None` where one of them is not there."""
        found: list[Iterable[int]] = []
        for first, count in runs:
            number, end = _number(first), _number(first) + count
            while number < end:
                start, length = self._in_block(number)
                if start is None:
                    start = self.by_text.get(first if count == 1 else _PREFIX + typeid.suffix_of(number))
                    length = 1
                if start is None:
                    return None
                length = min(length, end - number)
                found.append(range(start, start + length))
                number += length
        return found[0] if len(found) == 1 and isinstance(found[0], range) else joined(found)

    def are_new(self, runs: Iterable[Run]) -> bool:
        """Whether none of these ids is there, nor twice among them."""
        sorted_runs = sorted((_number(first), count, first) for first, count in runs)
        if any(one + count > other for (one, count, _), (other, _, _) in pairwise(sorted_runs)):
            return False
        greatest = self._greatest_text()
        for number, count, first in sorted_runs:
            at = bisect_right(self.by_number, (number + count,)) - 1
            if at >= 0 and number < self.by_number[at][0] + self.by_number[at][2]:
                return False
            if first <= greatest and not self.by_text.keys().isdisjoint(
                typeid.consecutive("step", number, count)
            ):
                return False
        return True

    # --- inside ---

    def _greatest_text(self) -> str:
        if self._looked_at < len(self.texts):
            made = self.texts[self._looked_at :]
            self._greatest = max(self._greatest, max((text for text in made if text is not None), default=""))
            self._looked_at = len(self.texts)
        return self._greatest

    def _number(self, index: int) -> int:
        text = self.texts[index]
        if text is not None:
            return _number(text)
        start, number, _ = self._by_place[bisect_right(self._by_place, (index + 1,)) - 1]
        return number + index - start

    def _in_block(self, number: int) -> tuple[int | None, int]:
        """The position of the id with this number in its block, and how many ids the block has from there on."""
        at = bisect_right(self.by_number, (number + 1,)) - 1
        if at >= 0:
            first, start, count = self.by_number[at]
            if number < first + count:
                return start + number - first, first + count - number
        return None, 0

    def _blocks(self, span: range) -> Iterator[tuple[int, int, int]]:
        """The parts of blocks that lie within these positions: position, number, how many."""
        at = max(bisect_right(self._by_place, (span.start + 1,)) - 1, 0)
        while at < len(self._by_place) and self._by_place[at][0] < span.stop:
            start, number, count = self._by_place[at]
            first, end = max(start, span.start), min(start + count, span.stop)
            if first < end:
                yield first, number + first - start, end - first
            at += 1

    def _pieces(self, at: Indices) -> Iterator[tuple[int, int, int]]:
        """The ids at these positions as parts of blocks and single ones: position, number, how many."""
        for span in spans(at):
            index = span.start
            for start, number, count in self._blocks(span):
                for single in range(index, start):
                    yield single, self._number(single), 1
                yield start, number, count
                index = start + count
            for single in range(index, span.stop):
                yield single, self._number(single), 1


def _number(text: str) -> int:
    return typeid.number_of(text[len(_PREFIX) :]) or 0
