"""What holds for every test."""

import gc


def pytest_collection_finish() -> None:
    """Exempt what was imported and collected: a full collection takes 0.2 s with it."""
    gc.collect()
    gc.freeze()
