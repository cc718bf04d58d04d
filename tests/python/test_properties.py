"""The keywords of a mirror are the engine's table of properties: kmirror/properties.py is made of it.

``KMIRROR_BLESS=1 cargo test --test it python`` writes it anew.
"""

import os
import pathlib
import textwrap

import kmirror
from kmirror._kmirror import properties

FILE = pathlib.Path(__file__).parents[2] / "python/kmirror/properties.py"

HEAD = '''"""The properties of a mirror as keywords, for type checkers and editors.

Made of the engine's table by tests/python/test_properties.py; whether values are right is told by the engine.
"""

from __future__ import annotations

import os
from typing import Any, TypedDict

from ._kmirror import Secret

Value = str | int | float | bool | os.PathLike[str] | Secret | list[Any] | tuple[Any, ...] | dict[str, Any] | None
"""What a property takes; several values, or pairs, as a list or a dict. None leaves it as it is by default."""


class Properties(TypedDict, total=False):
    """Every property of a mirror, with underscores for dots and dashes."""

'''


def written() -> str:
    parts = [HEAD]
    for keyword, key, meaning in properties():
        text = f"``{key}``: {meaning}".replace("\\", "\\\\")
        lines = textwrap.wrap(text, 105)
        parts.append(f"    {keyword}: Value\n")
        parts.append('    """' + "\n    ".join(lines) + '"""\n')
    return "".join(parts)


def test_the_keywords_are_those_of_the_table() -> None:
    if os.environ.get("KMIRROR_BLESS"):
        FILE.write_text(written())
    assert FILE.read_text() == written(), "out of date: KMIRROR_BLESS=1 cargo test --test it python"


def test_every_keyword_is_taken() -> None:
    clients = {"source": {"bootstrap.servers": "a:1"}, "target": {"bootstrap.servers": "b:1"}}
    for keyword, _, _ in properties():
        kmirror.Mirror(**clients, **{keyword: None})  # type: ignore[arg-type]
