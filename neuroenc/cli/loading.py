"""How much of a process' time goes into loading libraries."""

from __future__ import annotations

import builtins
import importlib
import time
from collections.abc import Callable
from typing import Any


class Loading:
    """Counts the processor seconds of imports from now on; those within an import belong to it.

    Attributes
    ----------
    seconds : float
        Of all threads. What ran before, the interpreter and this package itself, is loading too.
    """

    def __init__(self) -> None:
        self.seconds = time.process_time()
        self._within = 0
        builtins.__import__ = self._timed(builtins.__import__)
        importlib.import_module = self._timed(importlib.import_module)

    def _timed(self, load: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = 0.0 if self._within else time.process_time()
            self._within += 1
            try:
                return load(*args, **kwargs)
            finally:
                self._within -= 1
                if not self._within:
                    self.seconds += time.process_time() - start

        return timed

    def report(self) -> str:
        """Say what the process took so far, as `neuroenc results times` reads it."""
        used = time.process_time()
        return f"took {used:.1f} s of processor time, {self.seconds:.1f} s of it loading libraries"
