"""Telemetry: the tracer of `serve --otel`."""

from importlib.metadata import version
from typing import TYPE_CHECKING

import click

from squire_gatherings._cli.options import option

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

telemetry_option = option(
    "--otel",
    is_flag=True,
    help="Trace joins and syncs by OpenTelemetry: run it by opentelemetry-instrument, which OTEL_"
    " variables tell where traces go.",
)


def make_tracer(wanted: bool) -> "Tracer | None":
    """Return the tracer that the process has been set up with; None where none is wanted.

    Raises:
        click.ClickException: The extra isn't installed, or nobody would take the traces.
    """
    if not wanted:
        return None
    try:
        from opentelemetry import trace
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise click.ClickException(
            "--otel needs opentelemetry: pip install 'squire-gatherings[otel]'"
        ) from None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        raise click.ClickException(
            "--otel finds nobody who takes traces: install opentelemetry-distro and an exporter,"
            " and run opentelemetry-instrument squire-gatherings serve --otel"
        )
    return trace.get_tracer("squire_gatherings", version("squire-gatherings"))
