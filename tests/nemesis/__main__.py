"""`python -m tests.nemesis`: a run of an hour, or of `--minutes`, from a `--seed`.

Exit code 0: nothing was violated. 1: something was; what is kept in `--keep FOLDER`, or in a
temporary folder that is then named: the diary, histories that are wrong, and what the nodes wrote.
"""

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

import trio

from tests.nemesis.diary import Diary
from tests.nemesis.network import is_possible
from tests.nemesis.run import Plan, Run


def main() -> int:
    """Run, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--store", help="of one node alone; not given: a PostgreSQL of its own")
    parser.add_argument(
        "--networks",
        action=argparse.BooleanOptionalAction,
        help="each node has its own; not given: where that is possible, and the seed is odd",
    )
    parser.add_argument("--only", nargs="*", default=[], help="names of faults")
    parser.add_argument("--gatherings", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=300.0, help="syncs a second, of all clients")
    parser.add_argument("--pause", type=float, default=5.0, help="seconds between two faults")
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    plan = Plan(
        seed=given.seed,
        seconds=60 * given.minutes,
        nodes=given.nodes,
        store=given.store,
        has_networks=given.seed % 2 == 1 and is_possible()
        if given.networks is None
        else given.networks,
        only=tuple(given.only),
        gatherings=given.gatherings,
        rate=given.rate,
        pause=given.pause,
    )
    folder = given.keep or Path(tempfile.mkdtemp(prefix="nemesis-"))
    folder.mkdir(exist_ok=True)
    # The server of PostgreSQL is another user's, where we are root.
    folder.chmod(0o755)
    diary = Diary(settle=plan.lease + 2, folder=folder, is_loud=True)
    print(f"seed {plan.seed}, in {folder}", file=sys.stderr, flush=True)
    try:
        trio.run(Run(plan, folder, diary).run)
    finally:
        (folder / "diary.txt").write_text(str(diary))
        print(dict(sorted(diary.counts.items())))
    if diary.counts["violations"]:
        print(f"{diary.counts['violations']} violations, seed {plan.seed}: {folder}/diary.txt")
        return 1
    print(f"nothing was violated, seed {plan.seed}")
    if given.keep is None:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
