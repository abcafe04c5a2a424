"""The secrets that this process was told: none of them may stand in a text that it writes or raises."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tracelet._redaction import REDACTED, query_secrets, without_logins

SECRET_NAME = re.compile(r"token|secret|passw|credential|key", re.IGNORECASE)
"""What the name of an option has that holds a secret."""

_SECRET_VARIABLE = re.compile(
    r"token|secret|passw|pwd$|(?:^|_)pass$|credential|(?:^|_|api|access)key(?:_|$)", re.IGNORECASE
)

_SHORTEST = 6  # characters; a shorter one would be found in many words that are none

_known: tuple[str, ...] = ()  # the longest first, as one may be a part of another


def learn(value: Any) -> None:
    """Keep a secret out of all texts from now on: a string, or each one within a mapping or a list.

    What is very short can't be kept out: it would be found in words that are no secrets.
    """
    global _known
    if isinstance(value, Mapping):
        for item in value.values():
            learn(item)
    elif isinstance(value, list | tuple):
        for item in value:
            learn(item)
    elif isinstance(value, str) and len(value.strip()) >= _SHORTEST:
        forms = {value, value.strip(), quote(value, safe="", errors="surrogatepass")}
        _known = tuple(sorted({*_known, *forms}, key=len, reverse=True))


def learn_named(values: Mapping[str, Any]) -> None:
    """Learn the values whose names sound like secrets, and what signs in in URLs, also of mappings and lists within."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            learn_named(value)
        elif isinstance(value, list | tuple):
            for item in value:
                learn_named({"": item})
        elif SECRET_NAME.search(str(name)):
            learn(value)
        elif isinstance(value, str) and "://" in value:
            _learn_url(value)


def learn_environment() -> None:
    """Learn what the environment holds, where the vendors' own software looks for credentials."""
    for name, value in os.environ.items():
        count = value.isdecimal() and "token" in name.lower()
        if _SECRET_VARIABLE.search(name) and not count and not os.path.isabs(value):  # the place of a secret is none
            learn(value)
        elif "://" in value:
            _learn_url(value)


def unknown(text: str) -> str:
    """A text without any secret that is known."""
    for secret in _known:
        if secret in text:
            text = text.replace(secret, REDACTED)
    return text


def public(text: str) -> str:
    """A text without any secret that is known, nor what signs in in URLs: see `without_logins`."""
    return str(without_logins(unknown(text)))


def cause(error: BaseException) -> BaseException | None:
    """What to raise from: the error, or nothing if its traceback would show a secret that is known, or a login."""
    one: BaseException | None = error
    while one is not None:
        try:
            said = str(one)
        except Exception:  # noqa: BLE001 - the class is a plugin's
            return None
        if public(said) != said:
            return None
        one = one.__cause__ or one.__context__
    return error


def _learn_url(url: str) -> None:
    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    for secret in (password, *query_secrets(url)):
        if secret is not None:
            learn(secret)
            learn(unquote(secret))
