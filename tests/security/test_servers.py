"""Servers that lie: nothing but what was asked for is kept, whatever they answer."""

import json
import time
from itertools import pairwise

import pytest
from layouts.server import serve

from neuroenc.config import Dataset
from neuroenc.datasets import sources
from neuroenc.errors import InputError
from neuroenc.features import checkpoints, registry
from neuroenc.fetch import FetchError, fetch, opened


def other_part(handler, body):
    handler.answer(206, body[5:], Content_Range=f"bytes 5-{len(body) - 1}/{len(body)}")


def endless(handler, body):
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(body)
    except OSError:
        handler.close_connection = True


def trickle(handler, body):
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    try:
        for i in range(len(body)):
            handler.wfile.write(body[i : i + 1])
            time.sleep(0.05)
    except OSError:
        handler.close_connection = True


def chunked(*chunks, end=True):
    def answer(handler, _body):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n" if end else b"")
        handler.close_connection = True

    return answer


def drop_by_drop(head):
    """Answer with a head that never ends."""

    def answer(handler, _body):
        try:
            for byte in head + b"X-Filler: " + b"x" * 10_000:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        handler.close_connection = True

    return answer


def patient(handler, body):
    """Say "continue" again and again."""
    try:
        for _ in range(200):
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.02)
    except OSError:
        pass
    handler.close_connection = True


def slow_chunk(handler, _body):
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    drop_by_drop(b"32;")(handler, b"")


SMALL = bytes(range(200))
TRANSFERS = {
    "a part that was not asked for": (lambda h, b: h.answer(206, b, Content_Range="bytes 0-199/200"), {}, "not asked|another part"),
    "another part": (other_part, {}, "another part"),
    "a part without its place": (lambda h, b: h.answer(206, b), {}, "another part"),
    "no length, cut": (lambda h, b: h.answer(200, b[:50], declared=False), {}, "does not say how many"),
    "another length than is known": (lambda h, b: h.answer(200, b[:50]), {"size": 200}, "has 50 bytes, expected 200"),
    "no length, other than is known": (lambda h, b: h.answer(200, b[:50], declared=False), {"size": 200}, "after 50 of 200"),
    "more than was announced": (lambda h, b: h.answer(200, b + b, declared=False), {"size": 200}, "more than the 200 bytes"),
    "less than was announced": (lambda h, b: h.answer(200, b[:9], declared=False, Content_Length=200), {}, "Cannot fetch"),
    "chunks without end": (chunked(SMALL[:50], end=False), {}, "Cannot fetch"),
    "never an end": (endless, {"size": 200}, "more than the 200 bytes"),
    "a page": (lambda h, b: h.answer(200, b"<html>log in", Content_Type="text/html; charset=utf-8"), {}, "answered by a page"),
    "nothing": (lambda h, b: h.answer(204, b""), {}, "answers 204"),
    "elsewhere, for ever": (lambda h, b: h.answer(302, b"", Location=h.path), {}, "Cannot fetch"),
    "elsewhere, into a file": (lambda h, b: h.answer(302, b"", Location="file:///etc/passwd"), {}, "Cannot fetch"),
    "noise": (lambda h, b: h.wfile.write(b"\0\1\2\r\n\r\n"), {}, "Cannot fetch"),
    "a length that is none": (lambda h, b: h.answer(200, b, declared=False, Content_Length="-5"), {}, "Cannot fetch"),
    "drop by drop": (trickle, {}, r"bytes came in \d+ s"),
    "a length in other digits": (lambda h, b: h.answer(200, b[:50], declared=False, Content_Length="\xb2"), {}, "Cannot fetch"),
    "a length of 5,000 digits": (lambda h, b: h.answer(200, b, declared=False, Content_Length="9" * 5000), {}, "Cannot fetch"),
    "a length of 10 PB": (lambda h, b: h.answer(200, b, declared=False, Content_Length="1" + "0" * 16), {}, "takes .* GiB"),
    "a part of 5,000 digits": (lambda h, b: h.answer(206, b, Content_Range=f"bytes 0-{'9' * 5000}/{'9' * 5000}"), {}, "another part"),
    "several parts": (lambda h, b: h.answer(206, b, Content_Type="multipart/byteranges; boundary=x"), {}, "another part"),
    "nothing has changed": (lambda h, b: h.answer(304, b""), {}, "answers 304"),
    "a status that is none": (lambda h, b: h.wfile.write(b"HTTP/1.1 9999 yes\r\n\r\n"), {}, "Cannot fetch"),
    "1,000 headers": (lambda h, b: h.answer(200, b, **{f"X_{i}": "x" for i in range(1000)}), {}, "Cannot fetch"),
    "a head drop by drop": (drop_by_drop(b"HTTP/1.1 200 OK\r\n"), {}, "nothing came in"),
    "continue, for ever": (patient, {}, "Cannot fetch"),
    "a chunk drop by drop": (slow_chunk, {}, "nothing came in"),
    "another file": (lambda h, b: h.answer(200, b[::-1]), {"known_hash": "sha256:" + "0" * 64}, "another hash"),
}  # fmt: skip
BASE = "ds003020/derivative/"


def keys(*names, more=""):
    return "".join(f"<Key>{BASE}preprocessed_data/UTS01/{n}</Key>" for n in names) + more


def without_end():
    number = iter(range(10**9))

    def answer(_query):
        i = next(number)
        return f"<L>{keys(*range(1000 * i, 1000 * i + 1000))}<NextContinuationToken>{i}</NextContinuationToken></L>".encode()

    return answer


