"""The disk: what was done to files since they were last flushed, and what a crash makes of it.

Until a file is flushed, each of its writes may be there, lost, torn at a sector, or garbage. Any
combination is possible, since disks and file systems reorder. The same holds for a file's size and,
until a directory is flushed, for its names. What was written before, and other bytes than those
that are being written, stay as they are: SQLite assumes that, too
(https://www.sqlite.org/psow.html).
"""

import random
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from threading import Lock

from attrs import define, field, frozen

SECTOR = 512

LOST, WHOLE = 0, 1
ZEROS = bytes(SECTOR)
"""The content of a file whose size was written, but not its content."""


@frozen
class Write:
    """A change that puts bytes into a file."""

    file: int
    at: int
    data: bytes

    def sectors(self) -> list[tuple[int, int]]:
        """Return where each sector begins and ends in the data: a disk writes a sector at once."""
        ends = [0, *range(SECTOR - self.at % SECTOR, len(self.data), SECTOR), len(self.data)]
        return list(pairwise(ends))


@frozen
class Truncate:
    """A change of a file's size."""

    file: int
    size: int


@frozen
class Name:
    """A change of a name: it leads to this file from now on, or to none."""

    path: str
    file: int | None


Change = Write | Truncate | Name
Choice = int | tuple[int | bytes, ...]
"""What the disk has of a change: nothing, all, or for each sector nothing, all or garbage."""


@define
class _Files:
    """What is certainly on the disk."""

    contents: dict[int, bytes] = field(factory=dict)
    names: dict[str, int] = field(factory=dict)


