import hashlib
import io
import json
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from layouts.server import serve

from neuroenc.errors import InputError
from neuroenc.fetch import FetchError, consent, fetch, unpack
from tests.security.test_servers import SMALL, chunked, other_part

BODY = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
SHA = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")


@pytest.fixture
def server():
    with serve({"data/big.bin": BODY}) as running:
        yield running


def test_a_second_fetch_transfers_nothing(server, tmp_path):
    url = f"{server.url}/data/big.bin"
    assert fetch(url, tmp_path / "a" / "big.bin", known_hash=SHA, size=len(BODY))
    assert (tmp_path / "a" / "big.bin").read_bytes() == BODY
    n = len(server.seen)
    assert not fetch(url, tmp_path / "a" / "big.bin", known_hash=SHA)
    assert len(server.seen) == n
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["big.bin"]


@pytest.mark.parametrize(
    "faults", [[503, 503], [("drop", 1_500_000)], [("drop", 100), 503, ("drop", 2_000_000)], [429]]
)
def test_a_moody_server_is_survived(server, tmp_path, faults):
    server.faults["data/big.bin"] = list(faults)
    fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin", known_hash=SHA)
    assert (tmp_path / "big.bin").read_bytes() == BODY
    broken = [f for f in faults if isinstance(f, tuple) and f[1] >= 2**20]
    if broken:  # the rest alone was asked for
        assert any(asked and int(asked[6:-1]) > 0 for _, asked in server.seen)


def test_a_fetch_that_never_succeeds_keeps_what_has_come(server, tmp_path):
    server.faults["data/big.bin"] = [("drop", 1_200_000)] + [503] * 10
    with pytest.raises(FetchError, match=r"answers 503, 5 times. What has come is kept"):
        fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin", known_hash=SHA)
    assert not (tmp_path / "big.bin").exists()
    assert (tmp_path / ".partial-big.bin").stat().st_size > 0
    server.faults.clear()
    server.seen.clear()
    fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin", known_hash=SHA)
    assert server.seen[0][1] is not None  # it went on, from where it was
    assert (tmp_path / "big.bin").read_bytes() == BODY


def test_a_killed_fetch_is_taken_up(server, tmp_path):
    server.faults["data/big.bin"] = [("drop", 1_500_000)]
    code = (
        "import sys, os, neuroenc.fetch as f\n"
        "f.time.sleep = lambda s: os._exit(9)\n"  # killed while it waits to try again
        "f.fetch(sys.argv[1], sys.argv[2])"
    )
    out = tmp_path / "big.bin"
    done = subprocess.run([sys.executable, "-c", code, f"{server.url}/data/big.bin", str(out)])
    assert done.returncode == 9 and not out.exists()
    have = (tmp_path / ".partial-big.bin").stat().st_size
    assert have > 2**20
    server.seen.clear()
    fetch(f"{server.url}/data/big.bin", out, known_hash=SHA)
    assert server.seen == [("data/big.bin", f"bytes={have}-")]
    assert out.read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    server.faults["data/big.bin"] = [("drop", 1_500_000)] + [503] * 10
    with pytest.raises(FetchError):
        fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin")
    server.faults.clear()
    server.files["data/big.bin"] = BODY[::-1]
    fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin")
    assert (tmp_path / "big.bin").read_bytes() == BODY[::-1]


@pytest.mark.parametrize("known", [SHA[:-4] + "0000", "sha256:00000000", "md5:" + "0" * 32])
def test_a_wrong_hash_keeps_nothing(server, tmp_path, known):
    with pytest.raises(InputError, match=r"another hash.*Nothing was kept"):
        fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin", known_hash=known)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_body_is_caught_by_its_hash(server, tmp_path):
    server.faults["data/big.bin"] = [("truncate", 1000)]
    with pytest.raises(InputError, match="another hash"):
        fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin", known_hash=SHA)
    assert not (tmp_path / "big.bin").exists()


