"""What can be on a disk after power was lost: what was synced, and any part of what was not."""

import random
from bisect import bisect_left
from itertools import pairwise
from typing import Final, NamedTuple

from proofs.trace import Event

SECTOR: Final = 512
Image = dict[str, bytes]
"""The files of a folder, by name."""


class Pending(NamedTuple):
    """Something that was done and not synced."""

    number: int
    event: Event


class Chosen(NamedTuple):
    """Of something pending: whole, or only some of its sectors, given as parts of the data. `grown` says that the file
    has its new length all the same."""

    number: int
    parts: tuple[tuple[int, int], ...] | None = None
    grown: bool = False


class Disk:
    """A folder: what is safe, and what is pending."""

    def __init__(self, before: Image) -> None:
        self._files = {place: bytes(data) for place, data in enumerate(before.values(), 1)}
        self._names = {name: place for place, name in enumerate(before, 1)}
        self._count = 0
        self._pending: list[Pending] = []
        self.generation = 0

    @property
    def names(self) -> dict[str, int]:
        """The files by their names, as far as those are safe."""
        return dict(self._names)

    @property
    def pending(self) -> list[int]:
        """The numbers of what is pending."""
        return [each.number for each in self._pending]

    def happen(self, event: Event) -> None:
        """Something is done."""
        if event.kind == "sync":
            self._settle(
                [each for each in self._pending if _is_data(each.event) and each.event.file == event.file]
            )
        elif event.kind == "sync names":
            self._settle([each for each in self._pending if not _is_data(each.event)])
        else:
            self._count += 1
            self._pending.append(Pending(self._count, event))

    def _settle(self, done: list[Pending]) -> None:
        if not done:
            return
        whole = [Chosen(each.number) for each in done]
        self._names, self._files = self._with(whole)
        gone = {each.number for each in done}
        self._pending = [each for each in self._pending if each.number not in gone]
        self.generation += 1

    def image(self, chosen: list[Chosen]) -> Image:
        """What is there when of all that is pending only this has reached the disk."""
        names, files = self._with(chosen)
        return {name: files.get(file, b"") for name, file in names.items()}

    def _with(self, chosen: list[Chosen]) -> tuple[dict[str, int], dict[int, bytes]]:
        names, files = dict(self._names), dict(self._files)
        changed: dict[int, bytearray] = {}
        numbers = [each.number for each in self._pending]
        for choice in chosen:
            event = self._pending[bisect_left(numbers, choice.number)].event
            if event.kind == "link":
                names[event.name] = event.file
            elif event.kind == "unlink":
                names.pop(event.name, None)
            else:
                data = changed.get(event.file)
                if data is None:
                    data = changed[event.file] = bytearray(files.get(event.file, b""))
                _apply(data, event, choice)
        files.update((file, bytes(data)) for file, data in changed.items())
        return names, files

    # --- choices --------------------------------------------------------------------------------------------------

    def draw(self, draw: random.Random) -> list[Chosen]:
        """Some part of what is pending: a prefix or any, whole or torn."""
        numbers = self.pending
        if draw.random() < 0.4:
            numbers = numbers[: draw.randint(0, len(numbers))]
        else:
            share = draw.choice((0.05, 0.3, 0.5, 0.7, 0.95))
            if draw.random() < 0.5 and len(numbers) > 12:  # the newest are those that matter
                early = draw.randint(len(numbers) - 12, len(numbers))
                numbers = numbers[:early] + [each for each in numbers[early:] if draw.random() < share]
            else:
                numbers = [each for each in numbers if draw.random() < share]
        chosen = [Chosen(number) for number in numbers]
        if chosen and draw.random() < 0.5:
            for place in {len(chosen) - 1, draw.randrange(len(chosen))}:
                chosen[place] = self.torn(chosen[place].number, draw)
        return chosen

    def torn(self, number: int, draw: random.Random) -> Chosen:
        """Only some of its sectors, or the first of them."""
        event = self._event(number)
        if event.kind != "write":
            return Chosen(number)
        parts = _sectors(event.offset, len(event.data))
        if draw.random() < 0.5:
            kept = parts[: draw.randint(0, len(parts) - 1)]
        else:
            kept = [part for part in parts if draw.random() < 0.5]
        return Chosen(number, tuple(kept), draw.random() < 0.5)

    def plain(self) -> list[list[Chosen]]:
        """Nothing of what is pending, all, all but the last, only the last, and only names or only data."""
        numbers = self.pending
        names = [number for number in numbers if not _is_data(self._event(number))]
        data = [number for number in numbers if _is_data(self._event(number))]
        wanted = [[], numbers, numbers[:-1], numbers[-1:], names, data, numbers[1:]]
        return [[Chosen(number) for number in each] for each in wanted]

    def _event(self, number: int) -> Event:
        return self._pending[bisect_left(self.pending, number)].event


def _is_data(event: Event) -> bool:
    return event.kind in ("write", "truncate")


def _sectors(offset: int, length: int) -> list[tuple[int, int]]:
    """Where a write is cut: start and end of each part within its data."""
    cuts = [0, *range(SECTOR - offset % SECTOR, length, SECTOR), length]
    return list(pairwise(cuts))


def _apply(data: bytearray, event: Event, choice: Chosen) -> None:
    if event.kind == "truncate":
        if len(data) > event.offset:
            del data[event.offset :]
        else:
            data.extend(bytes(event.offset - len(data)))
        return
    parts = ((0, len(event.data)),) if choice.parts is None else choice.parts
    end = event.offset + (
        len(event.data) if choice.grown else max((part[1] for part in parts), default=-event.offset)
    )
    if len(data) < end:
        data.extend(bytes(end - len(data)))
    for start, stop in parts:
        data[event.offset + start : event.offset + stop] = event.data[start:stop]