OUTSIDE = "would reach outside"
LISTINGS = {
    "upwards": (keys("../../../evil"), OUTSIDE),
    "upwards within": (keys("a/../../../../evil"), OUTSIDE),
    "the folder above": (keys(".."), OUTSIDE),
    "as in Windows": (keys("a\\..\\..\\..\\..\\evil"), OUTSIDE),
    "an over-long name": (keys("x" * 300), OUTSIDE),
    "two lines": (keys("a&#10;b"), OUTSIDE),
    "what was not asked for": (f"<Key>{BASE}other/x</Key>", "under ds003020"),
    "the same page again": (keys("a", more="<NextContinuationToken>1</NextContinuationToken>"), "without end"),
    "ever more pages": (without_end(), "without end"),
    "pages of nothing": ("<NextContinuationToken>1</NextContinuationToken>", "without end"),
    "nothing": ("", "nothing under"),
    "no XML": ("<", "Cannot list"),
    "entities that multiply": (
        b'<!DOCTYPE L [<!ENTITY a "ha">' + b"".join(b'<!ENTITY %s "%s">' % (y, b"&%s;" % x * 50) for x, y in pairwise([b"a", b"b", b"c", b"d", b"e", b"f"]))
        + b"]><L><Key>&f;</Key></L>", "Cannot list",
    ),
    "another file's content": (b'<!DOCTYPE L [<!ENTITY a SYSTEM "file:///etc/passwd">]><L><Key>&a;</Key></L>', "Cannot list"),
}  # fmt: skip
NO_LIST, COMMIT = "the answer is no list of files", "0123456789abcdef"
FILES = [{"rfilename": "config.json"}, {"rfilename": "model.safetensors"}]


def hub(**changes):
    return json.dumps({"sha": COMMIT, "siblings": FILES} | changes).encode()


HUBS = {
    "a commit that leads elsewhere": (hub(sha="../../evil"), NO_LIST),
    "no commit": (hub(sha=None), NO_LIST),
    "text for a list": (hub(siblings="all"), NO_LIST),
    "a size of text": (hub(siblings=[*FILES, {"rfilename": "vocab.txt", "size": "much"}]), NO_LIST),
    "less than nothing": (hub(siblings=[*FILES, {"rfilename": "vocab.txt", "size": -1}]), NO_LIST),
    "10 PB": (hub(siblings=[FILES[0], {"rfilename": "model.safetensors", "size": 10**16}]), "GiB free|answers 404"),
    "a hash of one digit": (hub(siblings=[*FILES, {"rfilename": "vocab.txt", "lfs": {"sha256": "a"}}]), NO_LIST),
    "a hash of text": (hub(siblings=[*FILES, {"rfilename": "vocab.txt", "lfs": "yes"}]), NO_LIST),
    "a name upwards": (hub(siblings=[*FILES, {"rfilename": "model\\..\\..\\x.safetensors"}]), OUTSIDE),
    "no weights": (hub(siblings=[]), "has no"),
    "a list": (b"[]", NO_LIST),
    "no JSON": (b"<html>", NO_LIST),
    "no text": (b"\xff\xfe", NO_LIST),
    "deep": (b"[" * 100_000, NO_LIST),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setenv("NEUROENC_RETRY_SECONDS", "0")


@pytest.mark.parametrize("lie", TRANSFERS)
def test_a_server_that_lies_leaves_nothing(tmp_path, monkeypatch, lie):
    monkeypatch.setattr("neuroenc.fetch.PATIENCE", 0.3)
    monkeypatch.setattr("neuroenc.fetch.TRIES", 2)
    answer, known, message = TRANSFERS[lie]
    with serve({"a.bin": SMALL}) as server:
        server.faults["a.bin"] = [answer] * 99
        with pytest.raises((InputError, FetchError), match=message) as raised:
            fetch(f"{server.url}/a.bin", tmp_path / "a.bin", **known)
    assert "\n" not in str(raised.value) and not (tmp_path / "a.bin").exists()


@pytest.mark.parametrize("lie", LISTINGS)
def test_a_listing_that_lies_writes_nothing(tmp_path, monkeypatch, lie):
    monkeypatch.setattr(sources, "LISTED", 5000)
    body, message = LISTINGS[lie]
    body = f"<L>{body}</L>".encode() if isinstance(body, str) else body
    with serve({"bucket": body}) as server:
        monkeypatch.setattr(sources, "OPENNEURO_URL", f"{server.url}/bucket")
        with pytest.raises((InputError, FetchError), match=message) as raised:
            sources.fetch_dataset(Dataset(name="stories", root=str(tmp_path / "mine")), ["UTS01"])
    assert "\n" not in str(raised.value) and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lie", HUBS)
def test_a_hub_that_lies_writes_nothing(tmp_path, monkeypatch, lie):
    monkeypatch.setenv("NEUROENC_WEIGHTS", str(tmp_path / "store"))
    body, message = HUBS[lie]
    repository = registry.ENTRIES["bert-base"].published
    with serve({f"api/models/{repository}/revision/main": body}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        with pytest.raises((InputError, FetchError), match=message) as raised:
            checkpoints.fetch("bert-base")
    assert "\n" not in str(raised.value)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_what_leaves_https_is_refused(monkeypatch):
    """Also in the middle of several steps."""

    class Answer:
        url = "https://b.example/x"
        history = (type("Step", (), {"url": "http://a.example/x"}),)

    monkeypatch.setattr("requests.request", lambda *_, **__: Answer())
    with pytest.raises(InputError, match=r"leads to http://a\.example/x, which is not encrypted"):
        opened("https://a.example/x")
