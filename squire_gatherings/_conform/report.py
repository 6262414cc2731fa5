"""The report: what each story came to, as text and as JSON."""

from typing import Literal

import msgspec


class Result(msgspec.Struct, frozen=True):
    """What one story came to, in one encoding."""

    story: str
    encoding: str
    outcome: Literal["passed", "failed", "skipped"]
    rule: str
    see: str
    """Where the rule stands."""
    did: str | None = None
    """What the client did, if it failed; what it can't do, if the story was skipped."""
    seconds: float = 0.0


class Report(msgspec.Struct, frozen=True):
    """What all of them came to."""

    client: str
    seed: int
    results: list[Result]

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and something was played."""
        outcomes = [one.outcome for one in self.results]
        return "failed" not in outcomes and "passed" in outcomes

    def as_json(self) -> bytes:
        """Return it as JSON."""
        whole = {"passed": self.passed, **msgspec.to_builtins(self)}
        return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"

    def summary(self) -> str:
        """Return it in one sentence."""
        counts = {
            outcome: sum(one.outcome == outcome for one in self.results)
            for outcome in ("passed", "failed", "skipped")
        }
        said = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        return f"{self.client}: {said or 'nothing was played'}"


def lines_of(result: Result, seed: int) -> list[str]:
    """Return a result as it is shown while the others are played."""
    head = f"{result.outcome:7} {result.story} ({result.encoding})"
    if result.outcome == "skipped":
        return [f"{head}: the client can't {result.did}"]
    if result.outcome == "passed":
        return [head]
    again = f"--only {result.story} --encoding {result.encoding} --seed {seed}"
    return [
        head,
        f"        {result.rule}",
        f"        The client {result.did}.",
        f"        See {result.see}; once more: {again}",
    ]
