"""Objects made of the engine's JSON: its fields are attributes, and what is asked for its columns becomes a table.

The engine says what there is. A class names the fields that it promises, with their types; what a newer engine says
more is there, too.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, get_args, get_origin, get_type_hints

from ._kmirror import Lag

if TYPE_CHECKING:
    import pyarrow

_MOST_ROWS_SHOWN = 50


class Record:
    """Fields that do not change, as attributes."""

    _fields: dict[str, Any]

    def __init__(self, fields: dict[str, Any]) -> None:
        hints = _hints(type(self))
        object.__setattr__(self, "_fields", fields)
        for name, value in fields.items():
            object.__setattr__(self, name, _convert(hints.get(name), value))

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them: dicts, lists, numbers, strings and None."""
        return self._fields

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Record) and self._fields == other._fields

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[type[Record], tuple[dict[str, Any]]]:
        return type(self), (self._fields,)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _hints(type(self)) if hasattr(self, name))
        return f"{type(self).__name__}({shown})"


def _hints(cls: type[Record]) -> dict[str, Any]:
    if "_known" not in cls.__dict__:
        cls._known = {  # type: ignore[attr-defined]
            name: hint for name, hint in get_type_hints(cls).items() if not name.startswith("_")
        }
    known: dict[str, Any] = cls._known  # type: ignore[attr-defined]
    return known


def _convert(hint: Any, value: Any) -> Any:
    if get_origin(hint) is list:
        (of,) = get_args(hint)
        return [_convert(of, one) for one in value]
    if hint is Lag and isinstance(value, dict):
        as_of = value.get("as_of") or {}
        known = {name: value.get(name) for name in ("records", "bytes", "ms")}
        return Lag(**known, source_as_of_ms=as_of.get("source_ms"), target_as_of_ms=as_of.get("target_ms"))
    if isinstance(hint, type) and issubclass(hint, Record) and isinstance(value, dict):
        return hint(value)
    return value


class Table(Record):
    """A record that is a table, too: in a notebook, and for everything that takes Arrow's tables."""

    _columns: ClassVar[dict[str, str]] = {}
    """The name of each column, and its type: str, int, float or bool."""

    def _rows(self) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def _headline(self) -> str:
        """What is most important, in a line."""
        raise NotImplementedError

    def to_dicts(self) -> list[dict[str, Any]]:
        """The rows of the table, with the same columns each."""
        return [{name: row.get(name) for name in self._columns} for row in self._rows()]

    def to_arrow(self) -> pyarrow.Table:
        """The table for pyarrow, and by it for pandas and polars: ``report.to_arrow().to_pandas()``,
        ``polars.from_arrow(report)``.

        Needs pyarrow: ``pip install 'kmirror[arrow]'``."""
        try:
            import pyarrow
        except ImportError as error:
            message = "tables for Arrow, pandas and polars need pyarrow: pip install 'kmirror[arrow]'"
            raise ImportError(message) from error
        types = {"str": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
        schema = pyarrow.schema([(name, types[kind]) for name, kind in self._columns.items()])
        return pyarrow.Table.from_pylist(self.to_dicts(), schema=schema)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The table by Arrow's PyCapsule interface. Needs pyarrow."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __str__(self) -> str:
        rows = self.to_dicts()
        cells = [list(self._columns), *([_text(value) for value in row.values()] for row in rows[:_MOST_ROWS_SHOWN])]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells] if rows else []
        if len(rows) > _MOST_ROWS_SHOWN:
            lines.append(f"and {len(rows) - _MOST_ROWS_SHOWN} more")
        return "\n".join([self._headline(), *lines])

    def _repr_html_(self) -> str:
        rows = self.to_dicts()
        parts = [f"<p><b>{html.escape(self._headline())}</b></p>"]
        if rows:
            # Notebooks put everything to the right, which is for numbers.
            sides = ["left" if kind == "str" else "right" for kind in self._columns.values()]
            styles = [f' style="text-align: {side}"' for side in sides]
            names = zip(styles, self._columns, strict=True)
            head = "".join(f"<th{style}>{html.escape(name)}</th>" for style, name in names)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>")
            for row in rows[:_MOST_ROWS_SHOWN]:
                values = zip(styles, row.values(), strict=True)
                cells = "".join(f"<td{style}>{html.escape(_text(value))}</td>" for style, value in values)
                parts.append(f"<tr>{cells}</tr>")
            parts.append("</tbody></table>")
        if len(rows) > _MOST_ROWS_SHOWN:
            parts.append(f"<p>and {len(rows) - _MOST_ROWS_SHOWN} more</p>")
        return "".join(parts)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def plural(count: int, one: str) -> str:
    """``1 record``, ``2,000 records``."""
    return f"{count:,} {one}" if count == 1 else f"{count:,} {one}s"
