"""schemathesis asks the API all that its own description allows, and what it doesn't.

It makes requests out of the OpenAPI document, well-formed and not, sends them over a real socket,
and holds each answer against the document: statuses, types of content, shapes, and that nothing is
answered without the token.
"""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
import trio
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from squire_gatherings import Identity
from tests.admin.port import open_port
from tests.support import Recorder, examples

BEYOND = ("bad_cursor", "bad_value", "not_confirmed")
"""What a request may be told that fits the document: it can't say that one value goes with another.
"""

EXAMPLES = 2
"""How many requests of each kind are made for each call."""


@pytest.mark.parametrize("mode", list(GenerationMode))
async def test_the_api_is_as_it_describes_itself(tmp_path: Path, mode: GenerationMode) -> None:
    store = f"sqlite:///{tmp_path}/rooms.sqlite3"
    async with open_port(tmp_path, store=store) as port:
        description = await port.get("/api/v1/openapi.json")
        for name in ("0", "a", "room"):
            await port.hall.submit(name, [{"a": 1}])
        await port.hall.join("0", Recorder(), identity=Identity("0"))
        headers = {"Authorization": f"Bearer {port.token}"}
        url = str(port.client.base_url)

        def ask() -> int:
            schema = schemathesis.openapi.from_dict(description)
            asked = 0
            for found in schema.get_all_operations():
                assert isinstance(found, Ok)
                operation = found.ok()

                @settings(
                    max_examples=examples(EXAMPLES),
                    deadline=None,
                    database=None,
                    phases=(Phase.explicit, Phase.generate),
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def check(case: Case[Any]) -> None:
                    nonlocal asked
                    asked += 1
                    # One that lacks the token gets it all the same, and is right then.
                    case.headers.update(headers)
                    answer = case.call(base_url=url, headers=headers)
                    is_beyond = answer.status_code == 400 and answer.json()["code"] in BEYOND
                    excluded: list[Any] = [positive_data_acceptance] if is_beyond else []
                    case.validate_response(answer, excluded_checks=excluded, headers=headers)

                check()
            return asked

        assert await trio.to_thread.run_sync(ask) >= 10
        assert (await port.client.get("/healthz")).status_code == 200
