"""One by one: a behaviour that judges each op of a sync on top of those before it."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence

from msgspec.structs import replace

from squire_gatherings._rules.behaviour import Stamp, Submission
from squire_gatherings._values.op import Op


class JudgesOneByOne(ABC):
    """What a behaviour may be a subclass of: it then has `judge_op` in place of `judge`.

    Of a sync with several ops, each is judged by a copy of the behaviour (`copy.deepcopy`), which
    has folded those before it. A sync with one op, which most are, needs no copy.
    """

    @abstractmethod
    def judge_op(self, op: Op, submission: Submission) -> Op:
        """Return the op to be logged for this one: it, or another (`Op.of`).

        As `Behaviour.judge`, for one op. The state has the ops of the same sync that come before
        it, and `submission.seq` is the last one of these: they are nothing that the submitter
        lacks. If it refuses one op, none of the sync is logged.
        """
        ...

    @abstractmethod
    def fold(self, op: Op, stamp: Stamp) -> None:
        """As `Behaviour.fold`."""
        ...

    def judge(self, ops: Sequence[Op], submission: Submission) -> Sequence[Op]:
        """As `Behaviour.judge`: judge each op on top of those before it."""
        if len(ops) == 1:
            [op] = ops
            found = self.judge_op(op, submission)
            return ops if found is op else (found,)
        ahead, judged = copy.deepcopy(self), list[Op]()
        for number, op in enumerate(ops):
            seq = submission.seq + number
            base = submission.base if submission.is_stale else seq
            found = ahead.judge_op(op, replace(submission, base=base, seq=seq))
            judged.append(found)
            if number + 1 < len(ops):
                ahead.fold(found, Stamp(seq + 1, submission.time, submission.identity.user))
        same = all(one is op for one, op in zip(judged, ops, strict=True))
        return ops if same else judged
