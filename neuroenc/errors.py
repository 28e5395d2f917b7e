"""The errors a user can meet: one line each, with what to do next."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class NeuroencError(Exception):
    """Any failure neuroenc foresees; the command line prints it and exits with `exit_status`."""

    exit_status = 1


class InputError(NeuroencError, ValueError):
    """What the user gave is wrong: a file, a value, a key, a name."""

    exit_status = 2


class ContractError(InputError):
    """An array breaks the contract of its kind, or two arrays do not belong together."""


class LeakError(InputError):
    """One stimulus (or group) stands on both sides of a split."""


class InputWarning(UserWarning):
    """What the user gave is used, though not as it may be meant; the command line prints one line."""


def invalid(parameter: str, found: object, allowed: Iterable[object]) -> InputError:
    """Build the error for a value outside a known set, with the nearest valid name.

    Parameters
    ----------
    parameter : str
        Name of the option or key.
    found : object
        The value given.
    allowed : iterable
        The valid values.
    """
    return InputError(f"Invalid value for {parameter!r}: {found!r}. {suggest(found, allowed)}")


def suggest(found: object, allowed: Iterable[object]) -> str:
    """Name the allowed values, and the one nearest to what was found."""
    names = [str(a) for a in allowed]
    if not names:
        return "There is none to choose from."
    shown = ", ".join(map(repr, names if len(names) <= 12 else [*names[:3], "…", *names[-3:]]))
    return f"Allowed: {shown.replace(repr('…'), '…')}{nearest(found, names)}."


def nearest(found: object, names: Iterable[str]) -> str:
    """Ask whether the most alike of some names was meant; empty if none is alike."""
    near = get_close_matches(str(found), list(names), n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def reason(error: BaseException) -> str:
    """Return the first line of what a library says, or the kind of its error where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
