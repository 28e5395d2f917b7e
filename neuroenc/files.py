"""Files: written whole or not at all, and known by their hash."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from neuroenc.errors import InputError

ABANDONED = 7 * 24 * 3600.0  # seconds after which a temporary file of another machine is no longer written
TEMPORARY = re.compile(r"\.partial-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}-")  # machine, process, a number drawn
IN_THE_WAY = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


@contextmanager
def atomic(path: str | Path, *, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` only if the block succeeds.

    The temporary name is this call's alone: of two runs that write `path` at once, the one that ends last
    stays, whole. What killed runs left under such names is removed.

    Parameters
    ----------
    path : str or Path
        Final name, of a file or a folder. Its parents are made. A folder that stands there
        is replaced.
    size : int
        Bytes of the file, where the library that writes it cannot recover when the disk fills up: they are
        reserved first.

    Raises
    ------
    InputError
        The folder cannot be written or the disk is full; nothing is left under either name.
    """
    path = Path(path)
    if not path.name:
        raise InputError(f"Cannot write {str(path)!r}: it names no file. Give a name.")
    partial = _temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent)
        if size:
            reserve(partial, size)
        yield partial
        _publish(partial, path)
    except OSError as error:
        if error.filename is not None and not _inside(error.filename, path.parent):
            raise  # a file the block was reading, not the one it was writing
        raise unwritten(path, error) from error
    finally:
        remove(partial)


def unwritten(path: Path, error: OSError) -> InputError:
    """Build the error for a file that cannot be written."""
    reason = error.strerror or str(error).splitlines()[0]
    return InputError(f"Cannot write {path}: {reason}. Free space or choose a folder you may write to.")


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _temporary(path: Path) -> Path:
    """Name a temporary file beside `path`: the machine, the process and a number drawn, then its own name."""
    return path.with_name(f".partial-{_machine()}-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")


def _sweep(folder: Path) -> None:
    """Remove what runs that were killed left in a folder."""
    for entry in os.scandir(folder):
        if (found := TEMPORARY.match(entry.name)) is None:
            continue
        try:
            dead = (
                not _alive(int(found[2]))
                if found[1] == _machine()
                else time.time() - entry.stat().st_mtime > ABANDONED
            )
        except FileNotFoundError:  # its own run has ended
            continue
        if dead:
            remove(Path(entry.path))


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _publish(partial: Path, path: Path) -> None:
    """Rename into place; a folder that stands there is moved aside first, as often as one appears."""
    if not partial.is_dir():
        partial.replace(path)
        return
    while True:
        try:
            partial.rename(path)
        except OSError as error:
            if error.errno not in IN_THE_WAY:
                raise
            remove(path)
        else:
            return


def _inside(name: object, folder: Path) -> bool:
    return Path(os.fsdecode(name)).absolute().is_relative_to(folder.absolute())  # type: ignore[arg-type]


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; a folder is gone at once, not file by file."""
    if path.is_dir() and not path.is_symlink():
        aside = _temporary(path)
        try:
            path.rename(aside)
        except FileNotFoundError:  # another process was quicker
            return
        shutil.rmtree(aside)
    elif path.parent.is_dir():
        path.unlink(missing_ok=True)


@contextmanager
def lock(path: Path, *, shared: bool = False, passing: bool = False, wait: bool = False) -> Iterator[bool]:
    """Hold a lock file while the block runs; the system lets go of it when the process ends, however it does.

    Parameters
    ----------
    path : Path
        Made if it is not there, and left there.
    shared : bool
        Beside others that share it; else alone.
    passing : bool
        Remove the file at the end, in folders where nothing else should stand.
    wait : bool
        Until it is free.

    Yields
    ------
    bool
        Whether it was free.

    Raises
    ------
    InputError
        The folder cannot be written.
    """
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("a")
    except OSError as error:
        raise unwritten(path, error) from error
    with held as file:
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            try:
                yield True
            finally:
                if passing:
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


def without_nan(found: Any) -> Any:
    """Write None for NaN, which JSON lacks, in all that dicts and lists hold."""
    if isinstance(found, dict):
        return {k: without_nan(v) for k, v in found.items()}
    if isinstance(found, (list, tuple)):
        return [without_nan(v) for v in found]
    return None if isinstance(found, float) and found != found else found


def write_json(data: dict[str, Any], path: str | Path) -> None:
    """Write `data` as JSON, whole or not at all: an entry a line, of a table a row a line; NaN is null."""

    def text(value: Any) -> str:
        return json.dumps(value, allow_nan=False)

    entries = []
    for key, value in without_nan(data).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            written = "[\n" + ",\n".join(map(text, value)) + "\n]"
        elif isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
            written = "{\n" + ",\n".join(f"{text(k)}: {text(v)}" for k, v in value.items()) + "\n}"
        else:
            written = text(value)
        entries.append(f"{text(key)}: {written}")
    with atomic(path) as partial:
        partial.write_text("{\n" + ",\n".join(entries) + "\n}\n")


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
