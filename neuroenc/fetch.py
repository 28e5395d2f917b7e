"""Files from the network: resumed after a break, retried, checked, and in place only when whole."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from neuroenc.documents import read_object
from neuroenc.errors import InputError, NeuroencError
from neuroenc.files import lock, relative, remove, write_json

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
TRIES = 5
PATIENCE = 30.0  # seconds without a byte
SLOWEST = 1024.0  # bytes per second, on average, once patience is over
PAGE = 2**26  # bytes of a list of files, at most
GROWTH = 200  # times its own size that an archive may unpack to
UNSTATED = 2**36  # bytes of a file whose length is not said
MEMBERS = 1_000_000  # files that an archive may hold
BYTES = re.compile("[0-9]{1,18}")  # a number of bytes that can be meant
CONSENTS = "~/.config/neuroenc/consents.json"  # unless NEUROENC_CONSENTS says otherwise


class FetchError(NeuroencError):
    """A file could not be had from the network, though the request was right."""


def fetch(url: str, path: str | Path, *, known_hash: str | None = None, size: int | None = None) -> bool:
    """Fetch one file unless it is there.

    Parameters
    ----------
    url : str
    path : path
        Its final name. What has come of a broken transfer waits in `.partial-<name>` beside it and is taken
        up by the next call.
    known_hash : str, optional
        `algorithm:digest`, e.g. sha256 or md5; also `sha256:` and the first digits.
    size : int, optional
        Expected bytes; checked before anything is transferred against the free space.

    Returns
    -------
    bool
        Whether anything was transferred.

    Raises
    ------
    InputError
        The server has no such file, offers a page or another size, or its hash is another than expected.
    FetchError
        The server cannot be reached, keeps breaking off, answers with other bytes than were asked for, or
        is slower than `SLOWEST`; another process is fetching the file.
    """
    path = Path(path)
    if path.exists():
        return False
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".partial-{path.name}")
        if size is not None:
            room(path.parent, size, path.name)
        with lock(path.with_name(f".lock-{path.name}"), passing=True) as free:
            if not free:
                raise FetchError(
                    f"Another process is fetching {path}. Wait for it and run the same command again."
                )
            if path.exists():  # another process was quicker
                return False
            _transfer(url, partial, size, hashed=known_hash is not None)
            _check_hash(url, partial, known_hash)
            partial.replace(path)
    return True


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn what a disk refuses into one line."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"Cannot write into {folder}: {error.strerror or error}. Free space or choose a folder you may "
            "write to, and try again."
        ) from None


def _check_hash(url: str, partial: Path, known_hash: str | None) -> None:
    """Refuse bytes of another hash, and keep none of them."""
    if known_hash is None:
        return
    algorithm, _, digits = known_hash.rpartition(":")
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, algorithm or "sha256").hexdigest()
    if not digits or not found.startswith(digits.lower()):
        remove(partial)
        raise InputError(
            f"{partial.name.removeprefix('.partial-')} from {url} has another hash than {known_hash}: it was "
            "changed there or on the way. Nothing was kept. Try again; if it stays so, report it."
        )


def _first(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


class _Retry(Exception):  # noqa: N818  no error: what is worth another attempt, and why
    """The transfer broke off for this reason."""


def _transfer(url: str, partial: Path, size: int | None, *, hashed: bool) -> None:
    """Bring a file into `partial`, going on where an earlier transfer broke off."""
    import requests
    import urllib3

    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(min(2.0**attempt, 30.0) * float(os.environ.get("NEUROENC_RETRY_SECONDS", "1")))
        try:
            _attempt(url, partial, size, hashed=hashed)
        except _Retry as broken:
            reason = str(broken)
        except requests.RequestException as error:
            reason = _first(error)
        except (
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            ConnectionError,
            TimeoutError,
        ) as error:
            reason = _first(error)
        else:
            return
    raise FetchError(
        f"Cannot fetch {url}: {reason}, {TRIES} times. What has come is kept; run the same command again."
    )


def _attempt(url: str, partial: Path, size: int | None, *, hashed: bool) -> None:
    """Ask once for what is missing of `partial`, and write what comes.

    What a partial file holds is known by the note beside it: the server's name for that state of the file
    (its ETag, or else its date) and the number of bytes of the whole. Without one it is fetched anew.
    """
    note = partial.with_name(f"{partial.name}.note")
    state, whole = _noted(note)
    begun = partial.stat().st_size if partial.exists() and state else 0
    headers = {"Accept-Encoding": "identity"}
    if begun:
        headers |= {"Range": f"bytes={begun}-", "If-Range": state}
    with opened(url, headers=headers) as answer:
        if answer.status_code == 416:  # all bytes are here, or they are of another file
            remove(partial)
            raise _Retry("the server refuses to go on where it broke off")
        if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
            raise _Retry(f"the server answers {answer.status_code}")
        if answer.status_code not in (200, 206):
            raise InputError(
                f"Cannot fetch {url}: the server answers {answer.status_code}. Check the name, your access "
                "and the terms of use."
            )
        if answer.headers.get("Content-Type", "").startswith("text/html") and partial.suffix != ".html":
            raise InputError(
                f"{url} is answered by a page, not by a file: a form, a login or a notice. Open it "
                "in a browser."
            )
        offered: int | None
        if answer.status_code == 206:
            offered = _whole(answer.headers.get("Content-Range", ""), begun)
            if offered is None or whole not in (None, offered) or answer.headers.get("ETag", state) != state:
                remove(partial)
                raise _Retry("the server answers with another part than was asked for")
        else:
            begun = 0
            length = answer.headers.get("Content-Length", "")
            offered = int(length) if BYTES.fullmatch(length) else None
        if size is not None and offered not in (None, size):
            raise InputError(
                f"{url} has {offered} bytes, expected {size}: it was changed there. Nothing was fetched; "
                "report it."
            )
        if offered is not None:
            room(partial.parent, offered - begun, partial.name.removeprefix(".partial-"))
        state = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        note.write_text(json.dumps([state, offered]))
        found = _write(answer, partial, begun, offered if offered is not None else size)
    if offered is None and size is None and not (hashed or answer.raw.chunked):  # its end may be a break
        raise _Retry("the server does not say how many bytes there are")
    expected = offered if offered is not None else size
    if expected is not None and found != expected:
        raise _Retry(f"it broke off after {found} of {expected} bytes")
    remove(note)


def _noted(note: Path) -> tuple[str, int | None]:
    """Read the server's name for the state of the file that came so far, and the bytes of the whole."""
    try:
        state, whole = json.loads(note.read_text())
    except (OSError, ValueError, TypeError):
        return "", None
    # a weak tag names what means the same, not the same bytes
    return ("", None) if state.startswith("W/") else (state, whole)


