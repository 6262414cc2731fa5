"""`python -m examples.swiss_night`: serves tournaments, or plays one by a script."""

import json
import secrets
import tempfile
from functools import partial
from pathlib import Path

import click
import trio

from examples.swiss_night.door import Door
from examples.swiss_night.play import Plan, play_here, play_there, report
from examples.swiss_night.serving import key_file, serve_night

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Text such as `90s`, `2m` or `1h`, in seconds."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        text = str(value)
        number = text.rstrip("msh")
        try:
            seconds = float(number) * UNITS[text[len(number) :]]
        except (ValueError, KeyError):
            self.fail("a duration is a number and ms, s, m or h: 2m", param, ctx)
        if not 0 < seconds < float("inf"):
            self.fail("a duration is longer than nothing", param, ctx)
        return seconds


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Swiss night: a tournament as a gathering. Without a command, it serves."""
    if context.invoked_subcommand is None:
        context.invoke(serve)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for phones nearby.")
@click.option("--port", default=8770, show_default=True, type=click.IntRange(0, 65535))
@click.option("--store", default="sqlite:///swiss_night.sqlite3", show_default=True)
@click.option("--idle", default="2m", show_default=True, type=Duration(), help="Asleep after this.")
@click.option("--code", help="The judges' code; made up if it isn't given.")
@click.option("--gathering", default="friday-night", show_default=True)
def serve(host: str, port: int, store: str, idle: float, code: str | None, gathering: str) -> None:
    """Serve the site."""
    code = code or secrets.token_hex(3)
    door = Door(key_file(store), code, [gathering])
    run = partial(serve_night, door, gathering, code, host=host, port=port, store=store, idle=idle)
    try:
        trio.run(run)
    except* KeyboardInterrupt:
        click.echo("everybody has been told")


@main.command()
@click.option("--url", help="A site that runs, to watch it there; otherwise a server of its own.")
@click.option("--code", default="", help="The judges' code of that site.")
@click.option("--gathering", default="friday-night", show_default=True)
@click.option("--players", default=200, show_default=True, type=click.IntRange(4, 2000))
@click.option("--rounds", default=8, show_default=True, type=click.IntRange(1, 30))
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def play(
    url: str | None,
    code: str,
    gathering: str,
    players: int,
    rounds: int,
    seed: int,
    as_json: bool,
) -> None:
    """Let a script play a whole night."""
    plan = Plan(players=players, rounds=rounds, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        if url:
            run = partial(play_there, plan, url, gathering, code)
        else:
            door = Door(Path(folder) / "key", code, [gathering])
            run = partial(play_here, plan, door, gathering)
        played = trio.run(run)
    if as_json:
        names = [[place.rank, place.name, place.points] for place in played.standings]
        click.echo(json.dumps({"seq": played.seq, "replicas": played.replicas, "places": names}))
    else:
        click.echo(report(played))


if __name__ == "__main__":
    main()
