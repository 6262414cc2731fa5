"""`serve --otel`: a clear error where nobody would take the traces."""

import click
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from squire_gatherings._cli.telemetry import make_tracer


def test_without_a_provider_it_is_an_error() -> None:
    assert make_tracer(False) is None
    with pytest.raises(click.ClickException, match="run opentelemetry-instrument"):
        make_tracer(True)


def test_the_provider_of_the_process_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    tracer = make_tracer(True)
    assert tracer is not None
    with tracer.start_as_current_span("a") as span:
        assert span.is_recording()
