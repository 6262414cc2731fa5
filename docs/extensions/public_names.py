"""Objects are known by the name by which programs import them, wherever they are defined.

A docstring says `Hall`, and a signature `squire_gatherings._hall.hall.Hall`: both are links to
`squire_gatherings.Hall`, the name under which the reference has it.
"""

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import squire_gatherings

FACES = [
    "squire_gatherings",
    *(
        f"squire_gatherings.{module.name}"
        for module in pkgutil.iter_modules(squire_gatherings.__path__)
        if not module.name.startswith("_")
    ),
]
"""The modules that programs import, the one first whose name is used where several have one."""


@cache
def exported() -> dict[str, Any]:
    """Return all that programs import, by its full public name."""
    faces = [importlib.import_module(face) for face in FACES]
    return {
        f"{face.__name__}.{name}": getattr(face, name) for face in faces for name in face.__all__
    }


@cache
def public_names() -> dict[str, str]:
    """Return full public names, by the last part of the name and by where an object is defined."""
    names: dict[str, str] = {}
    for full, one in exported().items():
        names.setdefault(full.rpartition(".")[2], full)
        if inspect.isclass(one) or inspect.isroutine(one):
            names.setdefault(f"{one.__module__}.{one.__qualname__}", full)
    return names


def public_name(target: str) -> str | None:
    """Return the public name of an object, or of a member of one; None if it has none."""
    names = public_names()
    if target in exported():
        return target
    if target in names:
        return names[target]
    owner, _, member = target.rpartition(".")
    return f"{names[owner]}.{member}" if owner in names else None


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, contnode: nodes.TextElement
) -> nodes.reference | None:
    """Resolve a reference that Sphinx couldn't, by the public name of what it means."""
    if node["refdomain"] != "py":
        return None
    full = public_name(node["reftarget"])
    if full is None:
        return None
    found = env.domains.python_domain.get_objects()
    for name, _, _, page, anchor, _ in found:
        if name == full:
            url = app.builder.get_relative_uri(node["refdoc"], page)
            return nodes.reference(
                "", "", contnode, internal=True, refuri=f"{url}#{anchor}", reftitle=full
            )
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Have Sphinx ask here for what it can't resolve."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
