"""A file of evaluated networks as columns: CSV, Parquet or JSON."""

import csv
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paredown.search.errors import ConfigError

POSITION = re.compile(r"^(.+)\[(\d+)\]$")


@dataclass(frozen=True)
class Columns:
    """A table.

    Attributes:
        where: Name of the table in messages.
        cells: Cells by column; all columns have the same length.
        rows: Name of each row in messages.
    """

    where: str
    cells: dict[str, list[Any]]
    rows: Sequence[str]

    def pick(self, column: str, asker: str) -> list[Any]:
        """Return the cells of a column, or the element at one position of each cell: `test_acc[0]`.

        Args:
            column: Name of a column, or name and position; a column of exactly this name takes precedence.
            asker: Name in messages of the key that needs the column.

        Raises:
            ConfigError: There is no such column or position.
        """
        if column in self.cells:
            return self.cells[column]
        position = POSITION.match(column)
        if position and position[1] in self.cells:
            cells = self.cells[position[1]]
            return [self._at(cell, int(position[2]), row, column) for cell, row in zip(cells, self.rows, strict=True)]
        raise ConfigError(f"{self.where}: {asker}: no column {column!r}; there are {', '.join(self.cells)}")

    def numbers(self, column: str, asker: str) -> list[float]:
        """Return the cells of a column as numbers, NaN where a cell is empty.

        Raises:
            ConfigError: A cell is no number; the message names the row.
        """
        return [
            math.nan if is_empty(cell) else self._number(cell, row, column, asker)
            for cell, row in zip(self.pick(column, asker), self.rows, strict=True)
        ]

    def _number(self, cell: Any, row: str, column: str, asker: str) -> float:
        try:
            value = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError):
            value = math.nan
        if not math.isfinite(value):
            raise ConfigError(f"{self.where}: {asker}: column {column!r}, {row}: {cell!r} is no number")
        return value

    def _at(self, cell: Any, index: int, row: str, column: str) -> Any:
        if is_empty(cell):
            return None
        if isinstance(cell, str) and cell.lstrip().startswith("["):
            try:
                cell = json.loads(cell)
            except ValueError:
                raise ConfigError(f"{self.where}: column {column!r}, {row}: {cell!r} is no list") from None
        if not isinstance(cell, str | list) or index >= len(cell):
            raise ConfigError(f"{self.where}: column {column!r}, {row}: {cell!r} has no position {index}")
        return cell[index]


def is_empty(cell: Any) -> bool:
    """Return whether a cell is empty."""
    if isinstance(cell, str):
        return cell.strip().lower() in {"", "nan"}
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def read_columns(path: Path, key: str) -> Columns:
    """Read a file of networks in the format that its suffix names.

    Args:
        path: Path of a file that ends in .csv, .parquet or .json. JSON may be a list of records, a mapping of columns
            to lists, or a mapping of networks to records.
        key: Name of the column that holds the keys of a mapping of networks.

    Raises:
        ConfigError: The file cannot be read, is no table, or is empty; the message names it.
    """
    where = str(path)
    readers: dict[str, Callable[[Path], Columns]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".json": lambda file: _read_json(file, key),
    }
    if path.suffix.lower() not in readers:
        raise ConfigError(f"{where}: {path.suffix or 'no suffix'!r} is no format; allowed: {', '.join(readers)}")
    try:
        columns = readers[path.suffix.lower()](path)
    except OSError as error:
        raise ConfigError(f"{where}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where}: is no text file: {error}") from error
    if not columns.rows:
        raise ConfigError(f"{where}: holds no network")
    return columns


def _read_csv(path: Path) -> Columns:
    """Read a CSV file; its cells stay text, so that `00120` keeps its zeros."""
    with path.open(newline="") as file:
        lines = csv.reader(file)
        head = next(lines, [])
        body = [(lines.line_num, line) for line in lines if line]
    if len(set(head)) < len(head):
        raise ConfigError(f"{path}: a column is named twice in {', '.join(head)}")
    for number, line in body:
        if len(line) != len(head):
            raise ConfigError(f"{path}: line {number} has {len(line)} cells; the head has {len(head)}")
    cells = {name: [line[i] for _, line in body] for i, name in enumerate(head)}
    return Columns(str(path), cells, [f"line {number}" for number, _ in body])


def _read_parquet(path: Path) -> Columns:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise ConfigError(f"{path}: is no Parquet file: {error}") from error
    return Columns(str(path), table.to_pydict(), _counted(table.num_rows))


def _read_json(path: Path, key: str) -> Columns:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"{path}: {twice!r} appears twice: entries {_places(names, twice)}")
        return found

    try:
        data = json.loads(path.read_text(), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path}: is no valid JSON: {error}") from error
    if isinstance(data, list) and all(isinstance(record, dict) for record in data):
        return _from_records(path, data, _counted(len(data)))
    if isinstance(data, dict) and data and all(isinstance(column, list) for column in data.values()):
        lengths = {len(column) for column in data.values()}
        if len(lengths) > 1:
            raise ConfigError(f"{path}: columns differ in length: {', '.join(map(str, sorted(lengths)))}")
        return Columns(str(path), data, _counted(lengths.pop()))
    if isinstance(data, dict) and all(isinstance(record, dict) for record in data.values()):
        records = [{key: name, **record} for name, record in data.items()]
        return _from_records(path, records, [repr(name) for name in data])
    raise ConfigError(f"{path}: must be a list of records, columns with lists, or networks with records")


def _from_records(path: Path, records: list[dict[str, Any]], rows: Sequence[str]) -> Columns:
    names = dict.fromkeys(name for record in records for name in record)
    return Columns(str(path), {name: [record.get(name) for record in records] for name in names}, rows)


def _counted(count: int) -> list[str]:
    return [f"row {i + 1}" for i in range(count)]


def _places(names: list[str], twice: str) -> str:
    return " and ".join(str(i + 1) for i, name in enumerate(names) if name == twice)
