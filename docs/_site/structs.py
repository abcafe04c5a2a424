"""An extension of Griffe: what a class says of its fields under "Attributes:" becomes the fields' own text.

So a struct's page has each field once, with its type and its default.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Class, Docstring, Extension

_SECTION = re.compile(r"^Attributes:\n(?P<entries>(?:[ \t]+.*\n?|\n)*)", re.M)
_ENTRY = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n(?: {5,}.*|\s*$))*)", re.M)


class Fields(Extension):
    def on_class(self, *, cls: Class, **_: Any) -> None:
        docstring = cls.docstring
        section = _SECTION.search(docstring.value) if docstring is not None else None
        if docstring is None or section is None:
            return
        for entry in _ENTRY.finditer(section["entries"]):
            text = re.sub(r"\n +", "\n", entry["text"]).strip()
            for name in entry["names"].split(", "):
                field = cls.members.get(name)
                if isinstance(field, Attribute) and field.docstring is None:
                    field.docstring = Docstring(text, parent=field, parser=docstring.parser)
        docstring.value = (docstring.value[: section.start()] + docstring.value[section.end() :]).strip()
