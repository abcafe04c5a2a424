"""The secrets that this process was told: none of them may stand in a text that it writes or raises."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from tracelet._redaction import REDACTED, query_secrets, without_logins

SECRET_NAME = re.compile(r"token|secret|passw|credential|key", re.IGNORECASE)
"""What the name of an option or a variable has that holds a secret."""

_SHORTEST = 6  # characters; a shorter one would be found in many words that are none

_known: set[str] = set()


def learn(value: Any) -> None:
    """Keep a secret out of all texts from now on; what is no string, or very short, can't be."""
    if isinstance(value, str) and len(value.strip()) >= _SHORTEST:
        _known.update({value, value.strip(), quote(value, safe="", errors="surrogatepass")})


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
    learn_named(dict(os.environ))


def public(text: str) -> str:
    """A text without any secret that is known, nor what signs in in URLs: see `without_logins`."""
    for secret in sorted(_known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, REDACTED)
    return str(without_logins(text))


def _learn_url(url: str) -> None:
    try:
        password = urlsplit(url).password
    except ValueError:
        password = None
    for secret in (password, *query_secrets(url)):
        if secret is not None:
            learn(secret)
            learn(unquote(secret))
