"""Archives from a stranger: unpacked whole, or one line and nothing written."""

import gzip
import io
import re
import struct
import tarfile
import zipfile

import pytest

from neuroenc.errors import InputError
from neuroenc.fetch import unpack


def zipped(*names, compression=zipfile.ZIP_DEFLATED, edit=None):
    def make(path):
        with zipfile.ZipFile(path, "w", compression) as file:
            for name in names:
                file.writestr(name, "text" * 25)
        if edit is not None:
            data = bytearray(path.read_bytes())
            edit(data, data.index(b"PK\3\4"), data.index(b"PK\1\2"))
            path.write_bytes(data)

    return make


def tar(*names, kind=tarfile.REGTYPE, link="", mode="w", **pax):
    def make(path):
        with tarfile.open(path, mode, format=tarfile.PAX_FORMAT) as file:
            for name in names:
                member = tarfile.TarInfo(name)
                member.type, member.linkname, member.pax_headers = kind, link, pax
                member.size = 1 if member.isfile() else 0
                file.addfile(member, io.BytesIO(b"x"))

    return make


def encrypted(data, local, central):
    data[local + 6] |= 1
    data[central + 8] |= 1


def no_unicode(data, local, central):
    for place, flag in ((local, 7), (central, 9)):
        data[place + flag] |= 8
        data[data.index(b"abc", place)] = 0xFF


def stored_as(method):
    def edit(data, local, central):
        data[local + 8 : local + 10] = data[central + 10 : central + 12] = struct.pack("<H", method)

    return edit


def central(offset, value):
    def edit(data, _local, directory):
        data[directory + offset : directory + offset + 4] = struct.pack("<I", value)

    return edit


def other_name(data, local, _central):
    data[local + 30] ^= 1


def noise(data, local, _central):
    data[local + 34 : local + 44] = bytes(10)


def cut(data, _local, _central):
    del data[60:]


def cut_tar(path):
    tar("a", mode="w:gz")(path)
    path.write_bytes(path.read_bytes()[:40])


def growing(path):
    member = tarfile.TarInfo("zeros")
    member.size = 2**31
    with gzip.open(path, "wb") as file:
        file.write(member.tobuf() + bytes(2**20))


OUTSIDE, BROKEN, ODD = (
    "would reach outside .* do not trust",
    "^Cannot unpack .* fetch it again",
    "do not trust it",
)
ARCHIVES = {
    "upwards": (zipped("../x"), OUTSIDE),
    "upwards within": (zipped("a/../../x"), OUTSIDE),
    "absolute": (zipped("/tmp/x"), OUTSIDE),
    "upwards, as in Windows": (zipped("..\\x"), OUTSIDE),
    "a drive": (zipped("C:\\x"), OUTSIDE),
    "a home": (zipped("~/x"), OUTSIDE),
    "the folder itself": (zipped("."), OUTSIDE),
    "two lines": (zipped("a\nb"), OUTSIDE),
    "written backwards": (zipped("a\u202eb"), OUTSIDE),
    "an over-long name": (zipped("x" * 300), OUTSIDE),
    "3,000 folders deep": (zipped("a/" * 3000 + "x"), BROKEN),
    "a file that is a folder": (zipped("a", "a/b"), BROKEN),
    "a name that is no text": (zipped("abc", edit=no_unicode), BROKEN),
    "encrypted": (zipped("abc", edit=encrypted), BROKEN),
    "no such compression": (zipped("abc", edit=stored_as(99)), BROKEN),
    "LZMA that is none": (zipped("abc", edit=stored_as(14)), BROKEN),
    "bzip2 that is none": (zipped("abc", edit=stored_as(12)), BROKEN),
    "deflated noise": (zipped("abc", edit=noise), BROKEN),
    "another check sum": (zipped("abc", edit=central(16, 1)), BROKEN),
    "another name inside": (zipped("abc", edit=other_name), BROKEN),
    "fewer bytes than said": (zipped("abc", edit=central(24, 5)), BROKEN),
    "4 GiB of 100 bytes": (zipped("abc", edit=central(24, 2**32 - 2)), "would unpack to 4294967294"),
    "beyond its end": (zipped("abc", edit=central(42, 2**31)), BROKEN),
    "cut": (zipped("abc", edit=cut), BROKEN),
    "noise": (lambda path: path.write_bytes(b"\x12" * 999), BROKEN),
    "empty": (lambda path: path.write_bytes(b""), BROKEN),
    "a folder": (lambda path: path.mkdir(), BROKEN),
    "tar, upwards": (tar("../x"), OUTSIDE),
    "tar, absolute": (tar("/tmp/x"), OUTSIDE),
    "tar, upwards in its header": (tar("a", path="../../x"), OUTSIDE),
    "tar, twice": (tar("a", "a"), "holds 'a' twice"),
    "tar, symbolic link": (tar("a", kind=tarfile.SYMTYPE, link="/etc"), ODD),
    "tar, hard link": (tar("a", kind=tarfile.LNKTYPE, link="/etc/passwd"), ODD),
    "tar, device": (tar("a", kind=tarfile.CHRTYPE), ODD),
    "tar, pipe": (tar("a", kind=tarfile.FIFOTYPE), ODD),
    "tar, a control character": (tar("a\x1bb"), OUTSIDE),
    "tar, no date": (tar("a", mtime="nan"), BROKEN),
    "tar, a date without end": (tar("a", mtime="1e400"), BROKEN),
    "tar, 10 to the 20 bytes": (tar("a", size="9" * 20), "would unpack to 9+ or more"),
    "tar, less than nothing": (tar("a", size="-5"), BROKEN),
    "tar, 2 GiB of zeros": (growing, "would unpack to 2147483648"),
    "tar, cut": (cut_tar, BROKEN),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_of_a_stranger(tmp_path, name):
    make, message = ARCHIVES[name]
    (tmp_path / "from").mkdir()
    make(tmp_path / "from/archive")
    before = set(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as raised:
        unpack(tmp_path / "from/archive", tmp_path / "to")
    assert "\n" not in str(raised.value)
    assert set(tmp_path.rglob("*")) == before and not re.search("PosixPath", str(raised.value))