def _whole(content_range: str, begun: int) -> int | None:
    """Return the bytes of the whole file if the answer is its rest from `begun` to the end, else None."""
    found = re.fullmatch("bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", content_range.strip())
    first, last, total = map(int, found.groups()) if found else (-1, -1, 0)
    return total if begun and first == begun and last == total - 1 else None


def _write(answer: requests.Response, partial: Path, begun: int, most: int | None) -> int:
    """Append the body to what is there, as it was sent; return the bytes then there."""
    from tqdm import tqdm

    started, found = time.monotonic(), begun
    name = partial.name.removeprefix(".partial-")
    with (
        partial.open("ab" if begun else "wb") as file,
        tqdm(total=most, initial=begun, unit="B", unit_scale=True, desc=name, disable=None) as bar,
    ):
        # one read of the socket at a time: a server that trickles is seen to
        while chunk := _patiently(lambda: answer.raw.read1(2**16, decode_content=False), answer.raw.shutdown):
            file.write(chunk)
            found += len(chunk)
            bar.update(len(chunk))
            if most is not None and found > most:
                file.truncate(begun)
                raise _Retry(f"more than the {most} bytes that were announced came")
            seconds = time.monotonic() - started
            if seconds > PATIENCE and (found - begun) / seconds < SLOWEST:
                raise _Retry(f"{found - begun} bytes came in {seconds:.0f} s")
            if most is None and (found > UNSTATED or shutil.disk_usage(partial.parent).free < 2**28):
                raise _Retry("it does not come to an end")
    return found


