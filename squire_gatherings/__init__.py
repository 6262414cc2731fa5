"""Live rooms that end on time: gatherings on Trio, reached over WebSockets.

What programs import from here is in `_exports`, which is loaded when one of its names is used: each
command of the command line, and each client, needs some modules of the package only.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from squire_gatherings._exports import *  # noqa: F403
    from squire_gatherings._exports import __all__ as __all__
else:
    from importlib import import_module

    def __getattr__(name):
        exports = import_module("squire_gatherings._exports")
        if name != "__all__" and name not in exports.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(exports, name)
        return value

    def __dir__():
        return import_module("squire_gatherings._exports").__all__
