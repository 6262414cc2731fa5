"""The log check of one gathering: its clients must agree on which op has which seq."""

from array import array

from squire_gatherings._load.checks.findings import Finding, Kind

UNKNOWN = -1


class LogCheck:
    """Ops by seq, and seqs by op. Each op that a client hears of is compared with them.

    The clients number the ops that they submit, from 0 to `count` - 1. The server numbers what it
    applies: seqs begin with 1.
    """

    __slots__ = ("_acknowledged", "_op_of", "_seq_of", "acknowledged", "settled")

    def __init__(self, count: int) -> None:
        self._op_of = array("q")
        self._seq_of = array("q", [0] * count)
        self._acknowledged = bytearray(count)
        self.acknowledged = 0
        """The highest seq that the server said is durable."""
        self.settled = 0
        """How many ops were acknowledged."""

    @property
    def known(self) -> int:
        """The highest seq that anybody heard of."""
        return len(self._op_of)

    def seq_of(self, number: int) -> int:
        """Return an op's seq, 0 if nobody has heard of it."""
        return self._seq_of[number]

    def record(self, seq: int, number: int) -> None:
        """Somebody heard of op `number` under `seq`.

        Raises:
            Finding: It contradicts what was heard before.
        """
        if not 0 <= number < len(self._seq_of):
            raise Finding(Kind.CONTENT, f"op {number}, which nobody submitted", seq)
        ops = self._op_of
        index = seq - 1
        if index < len(ops):
            there = ops[index]
            if there == number:
                return
            if there != UNKNOWN:
                raise Finding(Kind.CONTENT, f"op {number}, but others got op {there}", seq)
        else:
            ops.extend([UNKNOWN] * (index + 1 - len(ops)))
        before = self._seq_of[number]
        if before:
            if self._acknowledged[number]:
                what = f"op {number}, which its author was told has seq {before}"
                raise Finding(Kind.WRONG_SEQ, what, seq)
            raise Finding(Kind.CONTENT, f"op {number}, which has seq {before} already", seq)
        ops[index] = number
        self._seq_of[number] = seq

    def acknowledge(self, seq: int, number: int) -> None:
        """The server told its author that op `number` is durable under `seq`.

        Raises:
            Finding: It contradicts what was heard before.
        """
        self.settled += 1
        if seq > self.acknowledged:
            self.acknowledged = seq
        if 0 <= number < len(self._seq_of):
            before = self._seq_of[number]
            if before not in (0, seq):
                what = f"op {number} was acknowledged, which others got under {before}"
                raise Finding(Kind.WRONG_SEQ, what, seq)
            self._acknowledged[number] = 1
        self.record(seq, number)
