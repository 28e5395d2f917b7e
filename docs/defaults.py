"""Parameters that share a line of a docstring each have their own default in the reference."""

from __future__ import annotations

from typing import Any

from griffe import Class, DocstringSectionKind, Extension, Function, Object


class Defaults(Extension):
    """Griffe gives `a, b : int` the default of `a` twice."""

    def on_package(self, *, pkg: Object, **_: Any) -> None:
        """Mend all docstrings of a package once it is read."""
        mend(pkg)


def mend(found: Object) -> None:
    """Mend the docstring of an object and of all below it."""
    if isinstance(found, Class | Function) and found.docstring:
        known = {p.name: p.default for p in found.parameters}
        for section in found.docstring.parsed:
            if section.kind is DocstringSectionKind.parameters:
                for parameter in section.value:
                    parameter.value = known.get(parameter.name)
    for member in found.members.values():
        if not member.is_alias:
            mend(member)
