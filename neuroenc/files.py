"""Files: written whole or not at all, and known by their hash."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from neuroenc.errors import InputError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` only if the block succeeds.

    Parameters
    ----------
    path : str or Path
        Final name, of a file or a folder. Its parents are made. A folder that stands there
        is replaced.

    Raises
    ------
    InputError
        The folder cannot be written or the disk is full; nothing is left under either name.
    """
    path = Path(path)
    partial = path.with_name(f".partial-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        yield partial
        if partial.is_dir():
            remove(path)
        partial.replace(path)
    except OSError as error:
        if error.filename is not None and not _inside(error.filename, path.parent):
            raise  # a file the block was reading, not the one it was writing
        reason = error.strerror or str(error).splitlines()[0]
        raise InputError(
            f"Cannot write {path}: {reason}. Free space or choose a folder you may write to."
        ) from error
    finally:
        remove(partial)


def _inside(name: object, folder: Path) -> bool:
    return Path(os.fsdecode(name)).absolute().is_relative_to(folder.absolute())  # type: ignore[arg-type]


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.parent.is_dir():
        path.unlink(missing_ok=True)


def reserve(path: Path, size: int) -> None:
    """Make sure that `size` bytes can be written to `path`, and leave it empty.

    HDF5 cannot recover when the disk fills up under it: it may bring the process down.

    Raises
    ------
    OSError
        They cannot: the disk is full, or a quota or limit is met.
    """
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(0)


def write_json(data: Any, path: str | Path) -> None:
    """Write `data` as indented JSON, whole or not at all."""
    with atomic(path) as partial:
        partial.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n")


def existing(path: str | Path, *, made_by: str = "") -> Path:
    """Return `path`, with ~ and environment variables expanded, if it exists.

    Raises
    ------
    InputError
        It does not, `made_by` says what to do next; or it is a device or a pipe.
    """
    path = Path(os.path.expandvars(path)).expanduser()
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"File not found: {path}. {made_by or 'Check the path.'}") from None
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"No file can be read at {str(path)[:200]!r}: {reason}. Check the path.") from None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise InputError(f"{path} is neither a file nor a folder, but a device or a pipe. Name a file.")
    return path


def relative(name: str) -> str:
    """Return a path that a table or a description names, which must not lead out of its folder.

    Raises
    ------
    InputError
        It does, or it is no name.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    odd = parts.is_absolute() or ".." in parts.parts or re.match(r"[A-Za-z]:[\\/]|~", name)
    if odd:
        raise InputError(f"{name[:200]!r} leads outside its folder. Give a path below it.")
    return name


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with existing(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
