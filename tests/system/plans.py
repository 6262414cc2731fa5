"""Plans: the setup of a world, and what happens in it."""

from hypothesis import strategies as st

# Each of them adds its rules to `RULES`.
import tests.system.rules
import tests.system.rules_of_ends
import tests.system.rules_of_presence  # noqa: F401
from tests.system.life import Rules
from tests.system.rule import RULES, Step
from tests.system.setup import Setup

setups = st.builds(
    Setup,
    rules=st.builds(
        Rules,
        empty_timeout=st.sampled_from([None, None, 5.0, 0.0, 30.0]),
        unjoined_timeout=st.sampled_from([None, None, 4.0, 25.0]),
        alone_timeout=st.sampled_from([None, None, None, 7.0, 25.0]),
        alone_clients=st.sampled_from([1, 1, 2]),
        max_age=st.sampled_from([None, None, None, 30.0, 61.0]),
        warn_before=st.sampled_from([None, None, 3.0, 10.0]),
    ),
    sleep_after=st.sampled_from([None, None, 0.5, 3.0, 8.0]),
    snapshots=st.booleans(),
    events=st.booleans(),
    way=st.sampled_from(["streams", "sockets", "streams", "sockets", "tls"]),
    packed=st.booleans(),
    tail_bytes=st.sampled_from([10_000, 60, 300]),
    batch_bytes=st.sampled_from([10_000, 150]),
    recent_syncs=st.sampled_from([256, 2, 1]),
    crowd=st.sampled_from([128, 1]),
    are_there=st.booleans(),
)
pauses = st.sampled_from(["", "", "tick", "ticks", "settle"])


STEPS = {
    name: st.builds(Step, pauses, st.just(name), st.fixed_dictionaries(one.arguments))
    for name, one in RULES.items()
}
"""Made once: hypothesis takes longer to look at new strategies than a life lasts."""


def _steps(names: list[str]) -> st.SearchStrategy[list[Step]]:
    one = st.one_of(*(STEPS[name] for name in names for _ in range(RULES[name].weight)))
    # A single list would be short unless it had a least size, which would keep it from shrinking.
    parts = st.tuples(*[st.lists(one, max_size=20)] * 6)
    return parts.map(lambda found: [step for part in found for step in part])


def plans() -> st.SearchStrategy[list[Step]]:
    """Return a strategy for plans, each of which leaves out some of the rules.

    If every rule may apply, twenty ordinary steps in a row never happen (Groce et al., Swarm
    Testing, 2012).
    """
    names = sorted(RULES)
    left_out = st.sets(st.sampled_from(names), max_size=len(names) * 2 // 3)
    usual = ["stranger_joins", "stranger_submits", "time_passes"]
    return left_out.flatmap(lambda out: _steps([name for name in names if name not in out] + usual))
