"""The page: a report as one HTML file that needs nothing else."""

from pathlib import Path

from squire_gatherings.programs.load.report import Report


def write_page(report: Report, file: Path) -> None:
    raise NotImplementedError
