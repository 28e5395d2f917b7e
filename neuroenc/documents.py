"""Text as others wrote it: UTF-8, YAML and JSON, or the one line that says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from neuroenc.errors import InputError
from neuroenc.files import existing

BINARY = {
    b"PK\x03\x04": "a workbook (.xlsx, .ods) or a zip", b"\xd0\xcf\x11\xe0": "a workbook (.xls)",
    b"PAR1": "a Parquet", b"\x89HDF": "an HDF5", b"\x1f\x8b": "compressed (.gz)",
    b"MATLAB 5": "a MATLAB file",
}  # fmt: skip


def read_text(path: str | Path, *, made_by: str = "", utf16: bool = False) -> str:
    """Read a text file; a byte order mark is taken off, line ends are left as they are.

    Parameters
    ----------
    path : path
    made_by : str
        What to do if it is not there.
    utf16 : bool
        Also read UTF-16 that begins with a byte order mark, as Praat writes it.

    Raises
    ------
    InputError
        It is missing, no file, or not UTF-8.
    """
    path = existing(path, made_by=made_by)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror}. Expected a file you may read.") from None
    for begin, kind in BINARY.items():
        if data.startswith(begin):
            raise InputError(f"{path} is {kind}, expected text. Save it as UTF-8 (a table as CSV).")
    wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    if wide and not utf16:
        raise InputError(f"{path} is UTF-16. Save it as UTF-8.")
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} is not {'UTF-16' if wide else 'UTF-8'}: byte 0x{error.object[error.start]:02x} in line "
            f"{line}. Save it as UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path} holds a zero byte in line {line}. Save it as text in UTF-8.")
    return text


LARGEST = 1_000_000  # values a YAML file may hold once its aliases are followed


class _Loader(yaml.SafeLoader):
    """YAML in which no key stands twice, no number begins with 0, and aliases do not multiply without end."""

    def get_single_node(self) -> yaml.Node | None:
        """Refuse a text whose aliases hold themselves, or blow up when they are followed."""
        root = super().get_single_node()
        sizes: dict[int, float] = {}

        def size(node: yaml.Node) -> float:
            if id(node) not in sizes:
                sizes[id(node)] = float("inf")  # until it is known: an alias inside what it names has no end
                below = node.value if isinstance(node, yaml.CollectionNode) else []
                flat = [n for entry in below for n in (entry if isinstance(entry, tuple) else (entry,))]
                sizes[id(node)] = 1 + sum(map(size, flat))
            return sizes[id(node)]

        if root is not None and size(root) > LARGEST:
            raise yaml.MarkedYAMLError(problem="its aliases (*name) multiply beyond measure")
        return root

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that stands twice: the second would win."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} stands twice", problem_mark=key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse 01 and 010, which YAML takes for the numbers 1 and 8, and 1:30, for it 90."""
        if re.match(r"[-+]?0[\d_]|.*:", node.value):
            raise yaml.MarkedYAMLError(
                problem=f"{node.value} is read as a number ({super().construct_yaml_int(node)}); put a name "
                f"in quotes: '{node.value}'", problem_mark=node.start_mark,
            )  # fmt: skip
        return int(super().construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def read_yaml(path: str | Path, *, made_by: str = "") -> dict[Any, Any]:
    """Read a YAML file of keys and values.

    Raises
    ------
    InputError
        It is missing, not UTF-8, not YAML, not a mapping; a key stands twice; a number begins with 0.
    """
    text = read_text(path, made_by=made_by)
    try:
        found = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InputError(f"{path} cannot be read as YAML{line}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as YAML: {_first_line(error)}.") from None
    if not isinstance(found, dict):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        raise InputError(f"{path} holds {kind}, expected keys with values (key: value).")
    return found


def parse_json(text: str, source: str) -> Any:
    """Read JSON.

    Parameters
    ----------
    text : str
    source : str
        Where it is from, for errors.

    Raises
    ------
    InputError
        It is no JSON; a key stands twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [k for k, _ in pairs]
            raise InputError(f"{source}: the key {max(keys, key=keys.count)!r} stands twice. Remove one.")
        return found

    try:
        return json.loads(text, object_pairs_hook=once)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{source} is not JSON: {_first_line(error)}.") from None


def read_json(path: str | Path, *keys: str) -> Any:
    """Read a JSON file; with `keys` it must be an object that has them.

    Raises
    ------
    InputError
        It is missing, not UTF-8, not JSON; a key is missing or stands twice.
    """
    found = parse_json(read_text(path), str(path))
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            raise InputError(f"{path} has no key {key!r}. Was it written by another command?")
    return found


def read_object(path: str | Path, *keys: str) -> dict[str, Any]:
    """Read a JSON object, with `keys` or whatever it has.

    Raises
    ------
    InputError
        As `read_json`; it holds a list or a single value.
    """
    found = read_json(path, *keys)
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, expected keys with values.")
    return found


def read_rows(path: str | Path, *keys: str, of: Iterable[str]) -> Any:
    """Read a JSON object with `keys` and `rows`, a list of objects that have the keys `of`.

    Raises
    ------
    InputError
        As `read_json`; `rows` is no list, or one of them lacks a key.
    """
    found = read_json(path, *keys, "rows")
    rows = found["rows"]
    if not isinstance(rows, list):
        raise InputError(f"{path} lists no rows. Was it written by another command?")
    for number, row in enumerate(rows):
        lacking = [key for key in of if not isinstance(row, dict) or key not in row]
        if lacking:
            raise InputError(
                f"Row {number} of {path} has no key {lacking[0]!r}. Was it written by another command?"
            )
    return found


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
