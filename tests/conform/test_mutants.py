"""Broken clients: each is found, by the story that is for it, which points to the right rule."""

import random
import sys
from collections import deque

import trio

from squire_gatherings._conform.encodings import JSON
from squire_gatherings._conform.process import open_process
from squire_gatherings._conform.rules import Failed
from squire_gatherings._conform.run import Plan, play
from squire_gatherings._conform.server import Server, open_server
from squire_gatherings._conform.stories import STORIES
from squire_gatherings._conform.subject import Subject
from tests.conform.mutants import MUTANTS
from tests.support import examples

HOST = [sys.executable, "-m", "tests.conform.mutant_host"]
AT_A_TIME = 5
"""Most of the time a story waits for what a broken client never does."""
PLAN = Plan((), patience=3.0, watch=0.3)


async def find(server: Server, subject: Subject, name: str, story: str) -> Failed | None:
    """Play one story with one mutant."""
    subject.is_ready = False
    await subject.tell("become", mutant=name)
    await subject.wait(lambda: subject.is_ready)
    return await play(PLAN, STORIES[story], JSON, server, subject)


def others_than(story: str) -> list[str]:
    """Return the stories with which a mutant is played besides: many in `make test-long`."""
    others = sorted(STORIES.keys() - {story})
    return random.Random(story).sample(others, min(len(others), 2 * (examples(1) - 1)))


async def test_each_is_found_by_its_story() -> None:
    left = deque(MUTANTS)
    wrong: dict[str, str] = {}

    async def work(server: Server) -> None:
        while left:
            async with open_process(HOST, server.url) as subject:
                await subject.wait(lambda: subject.is_ready)
                while left and subject.fault is None:
                    name = left.popleft()
                    mutant = MUTANTS[name]
                    failure = await find(server, subject, name, mutant.story)
                    for other in others_than(mutant.story):
                        if subject.fault is None:
                            await find(server, subject, name, other)
                    if failure is None:
                        wrong[name] = f"{mutant.story} passed"
                    elif failure.rule.anchor != mutant.see:
                        wrong[name] = str(failure)

    async with open_server("127.0.0.1", 0) as server, trio.open_nursery() as nursery:
        for _ in range(AT_A_TIME):
            nursery.start_soon(work, server)
    assert not wrong, "\n".join(f"{name}: {what}" for name, what in wrong.items())