def test_what_is_not_there_and_who_is_not_there(server, tmp_path):
    with pytest.raises(InputError, match=r"the server answers 404\. Check the name"):
        fetch(f"{server.url}/data/nothing", tmp_path / "x")
    with pytest.raises(FetchError, match="5 times"):
        fetch("http://127.0.0.1:9/none", tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_anything_comes(server, tmp_path):
    with pytest.raises(InputError, match=r"big.bin takes \d+.0 GiB, .* has .* GiB free"):
        fetch(f"{server.url}/data/big.bin", tmp_path / "big.bin", size=2**60)
    assert server.seen == []


def cut(body):
    """Answer with the first 50 bytes of 200 and break off."""
    return lambda handler, _: handler.answer(200, body[:50], declared=False, Content_Length=200, ETag='"1"')


@pytest.mark.parametrize(
    "answers",
    [
        [cut(SMALL), other_part],
        [cut(SMALL), lambda h, b: h.answer(206, b[50:], Content_Range="bytes 50-199/200", ETag='"2"')],
        [cut(SMALL), lambda h, b: h.answer(206, b[50:90], Content_Range="bytes 50-89/200", ETag='"1"')],
        [cut(SMALL), lambda h, b: h.answer(206, b[50:] + b"?", Content_Range="bytes 50-200/201", ETag='"1"')],
        [cut(SMALL[::-1]), lambda h, b: h.answer(200, b, ETag='"2"')],
        [lambda h, b: h.answer(200, b[::-1][:50], declared=False, Content_Length=200)],  # it has no name
        [chunked(SMALL[:70], SMALL[70:])],
        [lambda h, b: h.answer(200, b, Content_Encoding="gzip")],  # kept as the file that it is
    ],
)
def test_whatever_comes_on_the_way_the_bytes_are_right(tmp_path, answers):
    with serve({"a.bin": SMALL}) as server:
        server.faults["a.bin"] = list(answers)
        fetch(f"{server.url}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == SMALL
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_two_fetches_of_one_file(tmp_path):
    with serve({"a.bin": SMALL}) as server:
        second = []

        def meanwhile(handler, body):
            with pytest.raises(FetchError, match=r"Another process is fetching .*a\.bin"):
                fetch(f"{server.url}/a.bin", tmp_path / "a.bin")
            second.append(True)
            handler.answer(200, body)

        server.faults["a.bin"] = [meanwhile]
        fetch(f"{server.url}/a.bin", tmp_path / "a.bin")
    assert second and (tmp_path / "a.bin").read_bytes() == SMALL


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with serve({"a.bin": SMALL}) as server, pytest.raises(InputError, match=r"^Cannot write into .*file"):
        fetch(f"{server.url}/a.bin", tmp_path / "file" / "a.bin")


def test_an_archive_that_grows_beyond_measure(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros", bytes(10**7))
    unpack(tmp_path / "bomb.zip", tmp_path / "small")  # 10 MB hurt nobody
    data = bytearray((tmp_path / "bomb.zip").read_bytes())
    size = data.index(b"PK\1\2") + 24  # of the unpacked member, in the directory
    data[size : size + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    (tmp_path / "bigger.zip").write_bytes(data)
    with pytest.raises(InputError, match="would unpack to 4294967280"):
        unpack(tmp_path / "bigger.zip", tmp_path / "out")
    with pytest.raises(InputError, match="is there already"):
        unpack(tmp_path / "bomb.zip", tmp_path / "small")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bigger.zip", "bomb.zip", "small"]


def test_archives_stay_in_their_folder(tmp_path):
    good = tmp_path / "good.zip"
    with zipfile.ZipFile(good, "w") as file:
        file.writestr("ä/bild.txt", "x")
    unpack(good, tmp_path / "out")
    assert (tmp_path / "out/ä/bild.txt").read_text() == "x"
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(bad, "w") as file:
        file.writestr("../outside.txt", "x")
    with pytest.raises(InputError, match=r"'../outside.txt'.*do not trust"):
        unpack(bad, tmp_path / "out")
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc"
    plain = [tarfile.TarInfo(n) for n in ("../outside.txt", "/tmp/outside.txt")]
    for member in (*plain, link):
        with tarfile.open(tmp_path / "bad.tar", "w") as file:
            member.size = 1 if member.isfile() else 0
            file.addfile(member, io.BytesIO(b"x"))
        with pytest.raises(InputError, match="do not trust"):
            unpack(tmp_path / "bad.tar", tmp_path / "out")
    assert not (tmp_path / "outside.txt").exists()
    (tmp_path / "broken.zip").write_bytes(good.read_bytes()[:-30])
    with pytest.raises(InputError, match="Cannot unpack"):
        unpack(tmp_path / "broken.zip", tmp_path / "out")


def test_consent_is_asked_once_and_never_in_a_batch_job(tmp_path, monkeypatch):
    path = tmp_path / "consents.json"
    monkeypatch.setenv("NEUROENC_CONSENTS", str(path))
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    with pytest.raises(InputError, match="Run `neuroenc data accept nsd` in a terminal first"):
        consent("nsd", "The terms.")
    assert not path.exists()

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stdin", Terminal("no\n"))
    with pytest.raises(InputError, match="declined"):
        consent("nsd", "The terms.")
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    consent("nsd", "The terms.")
    assert json.loads(path.read_text())["nsd"]["terms"] == "The terms."
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    consent("nsd", "The terms.")  # not asked again
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    consent("things", "Others.")
    assert set(json.loads(path.read_text())) == {"nsd", "things"}


def test_a_tar_is_unpacked(tmp_path):
    with tarfile.open(tmp_path / "good.tar.gz", "w:gz") as file:
        member = tarfile.TarInfo("folder/a.txt")
        member.size = 1
        file.addfile(member, io.BytesIO(b"x"))
    unpack(tmp_path / "good.tar.gz", tmp_path / "out")
    assert (tmp_path / "out/folder/a.txt").read_text() == "x"
