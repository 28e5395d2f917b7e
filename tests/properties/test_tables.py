"""Whatever a table holds, it is read right or refused in one line."""

import csv
import io
import math
import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from neuroenc.datasets.reading import MISSING, read_table
from neuroenc.documents import read_json, read_yaml
from neuroenc.errors import InputError

WORDS = [
    "null",
    "None",
    "nan",
    "NA",
    "n/a",
    "true",
    "001",
    "1.0",
    "1e5",
    "-",
    "a b",
    "ü",
    "😀",
    'a "b"',
    "x,y",
    "x;y",
    "two\nlines",
]
texts = st.sampled_from(WORDS) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=8
)
names = st.text("abcäλ_1 ", min_size=1, max_size=6).map(str.strip).filter(lambda n: n and n != "Unnamed: 0")
dialects = st.sampled_from([(",", ".csv"), (";", ".csv"), ("\t", ".csv"), ("\t", ".tsv")])
ends = st.sampled_from(["\n", "\r\n", "\r"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tables")


def write(path, rows, separator, end, *, mark=False):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    path.write_bytes(text.getvalue().encode("utf-8-sig" if mark else "utf-8"))


def one_line(error):
    assert "\n" not in str(error) and str(error)


@st.composite
def tables(draw, cell, min_columns=1):
    columns = draw(st.lists(names, min_size=min_columns, max_size=4, unique=True))
    rows = st.lists(cell, min_size=len(columns), max_size=len(columns))
    return columns, draw(st.lists(rows, min_size=1, max_size=6))


@given(table=tables(texts), dialect=dialects, end=ends, mark=st.booleans())
def test_text_stays_as_it_is(folder, table, dialect, end, mark):
    (columns, rows), (separator, ending) = table, dialect
    path = folder / f"text{ending}"
    write(path, [columns, *rows], separator, end, mark=mark)
    found = read_table(path)
    assert found.columns == columns and len(found) == len(rows)
    for k, column in enumerate(columns):
        wanted = [r[k] for r in rows]
        assert found.text(column).tolist() == wanted
        if all(w.strip() for w in wanted):
            assert found.names(column).tolist() == [w.strip() for w in wanted]
        else:
            with pytest.raises(InputError, match="Fill it in") as caught:
                found.names(column)
            one_line(caught.value)


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    table=tables(numbers | st.none(), min_columns=2),
    dialect=dialects,
    comma=st.booleans(),
    empty=st.sampled_from(MISSING),
)
def test_numbers_are_read_right_or_refused(folder, table, dialect, comma, empty):
    (columns, rows), (separator, ending) = table, dialect
    path = folder / f"numbers{ending}"
    cells = [[empty if v is None else repr(v).replace(".", "," if comma else ".") for v in r] for r in rows]
    write(path, [columns, *cells], separator, "\n")
    found = read_table(path)
    wanted = np.array([[math.nan if v is None else v for v in r] for r in rows])
    if comma and separator != ";" and any("," in c for r in cells for c in r):
        with pytest.raises(InputError, match="decimal point") as caught:
            found.matrix(columns, missing=True)
        one_line(caught.value)
        return
    np.testing.assert_array_equal(found.matrix(columns, missing=True), wanted)
    if np.isnan(wanted).any():
        with pytest.raises(InputError, match=r"Allowed: a finite number, written with a decimal"):
            found.matrix(columns)
    else:
        np.testing.assert_array_equal(found.matrix(columns), wanted)


@given(cell=texts | numbers.map(repr) | st.integers().map(str))
@example("1_000")
@example("1e999")
@example("-9223372036854775809")
@example("1+2j")
@example("infinity")
def test_a_cell_is_of_its_type_or_named(folder, cell):
    path = folder / "cell.csv"
    write(path, [["a", "b"], ["0", cell]], ",", "\n")
    table = read_table(path)
    plain = cell.strip()
    for kind, pattern, value in (
        ("numbers", r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", float),
        ("integers", r"[+-]?\d+(\.0*)?", lambda c: int(c.split(".")[0])),
        ("flags", r"(?i:true|false|[01](\.0)?)", lambda c: c.lower() in ("1", "1.0", "true")),
    ):  # fmt: skip
        fits = re.fullmatch(pattern, plain, re.ASCII) and abs(value(plain)) < (
            2**63 if kind == "integers" else math.inf
        )
        if fits:
            assert getattr(table, kind)("b").tolist() == [value(plain)]
        elif kind != "numbers" or not plain.isdecimal():  # digits of other scripts are numbers as well
            with pytest.raises(
                InputError, match=r"(?s)Invalid value for 'b' in line 2 of .*cell\.csv: .*Allowed"
            ) as caught:
                getattr(table, kind)("b")
            one_line(caught.value)


@given(
    data=st.binary(max_size=60) | st.text('ab,;\t"\r\n\0 é', max_size=60).map(str.encode),
    ending=st.sampled_from([".csv", ".tsv"]),
)
@example(b"", ".csv")
@example(b"a,b\n", ".csv")
@example(b"a,b\n1,2,3\n", ".csv")
@example(b"a,b\n1\n", ".csv")
@example("a,b\nü,1\n".encode("latin-1"), ".csv")
@example("a,b\nü,1\n".encode("utf-16"), ".csv")
@example("a,b\nu,1\n".encode("utf-16-le"), ".csv")
@example(b'a,b\n"1,2\n', ".csv")
def test_any_bytes_are_a_table_or_one_line(folder, data, ending):
    path = folder / f"bytes{ending}"
    path.write_bytes(data)
    try:
        table = read_table(path)
    except InputError as error:
        one_line(error)
    else:
        assert len(table) == len(table.lines) > 0 and table.cells.shape == (len(table), len(table.columns))


@settings(max_examples=50)
@given(data=st.binary(max_size=40) | st.text("ab01:[]{}-&*!\"',|>#\n ", max_size=40).map(str.encode))
@example(b"a: 1\na: 2\n")
@example(b"a: 2020-99-99")
@example(b"a: !!timestamp x")
@example(b"a: &a [*a]")
@example(b"? {a: 1}\n: 2")
def test_any_bytes_are_settings_or_one_line(folder, data):
    path = folder / "bytes.yaml"
    path.write_bytes(data)
    for read in (read_yaml, read_json):
        try:
            read(path)
        except InputError as error:
            one_line(error)
