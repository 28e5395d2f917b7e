"""The face of a package: a few names, each imported from its module on first use."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from neuroenc.extras import advice


class _Face(ModuleType):
    """A package whose names stay what they say, also where a module of the package is called the same.

    Python binds `evaluation.evaluate` to the module when that is first imported, by whatever came first; the
    function is meant.
    """

    homes: Mapping[str, str]

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in self.homes and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in self.homes:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{self.__name__}.{self.homes[name]}")
        except ModuleNotFoundError as error:
            if needed := advice(error):
                error.add_note(needed)
            raise
        return getattr(module, name)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self.homes})


def face(package: str, homes: Mapping[str, str]) -> None:
    """Let a package offer names of its modules.

    Parameters
    ----------
    package : str
        Its `__name__`.
    homes : mapping
        Name to the module of the package that has it.
    """
    module = sys.modules[package]
    module.__dict__["homes"] = homes
    module.__class__ = _Face