def _patiently(call: Callable[[], T], give_up: Callable[[], object] = bool) -> T:
    """Wait for one step of a transfer, however slowly its bytes drop in.

    Limits of sockets hold for each byte that comes: a head that trickles would never end.
    """
    import requests

    found: list[T] = []
    broken: list[Exception] = []

    def step() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001  raised again by who waits
            broken.append(error)

    thread = Thread(target=step, daemon=True)
    thread.start()
    thread.join(2 * PATIENCE)
    for error in broken:
        raise error
    if not found:
        with suppress(ValueError, RuntimeError, OSError):
            give_up()
        raise requests.Timeout(f"nothing came in {2 * PATIENCE:g} s")
    return found[0]


def opened(url: str, method: str = "GET", **asked: Any) -> requests.Response:
    """Ask a server and wait for the head of its answer, for so long as `PATIENCE` says in all.

    Raises
    ------
    requests.RequestException
        The server cannot be reached, or is slower than that.
    InputError
        It sends from https to where nothing is encrypted.
    """
    import requests

    answer = _patiently(lambda: requests.request(method, url, stream=True, timeout=PATIENCE, **asked))
    places = [a.url for a in (*answer.history, answer)]
    bare = [p for p in places if not p.startswith("https:")]
    if url.startswith("https:") and bare:
        raise InputError(f"{url} leads to {bare[0]}, which is not encrypted. It was not fetched.")
    return answer


def page(url: str, query: dict[str, str] | None = None) -> bytes:
    """Read an answer of moderate size into memory.

    Raises
    ------
    requests.RequestException
        The server cannot be reached, refuses, or does not come to an end.
    """
    import requests

    started, body = time.monotonic(), b""
    with opened(url, params=query, headers={"Accept-Encoding": "identity"}) as answer:
        answer.raise_for_status()
        while chunk := _patiently(lambda: answer.raw.read1(2**16, decode_content=False), answer.raw.shutdown):
            body += chunk
            if len(body) > PAGE or time.monotonic() - started > 10 * PATIENCE:
                raise requests.RequestException("the answer does not come to an end")
        length = answer.headers.get("Content-Length", "")
        if BYTES.fullmatch(length) and int(length) != len(body):
            raise requests.RequestException(f"it broke off after {len(body)} of {length} bytes")
    return body


def room(folder: Path, size: int, what: str) -> None:
    """Make sure that a disk has room.

    Raises
    ------
    InputError
        It has not; both numbers are named.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise InputError(
            f"{what} takes {size / 2**30:.1f} GiB, {folder} has {free / 2**30:.1f} GiB free. Free space or "
            "choose another folder."
        )


def place(folder: Path, name: str) -> Path:
    """Return where a file goes that a server or an archive names, which is inside the folder or nowhere.

    Raises
    ------
    InputError
        The name leads out of the folder, or is none.
    """
    try:
        path = folder / PurePosixPath(relative(name).replace("\\", "/"))
        inside = name.isprintable() and folder.resolve() in path.resolve().parents
        inside = inside and all(len(os.fsencode(part)) < 256 for part in path.parts)
    except InputError:
        inside = False
    if not inside:
        raise InputError(
            f"{name!r} would reach outside {folder}. Nothing was written; do not trust where it comes from."
        )
    return path


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar: whole or not at all, no member may leave the folder, and it must fit.

    Raises
    ------
    InputError
        A member would, the archive is broken, or it grows beyond measure (`GROWTH`, `MEMBERS`).
    """
    scratch = folder.with_name(f".unpacking-{folder.name}-{os.getpid()}")
    try:
        with writing(folder):
            scratch.mkdir(parents=True)
        try:
            (_unzip if zipfile.is_zipfile(archive) else _untar)(archive, folder, scratch)
        except NeuroencError:
            raise
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise
            raise _broken(archive, error) from None
        except Exception as error:  # noqa: BLE001  each kind of compression has errors of its own
            raise _broken(archive, error) from None
        with writing(folder):
            folder.mkdir(exist_ok=True)
            made = list(scratch.iterdir())
            for entry in made:
                if (folder / entry.name).exists():
                    raise InputError(
                        f"{folder / entry.name} is there already. Remove it to unpack {archive}."
                    )
            for entry in made:
                entry.rename(folder / entry.name)
    finally:
        remove(scratch)


