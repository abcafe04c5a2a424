"""An extension of Griffe: each attribute is there once, with its own text, its type and its default.

What a class says of its fields under "Attributes:" becomes the fields' own text. An attribute that keeps an argument of
`__init__` has the argument's type. The members of an enumeration that have no text become one line of the class.
"""

from __future__ import annotations

import re
from typing import Any

from griffe import Attribute, Class, Docstring, Extension, Function

_SECTION = re.compile(r"^Attributes:\n(?P<entries>(?:[ \t]+.*\n?|\n)*)", re.M)
_ENTRY = re.compile(r"^ {4}(?P<names>\w+(?:, \w+)*): (?P<text>.*(?:\n(?: {5,}.*|\s*$))*)", re.M)


class Fields(Extension):
    def on_class(self, *, cls: Class, **_: Any) -> None:
        self._type_kept_arguments(cls)
        self._join_members(cls)
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

    def _join_members(self, cls: Class) -> None:
        if cls.docstring is None or not any(str(base).endswith("Enum") for base in cls.bases):
            return
        plain = [one for one in cls.members.values() if isinstance(one, Attribute) and one.docstring is None]
        for member in plain:
            del cls.members[member.name]
        if plain:
            cls.docstring.value += (
                "\n\n" + ", ".join(f"`{member.name}\u00a0=\u00a0{member.value}`" for member in plain) + "."
            )

    def _type_kept_arguments(self, cls: Class) -> None:
        begin = cls.members.get("__init__")
        if not isinstance(begin, Function):
            return
        for attribute in cls.members.values():
            if not isinstance(attribute, Attribute) or attribute.annotation is not None:
                continue
            if (argument := str(attribute.value)) in begin.parameters:
                attribute.annotation = begin.parameters[argument].annotation
                attribute.value = None
