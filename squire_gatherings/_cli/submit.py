"""`submit`: submits one op to a gathering."""

import sys
from functools import partial
from typing import Any

import click
import msgspec
import trio

from squire_gatherings._cli.options import DURATION, ENVIRONMENT, HEADERS, TOKEN, option
from squire_gatherings._cli.printing import print_json, print_line
from squire_gatherings._values.errors import BadSetting, CannotConnect
from squire_gatherings._values.ids import MAX_ID_LENGTH
from squire_gatherings._values.op import Op
from squire_gatherings._values.text import check_text
from squire_gatherings.client import open_client


@click.command("submit", context_settings=ENVIRONMENT)
@click.argument("url")
@click.argument("gathering_id", metavar="ID")
@click.argument("op")
@option("--json", "as_json", is_flag=True, help="Answer with a JSON object.")
@option(
    "--timeout",
    default="30s",
    type=DURATION,
    help="How long to try, once the server was reached.",
)
@option("--client-id", help="Goes with --sync-id, which is an id of this client.")
@option("--sync-id", help="The op is applied once, however often it's submitted with these ids.")
@TOKEN
@HEADERS
def submit(
    url: str,
    gathering_id: str,
    op: str,
    as_json: bool,
    timeout: float,
    client_id: str | None,
    sync_id: str | None,
    token: str | None,
    headers: tuple[tuple[str, str], ...],
) -> None:
    """Submit OP, a JSON object (or - to read it), to the gathering ID of the server at URL.

    Prints its seq (with --json: {"gathering": ..., "seq": ...}) once it is durable. Wakes a
    gathering that has dispersed. A server that can't be reached is an error at once, and
    nothing was applied. If the connection is lost, or the answer is late, it tries again until
    the timeout; then the op may have been applied all the same: only with --client-id and
    --sync-id is it safe to submit it again.

    \b
    Examples:
      squire-gatherings submit ws://127.0.0.1:8765 friday-night '{"table": 12}'
      squire-gatherings submit ws://127.0.0.1:8765 friday-night - --json < op.json
    """
    seq = trio.run(
        partial(
            _submit, url, gathering_id, _parse(op), timeout, client_id, sync_id, token, headers
        ),
        # Otherwise Ctrl-C might strike within Trio, which would take it for a defect of its own.
        restrict_keyboard_interrupt_to_checkpoints=True,
    )
    if as_json:
        print_json(gathering=gathering_id, seq=seq)
    else:
        print_line(str(seq))


def _parse(text: str) -> dict[str, Any]:
    try:
        if text == "-":
            text = "" if sys.stdin is None else sys.stdin.read()
        op = msgspec.json.decode(text)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise click.UsageError(f"OP is not JSON: {error}") from None
    if not isinstance(op, dict):
        raise click.UsageError("OP is not a JSON object")
    try:
        return Op.of(op).value
    except ValueError as error:
        raise click.UsageError(f"OP can't be an op: {error}") from None


async def _submit(
    url: str,
    gathering_id: str,
    op: dict[str, Any],
    timeout: float,
    client_id: str | None,
    sync_id: str | None,
    token: str | None,
    headers: tuple[tuple[str, str], ...],
) -> int:
    if (client_id is None) is not (sync_id is None):
        raise BadSetting("--client-id and --sync-id go together")
    if sync_id is not None:
        try:
            check_text(sync_id, "--sync-id", MAX_ID_LENGTH)
        except ValueError as error:
            raise BadSetting(str(error)) from None
    with trio.move_on_after(timeout):
        async with (
            open_client(url, token=token, headers=dict(headers)) as client,
            client.join(gathering_id, behaviour=None, client_id=client_id) as gathering,
        ):
            return await gathering.submit(op, sync_id=sync_id)
    raise CannotConnect(f"no answer within {timeout:g} s; the op may have been applied")
