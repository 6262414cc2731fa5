"""One search: `python -m tests.fuzz.one TARGET ...`, a process of its own that libFuzzer ends.

Only here is `atheris` imported. It sees which code an input reaches in the modules that are
imported while it watches: ours, and those that take the bytes first.
"""

import sys

import atheris

WATCHED = ["squire_gatherings", "websockets", "joserfc"]


def main() -> None:
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=WATCHED):
        from tests.fuzz import lasting
        from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    lasting.last()
    atheris.Setup([sys.argv[0], *options], target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