def _broken(archive: Path, error: Exception) -> InputError:
    return InputError(f"Cannot unpack {archive}: {_first(error)}. Remove it and fetch it again.")


class _Bounded:
    """Counts what an archive holds as it is listed, so that one that grows without end is not read to it."""

    def __init__(self, archive: Path, folder: Path, scratch: Path) -> None:
        self.archive, self.folder, self.scratch = archive, folder, scratch
        self.packed, self.total, self.places = archive.stat().st_size, 0, set[Path]()

    def add(self, name: str, size: int) -> None:
        """Take one more member into account."""
        path = place(self.folder, name)
        if path in self.places:
            raise InputError(
                f"{self.archive.name} holds {name!r} twice. It was not unpacked; do not trust it."
            )
        self.places.add(path)
        self.total += size
        if (self.total > 2**30 and self.total > GROWTH * self.packed) or len(self.places) > MEMBERS:
            raise InputError(
                f"{self.archive.name} has {self.packed} bytes and would unpack to {self.total} or more, in "
                f"{len(self.places)} files. It was not unpacked; do not trust it."
            )

    def fits(self) -> None:
        """See that there is room for it."""
        room(self.scratch, self.total, f"What {self.archive.name} holds")


def _unzip(archive: Path, folder: Path, scratch: Path) -> None:
    bounded = _Bounded(archive, folder, scratch)
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            bounded.add(member.filename, member.file_size)
        bounded.fits()
        file.extractall(scratch)


def _untar(archive: Path, folder: Path, scratch: Path) -> None:
    bounded = _Bounded(archive, folder, scratch)
    with tarfile.open(archive) as tar:
        for entry in tar:
            bounded.add(entry.name, entry.size)
            if not (entry.isfile() or entry.isdir()):
                raise InputError(
                    f"{archive.name} holds {entry.name!r}, which is neither file nor folder. It was not "
                    "unpacked; do not trust it."
                )
        bounded.fits()
        # python before 3.11.4 has no filters; nothing but plain files inside is left here
        tar.extraction_filter = getattr(tarfile, "data_filter", None)
        tar.extractall(scratch)


def consent(name: str, terms: str) -> None:
    """Make sure that the terms of a dataset were accepted on this account; ask once.

    Parameters
    ----------
    name : str
        Of the dataset.
    terms : str
        What is accepted, and where to read it.

    Raises
    ------
    InputError
        They were not, and nobody is there to ask; or they are declined.
    """
    path = Path(os.environ.get("NEUROENC_CONSENTS", CONSENTS)).expanduser()
    given = read_object(path) if path.exists() else {}
    if name in given:
        return
    if not sys.stdin.isatty():
        raise InputError(
            f"The terms of {name} were not accepted on this account: {terms} Run `neuroenc data accept "
            f"{name}` in a terminal first."
        )
    accept(name, terms)


def accept(name: str, terms: str) -> None:
    """Ask for consent and record it with its date."""
    path = Path(os.environ.get("NEUROENC_CONSENTS", CONSENTS)).expanduser()
    print(terms, file=sys.stderr)
    print("Do you accept these terms? Type yes: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise InputError(f"The terms of {name} were declined. Nothing was fetched.")
    given = read_object(path) if path.exists() else {}
    write_json(given | {name: {"terms": terms, "date": time.strftime("%Y-%m-%d")}}, path)
