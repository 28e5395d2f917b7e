"""Tables and arrays as they are published, or the one line that says why not."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.dtypes import StringDType
from numpy.typing import NDArray

from neuroenc.documents import read_text
from neuroenc.errors import InputError, reason, suggest
from neuroenc.files import existing
from neuroenc.real import varies

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

MISSING = ("", "nan", "na", "n/a", "<na>", "null", "none")  # of a column of numbers, in any case of letters
FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"[+-]?\d{1,4000}(\.0*)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+", re.ASCII)
INDEX = re.compile(r"index|level_\d+|__index_level_\d+__")  # as pandas calls an index that has no name
NAMING = re.compile(r"(^|[\W_])([Ii]d|ID|[Ii]dx|[Ii]ndex)$|[a-z](Id|ID|Idx|Index)$")  # id, image_id, nsdId
COMMA = re.compile(r"[+-]?(\d+,\d+|,\d+)([eE][+-]?\d+)?", re.ASCII)
BLOCK = 4096  # rows
FEWEST = 10  # rows that show whether a column holds whole numbers alone
FEW = 0.5  # columns of such for each of fractions, at most, that are not what the others are


class Table:
    """A table as it stands in its file, each cell as text; columns are taken from it by type.

    A cell that is not of the type is refused with its file, line, column and value. Nothing is guessed from
    what the other cells look like, so that an empty cell or the word "null" changes no other cell.

    Parameters
    ----------
    path : path
        Of the file, for errors.
    columns : list of str
        Names, without blanks around them; empty for a column without a name.
    cells : array of text, (n_rows, n_columns)
    lines : list of int
        Line of the file in which each row begins.
    """

    def __init__(
        self, path: Path, columns: list[str], cells: NDArray[Any], lines: list[int], *, commas: bool = False
    ) -> None:
        self.path, self.columns, self.cells, self.lines = path, columns, cells, lines
        self._commas = commas

    def __len__(self) -> int:
        return len(self.cells)

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    @cached_property
    def decimal_comma(self) -> bool:
        """Whether numbers are written 0,5: where cells are parted by semicolons and some number is."""
        return self._commas and any(COMMA.fullmatch(c.strip()) for row in self.cells.tolist() for c in row)

    def text(self, column: str) -> NDArray[np.str_]:
        """Return cells as they are; words like "null" are words, an empty cell is empty text."""
        return np.array(self.cells[:, self._at(column)].tolist(), dtype=str)

    def names(self, column: str) -> NDArray[np.str_]:
        """Return names, without blanks around them; each must be there."""
        found = self._column(column)
        for row, cell in enumerate(found):
            if not cell:
                raise InputError(
                    f"{self.path} has no {column} in line {self.lines[row]}. Fill it in or remove the line."
                )
        return np.array(found, dtype=str)

    def choices(self, column: str, allowed: Sequence[str]) -> NDArray[np.str_]:
        """Return cells, each one of `allowed`; an empty cell only if empty text is."""
        found = self._column(column)
        for row, cell in enumerate(found):
            if cell not in allowed:
                raise self._wrong(column, row, suggest(cell, allowed))
        return np.array(found, dtype=str)

    def flags(self, column: str) -> NDArray[np.bool_]:
        """Return 0 or 1, true or false as bool."""
        found = self._column(column)
        for row, cell in enumerate(found):
            if cell.lower() not in FLAGS:
                raise self._wrong(column, row, "Allowed: 0 or 1, true or false.")
        return np.array([FLAGS[c.lower()] for c in found], dtype=bool)

    def integers(self, column: str, low: int = -(2**63)) -> NDArray[np.int64]:
        """Return whole numbers, at least `low`; each must be there."""
        found = self._column(column)
        if self.decimal_comma:
            found = [c.replace(",", ".") for c in found]
        for row, cell in enumerate(found):
            if not WHOLE.fullmatch(cell) or not low <= int(cell.partition(".")[0]) < 2**63:
                bound = f" from {low}" if low > -(2**63) else ""
                raise self._wrong(column, row, f"Allowed: whole numbers{bound}.")
        return np.array([int(c.partition(".")[0]) for c in found], dtype=np.int64)

    def numbers(
        self, column: str, *, missing: bool = False, low: float = -np.inf, high: float = np.inf
    ) -> NDArray[np.float64]:
        """Return finite numbers from `low` to `high`; NaN where one is missing, if it may be.

        Parameters
        ----------
        column : str
        missing : bool
            Whether cells may be empty, or say so (`MISSING`).
        low, high : float
        """
        return self.matrix([column], missing=missing, low=low, high=high)[:, 0]

    def matrix(
        self, columns: Sequence[str], *, missing: bool = False, low: float = -np.inf, high: float = np.inf
    ) -> NDArray[np.float64]:
        """Return columns of numbers, (n_rows, n_columns); as `numbers`."""
        at = [self._at(c) for c in columns]
        self._refuse_thousands(at)
        cells = self.cells if at == list(range(len(self.columns))) else self.cells[:, at]
        out = np.empty(cells.shape)
        for start in range(0, len(cells), BLOCK):
            block = cells[start : start + BLOCK]
            found = _plain(block)
            if found is None or self.decimal_comma:
                convert = self._number(missing=missing)
                found = np.array([[convert(c) for c in row] for row in block.tolist()]).reshape(block.shape)
            wrong = ~((found >= low) & (found <= high)) & ~(np.isnan(found) & missing)
            wrong |= np.isinf(found)
            if wrong.any():
                row, k = np.argwhere(wrong)[0]
                raise self._wrong(columns[k], start + int(row), self._allowed(low, high, missing=missing))
            out[start : start + BLOCK] = found
        return out

    def _refuse_thousands(self, at: list[int]) -> None:
        """Refuse 1.234 and 1,234 between semicolons where nothing tells whether the mark parts thousands."""
        if not self._commas:
            return
        if self.decimal_comma:  # one number of the table that is no thousand says what its commas are
            marked = [c.strip() for c in self.cells.ravel().tolist() if COMMA.fullmatch(c.strip())]
        else:
            marked = [c.strip() for c in self.cells[:, at].ravel().tolist() if "." in c]
        if marked and all(THOUSANDS.fullmatch(c) for c in marked):
            raise InputError(
                f"{self.path} has numbers like {marked[0]!r} between semicolons: thousands or decimals? "
                "Write them without a mark for thousands, and between commas."
            )

    def _number(self, *, missing: bool) -> Callable[[str], float]:
        """Make the function that reads a cell; infinity stands for what is no number."""
        comma = self.decimal_comma

        def convert(cell: str) -> float:
            cell = cell.strip()
            if comma and NUMBER.fullmatch(cell.replace(",", ".")) and "." not in cell:
                return float(cell.replace(",", "."))
            if not comma and NUMBER.fullmatch(cell):
                return float(cell)
            return np.nan if missing and cell.lower() in MISSING else np.inf

        return convert

    def _allowed(self, low: float, high: float, *, missing: bool) -> str:
        bounds = {
            (False, False): "",
            (True, False): f" of at least {low:g}",
            (False, True): f" up to {high:g}",
        }
        bound = bounds.get((low > -np.inf, high < np.inf), f" from {low:g} to {high:g}")
        mark = "comma, as elsewhere in the table" if self.decimal_comma else "point"
        empty = ", or an empty cell" if missing else ""
        return f"Allowed: a finite number{bound}, written with a decimal {mark}{empty}."

    def expect(self, names: Sequence[str], prefixes: Sequence[str] = ()) -> list[str]:
        """Return the columns that are not among the known ones.

        Parameters
        ----------
        names : sequence of str
            Columns that are known.
        prefixes : sequence of str
            Beginnings of known columns, e.g. `roi_`.

        Raises
        ------
        InputError
            A column is nearly named like a known one that the table lacks.
        """
        lacking = [n for n in names if n not in self.columns]
        unknown = []
        for column in filter(None, self.columns):
            if column in names or any(column.startswith(p) and column != p for p in prefixes):
                continue
            near = _near(column, lacking)
            head = re.match(r"([^\W\d_]+)(?:[\s._-]+|(?=\d)).", column)
            if head and not near:
                near = [f"{p}…" for p in prefixes if _near(head[1], [p.rstrip("_")])]
            if near:
                raise InputError(
                    f"{self.path} has a column {column!r} (did you mean {near[0]!r}?). Rename or remove it."
                )
            unknown.append(column)
        return unknown

    def unnamed(self) -> list[int]:
        """Return the places of columns without a name that hold anything."""
        return [i for i, c in enumerate(self.columns) if not c and (self.cells[:, i] != "").any()]

    def counts(self, place: int) -> bool:
        """Say whether a column counts the rows, from 0 or 1."""
        cells = [c.strip() for c in self.cells[:, place].tolist()]
        return any(cells == [str(k + first) for k in range(len(cells))] for first in (0, 1))

    def _at(self, column: str) -> int:
        if column not in self.columns:
            known = [c for c in self.columns if c]
            near = _near(column, known)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            found = ", ".join(map(repr, known[:12])) + (", …" if len(known) > 12 else "")
            raise InputError(
                f"{self.path} has no column {column!r}; found {found}{hint}. Was its layout changed?"
            )
        if self.columns.count(column) > 1:
            raise InputError(f"{self.path} has two columns {column!r}. Rename or remove one.")
        return self.columns.index(column)

    def _column(self, column: str) -> list[str]:
        return [cell.strip() for cell in self.cells[:, self._at(column)].tolist()]

    def _wrong(self, column: str, row: int, allowed: str) -> InputError:
        cell = self.cells[row, self._at(column)]
        return InputError(
            f"Invalid value for {column!r} in line {self.lines[row]} of {self.path}: {str(cell)!r}. {allowed}"
        )


def _near(name: str, known: Sequence[str]) -> list[str]:
    """Return the known name that `name` nearly is, in capitals, with blanks, in the plural or misspelt."""

    def plain(text: str) -> str:
        return re.sub(r"[\s_.-]+", "_", text.lower())

    return [k for k in known if get_close_matches(plain(name), [plain(k)], cutoff=0.8)][:1]


def _plain(cells: NDArray[Any]) -> NDArray[np.float64] | None:
    """Read numbers at once, if all are finite and written plainly."""
    try:
        found: NDArray[np.float64] = cells.astype(np.float64)
    except ValueError:
        return None
    odd = not np.isfinite(found).all() or (np.strings.find(cells, "_") >= 0).any()
    return None if odd else found


def read_table(
    path: str | Path,
    *required: str,
    separator: str | None = None,
    header: Sequence[str] = (),
    empty: bool = False,
) -> Table:
    """Read a table of text in UTF-8.

    Parameters
    ----------
    path : path
    required : str
        Columns it must have.
    separator : str, optional
        What stands between cells; a blank stands for any number of them. Left out: a tab where the file is
        named .tsv; else a comma, or where the header has none a semicolon, or a tab. Where it is a semicolon,
        numbers may have a decimal comma.
    header : sequence of str, optional
        Names of the columns of a table without a header.
    empty : bool
        Whether it may have no rows.

    Raises
    ------
    InputError
        It is missing, not UTF-8, empty or broken; a row has another number of cells than the header; a
        column is missing.
    """
    path = existing(path)
    text = read_text(path)
    separator = separator or _separator(path, text)
    rows = _records(path, text, separator)
    columns = list(header) or [_name(c) for c in next((cells for _, cells in rows if cells), [""])]
    if not any(columns):
        raise InputError(f"{path} is empty. A table begins with the names of its columns.")
    if all(NUMBER.fullmatch(c) for c in columns) and not all(WHOLE.fullmatch(c) for c in columns):
        raise InputError(
            f"{path} begins with numbers, expected the names of its columns. Add them as first line."
        )
    if len(columns) > 1:
        rows = ((line, row) for line, row in rows if row)  # a line without anything is no row
    blocks: list[NDArray[Any]] = []
    block: list[list[str]] = []
    lines: list[int] = []
    blank = 0  # of a single column an empty line is an empty cell, unless it is one of the last
    for line, row in rows:
        cells = row or [""]
        if len(cells) != len(columns):
            raise InputError(
                f"Line {line} of {path} has {len(cells)} cells, its header {len(columns)}. Is there a "
                "separator too many, or text that needs quotes?"
            )
        blank = 0 if row else blank + 1
        block.append(cells)
        lines.append(line)
        if len(block) == BLOCK:
            blocks.append(np.array(block, dtype=StringDType()))
            block = []
    blocks.append(np.array(block, dtype=StringDType()).reshape(len(block), len(columns)))
    n = len(lines) - blank
    if not n and not empty:
        raise InputError(f"{path} has a header and no rows.")
    table = Table(path, columns, np.concatenate(blocks)[:n], lines[:n], commas=separator == ";")
    for column in required:
        table._at(column)
    return table


def _separator(path: Path, text: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    unquoted = re.sub(r'"[^"]*"', "", text[: 2**20]).lstrip("\r\n")
    header = re.split(r"[\r\n]", unquoted, maxsplit=1)[0]
    return next((s for s in (",", ";", "\t") if s in header), ",")


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """List (line, cells) of each record; an empty line has no cells."""
    source: Iterable[str] = io.StringIO(text, newline="")
    if separator == " ":
        source = (" ".join(line.split()) for line in source)
    reader = csv.reader(source, delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"Cannot read the table {path} in line {line}: {error}. Is it whole?") from None


def _name(cell: str) -> str:
    """Return the name of a column; pandas calls one without a name 'Unnamed: 0', or 'Unnamed: 0.1'."""
    name = cell.strip()
    return "" if re.fullmatch(r"Unnamed: \d+(\.\d+)*", name) else name


def refuse_index(path: Path, name: str, column: NDArray[Any]) -> None:
    """Refuse a column of numbers that name rows instead of being values.

    Raises
    ------
    InputError
        Pandas calls an index so, or the numbers count the rows, from 0 or 1; or they are whole and called
        an id.
    """
    counts = len(column) > 2 and column[0] in (0, 1) and (np.diff(column) == 1).all()
    if counts or INDEX.fullmatch(name):
        raise InputError(f"Column {name!r} of {path} numbers its rows; it holds no values. Remove it.")
    if NAMING.search(name) and (column == np.round(column)).all():
        raise InputError(
            f"Column {name!r} of {path} names its rows; it holds no values. Call it 'stimulus_id' if it "
            "holds the ids, else remove it."
        )


def codes(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the columns of whole numbers among columns of fractions, of which there are few.

    Parameters
    ----------
    values : array of shape (n_rows, n_columns)
        Of few rows nothing is said, nor of columns that do not vary.
    """
    if len(values) < FEWEST:
        return np.array([], np.int64)
    whole = (np.isnan(values) | (values == np.round(values))).all(0)
    found = np.flatnonzero(whole & varies(values))
    return found if len(found) <= FEW * (~whole).sum() else found[:0]


def read_array(path: str | Path) -> NDArray[Any]:
    """Map a .npy file of numbers into memory; pickled objects are refused.

    Raises
    ------
    InputError
        It is broken, an archive, or holds objects.
    """
    path = existing(path)
    try:
        found = np.load(path, "r", allow_pickle=False)
    except Exception as error:  # noqa: BLE001  headers that lie raise errors of every kind
        how = "Save numbers (`.astype(float)`)" if "Python objects" in str(error) else "Fetch it again"
        raise InputError(f"Cannot read {path}: {reason(error)}. {how}.") from None
    if not isinstance(found, np.ndarray):
        raise InputError(
            f"{path} is an archive of arrays (.npz), expected one array (.npy). Save it by itself."
        )
    return found


def open_parquet(path: str | Path) -> ParquetFile:
    """Open a table of Parquet.

    Raises
    ------
    InputError
        It is missing, broken or of another format.
    """
    from pyarrow.parquet import ParquetFile

    path = existing(path)
    try:
        return ParquetFile(path)
    except Exception as error:  # noqa: BLE001  the reader has errors of every kind
        raise InputError(f"Cannot read {path}: {reason(error)}. Write it again.") from None
