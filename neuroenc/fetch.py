"""Files from the network: resumed after a break, retried, checked, and in place only when whole.

pooch keeps the hashes and the names; what it lacks, taking up a broken transfer, is here.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import time
import zipfile
from pathlib import Path, PurePosixPath

from neuroenc.errors import InputError, NeuroencError
from neuroenc.files import existing, remove, sha256, write_json

TRIES = 5
PATIENCE = 30.0  # seconds without a byte
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
        `algorithm:digest` as pooch reads it, e.g. sha256 or md5; also `sha256:` and the first digits.
    size : int, optional
        Expected bytes; checked before anything is transferred against the free space.

    Returns
    -------
    bool
        Whether anything was transferred.

    Raises
    ------
    InputError
        The server has no such file, or its hash is another than expected.
    FetchError
        The server cannot be reached or keeps breaking off.
    """
    import pooch

    pooch.get_logger().setLevel("WARNING")
    path = Path(path)
    if path.exists():
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    if size is not None:
        room(path.parent, size, path.name)
    partial = path.with_name(f".partial-{path.name}")
    digits = (known_hash or "").partition(":")[2]
    short = known_hash is not None and known_hash.startswith("sha256:") and len(digits) < 64

    def resume(url: str, output: str, _pooch: object) -> None:
        _transfer(url, partial)
        shutil.move(partial, output)

    try:
        pooch.retrieve(
            url, None if short else known_hash, fname=path.name, path=path.parent, downloader=resume
        )
    except ValueError as error:
        if "hash" not in str(error).lower():
            raise
        raise InputError(
            f"{path.name} from {url} has another hash than {known_hash}: it was changed there or on the way. "
            "Nothing was kept. Try again; if it stays so, report it."
        ) from None
    if short and not sha256(path).startswith(digits):
        remove(path)
        raise InputError(
            f"{path.name} from {url} has another hash than sha256:{digits}…: it was changed there or on the "
            "way. Nothing was kept. Try again; if it stays so, report it."
        )
    return True


def _transfer(url: str, partial: Path) -> None:
    """Bring a file into `partial`, going on where an earlier transfer broke off."""
    import requests
    from tqdm import tqdm

    note = partial.with_name(f"{partial.name}.etag")  # what the bytes so far belong to
    reason = ""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(min(2.0**attempt, 30.0) * float(os.environ.get("NEUROENC_RETRY_SECONDS", "1")))
        begun = partial.stat().st_size if partial.exists() else 0
        headers = {"Accept-Encoding": "identity"}
        if begun:
            headers["Range"] = f"bytes={begun}-"
            if note.exists():
                headers["If-Range"] = note.read_text()
        try:
            with requests.get(url, headers=headers, stream=True, timeout=PATIENCE) as answer:
                if answer.status_code == 416:  # all bytes are here, or they are of another file
                    remove(partial)
                    reason = "the server refuses to go on where it broke off"
                    continue
                if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
                    reason = f"the server answers {answer.status_code}"
                    continue
                if answer.status_code >= 400:
                    raise InputError(
                        f"Cannot fetch {url}: the server answers {answer.status_code}. Check the name, your "
                        "access and the terms of use."
                    )
                resumed = answer.status_code == 206
                begun = begun if resumed else 0
                if tag := answer.headers.get("ETag"):
                    note.write_text(tag)
                length = answer.headers.get("Content-Length")
                whole = begun + int(length) if length else None
                with (
                    partial.open("ab" if resumed else "wb") as file,
                    tqdm(
                        total=whole,
                        initial=begun,
                        unit="B",
                        unit_scale=True,
                        desc=partial.name[9:],
                        disable=None,
                    ) as bar,
                ):
                    for chunk in answer.iter_content(2**16):
                        file.write(chunk)
                        bar.update(len(chunk))
        except requests.RequestException as error:
            reason = str(error).splitlines()[0]
            continue
        except OSError as error:
            raise InputError(f"Cannot write {partial}: {error.strerror}. Free space and try again.") from None
        found = partial.stat().st_size
        if whole is None or found == whole:
            remove(note)
            return
        reason = f"it broke off after {found} of {whole} bytes"
    raise FetchError(
        f"Cannot fetch {url}: {reason}, {TRIES} times. What has come is kept; run the same command again."
    )


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


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar; no member may leave the folder.

    Raises
    ------
    InputError
        A member would, or the archive is broken.
    """

    def inside(name: str, *, plain: bool = True) -> None:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or not plain:
            raise InputError(
                f"{archive.name} holds {name!r}, which would reach outside {folder}. It was not unpacked; do "
                "not trust it."
            )

    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                for name in file.namelist():
                    inside(name)
                file.extractall(folder)
        else:
            with tarfile.open(archive) as tar:
                for member in tar.getmembers():
                    inside(member.name, plain=member.isfile() or member.isdir())
                # python before 3.11.4 has no filters; nothing but plain files inside is left here
                tar.extraction_filter = getattr(tarfile, "data_filter", None)
                tar.extractall(folder)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise InputError(f"Cannot unpack {archive}: {error}. Remove it and fetch it again.") from None


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
    given = json.loads(path.read_text()) if path.exists() else {}
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
    given = json.loads(existing(path).read_text()) if path.exists() else {}
    write_json(given | {name: {"terms": terms, "date": time.strftime("%Y-%m-%d")}}, path)
