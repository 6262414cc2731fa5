"""What must be found after a crash, by the code that opens a store after any crash.

Everything that was acknowledged is there, once, in order and whole. Nothing else is there than what
was begun. Where appends were lost, they are the last ones.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import trio
from attrs import define, field

from squire_gatherings._stores.sqlite.verify import verify
from tests.filesystem.disk import Choice, Crash, Disk, Passing
from tests.filesystem.lives import NAME, Expected, Files, Life, a_store, all_said, build, do
from tests.filesystem.vfs import watched

GO_ON_EVERY = 6
"""The store goes on after one crash in this many; everything is compared at its end."""


@define
class Survivors:
    """Builds the files that crashes leave, looks at them, and counts them."""

    folder: Path
    life: Life
    expected: Expected
    looked_at: int = 0
    found: list[str] = field(factory=list)
    """The faults that were found, and how to reproduce each."""
    _seen: set[int] = field(factory=set)

    def look(self, disk: Disk, *, seed: int, most: int, all_of: int = 0) -> None:
        """Look at what the crashes of a life leave.

        Args:
            disk: The disk that noted the crashes.
            seed: Seeds the random choices.
            most: The number of outcomes that are looked at for each crash.
            all_of: Up to this number of combinations, all of a crash are looked at besides.
        """
        with watched(Passing()):
            for number, crash in enumerate(disk.crashes):
                chance = random.Random(f"{seed} {number}")
                for choices in outcomes(crash, chance, most, all_of):
                    files = {Path(path).name: data for path, data in crash.after(choices).items()}
                    what = self._look_at(crash, files)
                    if what is not None:
                        self.found.append(f"{self.life.name}, crash {number}: {what}")

    def count(self, crash: Crash, files: Files) -> int | None:
        """Return how many appends are there after a crash; None, and a finding, if that is wrong.

        The files are left as they were.
        """
        with watched(Passing()):
            counted: list[int] = []
            wrong = self._survived(crash, files, counted)
        if wrong is not None:
            self.found.append(wrong)
            return None
        return counted[0]

    def _look_at(self, crash: Crash, files: Files) -> str | None:
        key = hash((*sorted(files.items()), crash.began, crash.acknowledged))
        if key in self._seen:
            return None
        self._seen.add(key)
        self.looked_at += 1
        return self._survived(crash, files, [])

    def _survived(self, crash: Crash, files: Files, counted: list[int]) -> str | None:
        build(self.folder, files)
        try:
            return trio.run(self._survey, crash, counted)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def _survey(self, crash: Crash, counted: list[int]) -> str | None:
        possible = self.expected.said
        async with a_store(self.folder, self.life) as store:
            said = await all_said(store)
            if said not in possible:
                return f"what no appends come to: {said!r:.500}"
            count = possible.index(said)
            if not crash.acknowledged <= count <= crash.began:
                return (
                    f"{count} appends, of {crash.acknowledged} acknowledged and {crash.began} begun"
                )
            counted.append(count)
            wrong = what_is_wrong(self.folder / NAME)
            if wrong is not None or self.looked_at % GO_ON_EVERY:
                return wrong
            for deed in self.expected.deeds[count:]:
                await do(store, deed)
        async with a_store(self.folder, self.life) as store:
            if await all_said(store) != possible[-1]:
                return "what was appended after the crash isn't there"
        return None


def outcomes(crash: Crash, chance: random.Random, most: int, all_of: int) -> Iterator[list[Choice]]:
    """Yield the outcomes that a crash's changes may have."""
    if all_of:
        yield from crash.all(all_of)
    yield from crash.some(chance, most)


def what_is_wrong(path: Path) -> str | None:
    """Return what `squire-gatherings verify` finds: SQLite's own check is part of it."""
    report = verify(path, (), lambda *_: None)
    if report.wrong:
        return str(report.wrong[0])
    return f"{report.refused} appends were refused" if report.refused else None
