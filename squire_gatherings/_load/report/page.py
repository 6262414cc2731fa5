"""The page: a report as one HTML file that needs nothing else, light or dark, on any screen."""

from pathlib import Path

import jinja2
from markupsafe import Markup

from squire_gatherings._load.report.pictures import pictures
from squire_gatherings._load.report.report import Report
from squire_gatherings._load.report.summary import (
    figures,
    highlights,
    latency_rows,
    milliseconds,
    verdict,
)


def make_page(report: Report) -> str:
    """Return the page. Everything in it is escaped except the pictures, which we drew."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("squire_gatherings._load.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["ms"] = milliseconds
    return environment.get_template("page.html.j2").render(
        report=report,
        verdict=verdict(report),
        highlights=highlights(report),
        latencies=latency_rows(report),
        figures=figures(report),
        pictures=[(title, text, Markup(svg)) for title, text, svg in pictures(report)],
    )


def write_page(report: Report, file: Path) -> None:
    """Write the page.

    Raises:
        OSError: It can't be written.
    """
    file.write_text(make_page(report), encoding="utf-8")