@frozen
class Crash:
    """A moment at which the power fails: what is safe, what isn't, and what was acknowledged."""

    safe: dict[int, bytes]
    names: dict[str, int]
    changes: tuple[Change, ...]
    """What may be lost, in the order in which it happened."""
    began: int
    """The number of appends that had begun."""
    acknowledged: int
    """The number of those that were acknowledged."""

    def after(self, choices: Sequence[Choice]) -> dict[str, bytes]:
        """Return the files that are there afterwards, if the changes came out like this."""
        contents = {file: bytearray(data) for file, data in self.safe.items()}
        names = dict(self.names)
        for change, choice in zip(self.changes, choices, strict=True):
            if choice != LOST:
                _do(change, choice, contents, names)
        return {path: bytes(contents.get(file, b"")) for path, file in names.items()}

    # The outcomes that the changes may have.

    def some(self, chance: random.Random, most: int) -> Iterator[list[Choice]]:
        """Give the simplest outcomes, then random ones: about `most` in all."""
        count = len(self.changes)
        yield [WHOLE] * count
        yield [LOST] * count
        singly = chance.sample(range(count), min(count, most // 5))
        for n in singly:
            yield [*([WHOLE] * n), LOST, *self._rest(n, WHOLE)]
            yield [*([WHOLE] * n), LOST, *self._rest(n, LOST)]
            change = self.changes[n]
            if isinstance(change, Write):
                for what in (_garbage(chance), ZEROS):
                    yield [*([WHOLE] * n), (what,) * len(change.sectors()), *self._rest(n, WHOLE)]
        for _ in range(most - 4 * len(singly) - 2):
            # Some outcomes have nearly all changes, others nearly none.
            share = chance.random()
            yield [self._outcome(chance, change, share) for change in self.changes]

    def all(self, most: int) -> Iterator[list[Choice]]:
        """Give each combination of lost and whole, and each write torn at each sector.

        Where there are more than `most` combinations, the first changes are whole in all of them:
        the last changes matter most, and `some` covers the rest.
        """
        count = len(self.changes)
        free = min(count, most.bit_length() - 1)
        for last in product((LOST, WHOLE), repeat=free):
            yield [*([WHOLE] * (count - free)), *last]
        for n, change in enumerate(self.changes):
            if isinstance(change, Write):
                pieces = len(change.sectors())
                for first, others in product(range(1, pieces), (LOST, WHOLE)):
                    for one, two in ((WHOLE, LOST), (LOST, WHOLE)):
                        torn = (*([one] * first), *([two] * (pieces - first)))
                        yield [*([WHOLE] * n), torn, *([others] * (count - n - 1))]

    def _rest(self, n: int, choice: Choice) -> list[Choice]:
        """Give all changes after the n-th this same outcome."""
        return [choice] * (len(self.changes) - n - 1)

    def _outcome(self, chance: random.Random, change: Change, share: float) -> Choice:
        whole = chance.random() < share
        if not isinstance(change, Write) or chance.random() < 0.6:
            return WHOLE if whole else LOST
        kinds: list[int | bytes] = [WHOLE, LOST, _garbage(chance), ZEROS]
        return tuple(chance.choices(kinds, [share, 1 - share, 0.1, 0.1], k=len(change.sectors())))


def _garbage(chance: random.Random) -> bytes:
    return chance.randbytes(SECTOR)


def _do(
    change: Change, choice: Choice, contents: dict[int, bytearray], names: dict[str, int]
) -> None:
    if isinstance(change, Name):
        if change.file is None:
            names.pop(change.path, None)
        else:
            names[change.path] = change.file
        return
    content = contents.setdefault(change.file, bytearray())
    if isinstance(change, Truncate):
        _resize(content, change.size)
    elif choice == WHOLE:
        _put(content, change.at, change.data)
    else:
        assert isinstance(choice, tuple)
        for (start, end), what in zip(change.sectors(), choice, strict=True):
            if what != LOST:
                data = change.data[start:end] if what == WHOLE else what
                assert isinstance(data, bytes)
                _put(content, change.at + start, data[: end - start])


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _put(content: bytearray, at: int, data: bytes) -> None:
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    content[at : at + len(data)] = data


@define(eq=False)
class Disk:
    """Watches files (see `vfs.Watcher`), and notes at which moments a crash leaves most open.

    Changes only become more until something is flushed, so nothing is left open at an earlier
    moment that isn't open just before that. Each such moment is a crash.
    """

    crashes: list[Crash] = field(factory=list)
    began: int = 0
    acknowledged: int = 0
    is_over: bool = False
    """Whether no more crashes are noted."""
    _files: _Files = field(factory=_Files)
    _names: dict[str, int] = field(factory=dict)
    """The file that each name leads to now."""
    _changes: list[Change] = field(factory=list)
    _last: int = 0
    _lock: Lock = field(factory=Lock)

    def begin(self, there: dict[str, bytes]) -> None:
        """Put these files on the disk before anything happens."""
        for path, data in there.items():
            self._names[path] = self._files.names[path] = self._new_file()
            self._files.contents[self._last] = data

    def opens(self, path: str, *, makes: bool) -> None:
        with self._lock:
            # A file that another program has made since the beginning is new as well.
            if makes or path not in self._names:
                self._names[path] = self._new_file()
                self._changes.append(Name(path, self._last))

    def writes(self, path: str, at: int, data: bytes) -> None:
        with self._lock:
            self._changes.append(Write(self._names[path], at, data))

    def truncates(self, path: str, size: int) -> None:
        with self._lock:
            self._changes.append(Truncate(self._names[path], size))

    def syncs(self, path: str, *, directory: bool) -> bool:
        with self._lock:
            self._note()
            file = self._names[path]
            self._settle(lambda one: not isinstance(one, Name) and one.file == file)
            if directory:
                self._settle(lambda one: isinstance(one, Name))
        return False

    def deletes(self, path: str, *, directory: bool) -> None:
        with self._lock:
            self._names.pop(path, None)
            self._changes.append(Name(path, None))
            if directory:
                self._note()
                self._settle(lambda one: isinstance(one, Name))

    def note(self) -> None:
        """Note a crash at this moment, too: an append was acknowledged just now, say."""
        with self._lock:
            self._note()

    def _new_file(self) -> int:
        self._last += 1
        return self._last

    def _note(self) -> None:
        safe = self._files
        if self.is_over:
            return
        self.crashes.append(
            Crash(
                dict(safe.contents),
                dict(safe.names),
                tuple(self._changes),
                self.began,
                self.acknowledged,
            )
        )

    def _settle(self, which: Callable[[Change], bool]) -> None:
        settled = [one for one in self._changes if which(one)]
        self._changes = [one for one in self._changes if not which(one)]
        contents = {file: bytearray(data) for file, data in self._files.contents.items()}
        for change in settled:
            _do(change, WHOLE, contents, self._files.names)
        self._files.contents = {file: bytes(data) for file, data in contents.items()}


class Passing:
    """A watcher that notes nothing and flushes nothing, for stores that needn't last."""

    def opens(self, path: str, *, makes: bool) -> None:
        """Do nothing."""

    def writes(self, path: str, at: int, data: bytes) -> None:
        """Do nothing."""

    def truncates(self, path: str, size: int) -> None:
        """Do nothing."""

    def syncs(self, path: str, *, directory: bool) -> bool:
        return False

    def deletes(self, path: str, *, directory: bool) -> None:
        """Do nothing."""
