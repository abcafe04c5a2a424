"""What may be secret in what people pass, print or keep in files, and how it is left out.

Nothing here is certain. A secret is known by its name ("api_key", "password"), by its place (`user:password@` in a URL)
or by its shape (the tokens of known services).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

REDACTED = "<redacted>"

_WORDS = r"secret|passw(?:or)?d|passphrase|(?:api|access|private)[_-]?key|credential|\bpwd\b|\bauth\b"
_TOKENS = r"token(?!i[sz]|s_)"  # a tokenizer is none, and neither are tokens_seen

# Compiled when they are first wanted: that takes milliseconds, and most processes that import this never want them.

# Within a text, as in the repr of an object or in a URL's query: password='…', "token": …, ?access_token=…
_VALUE = r"""('[^']*'|"[^"]*"|[^\s,;&)}\]'"]+)"""
_SAID = rf"""((?:{_WORDS}|{_TOKENS})[\w-]*['"]?\s*[=:]\s*){_VALUE}"""

# In free text most of what is called a token is a word or a count of them, so it has to look like a secret as well.
_GAP = r"[^\S\n]{0,3}"
_NAMED = rf"[\w-]{{0,60}}['\"]?{_GAP}[=:]{_GAP}"
_WRITTEN = rf"""((?:{_WORDS}){_NAMED})('[^'\n]*'|"[^"\n]*"|[^\s,;&)}}\]'"]+)"""
_WRITTEN_TOKEN = rf"((?:{_TOKENS}){_NAMED})('[^'\s]{{8,}}'|\"[^\"\s]{{8,}}\"|[\w.+/=~-]{{16,}})"
_BEARER = r"(auth\w*['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:bearer|basic|token)\s+)[\w.~+/=-]{8,}"
_SHAPES = (
    r"(?-i:\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{16,}|xox[abeprs]-[\w-]{10,}"
    r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?))"
)
_PLAIN = r"[-+]?[\d.,_]+(?:e[-+]?\d+)?%?|true|false|none|null|yes|no"

# In source code a name stands before every expression: only what is written out there can be a secret.
_LITERAL = rf"((?:{_WORDS}|{_TOKENS}){_NAMED}(?:\w{{0,2}}))('[^'\s]{{4,}}'|\"[^\"\s]{{4,}}\")"
_ENTRY = (
    rf"^([+ -]?\s{{0,40}}(?:export\s+|set\s+|ENV\s+|-\s+)?['\"]?[\w.-]{{0,60}}?(?:{_WORDS}|{_TOKENS})"
    r"[\w.-]{0,60}['\"]?\s{0,3}[=:]\s{0,3})([^\s'\"()\[\]{}<>,$]+)\s*$"
)
_LOGIN_IN_TEXT = r"(?<=\w://)[^/\s]*@"  # also passwords with characters that no URL may have
_TYPES = frozenset("str int float bool bytes object any none null true false string number path".split())  # noqa: SIM905

LOGIN = re.compile(r"(?<=://)[^/\s?#]*@")
"""`user:password@` in a URL."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.I)


def without_logins(value: Any) -> Any:
    """The value with every `user:password@` taken out of its URLs, also within dicts and lists."""
    if isinstance(value, str):
        return LOGIN.sub("", value)
    if isinstance(value, dict):
        return {key: without_logins(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_logins(item) for item in value]
    return value


def redacted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters without secrets: those whose names speak of one, `user:password@` in URLs, and what a text (of an
    object, say) gives such a name, also within lists.

    A number that is called a token is a count or an id, and stays.
    """
    return {name: _shown(name, value) for name, value in values.items()}


def redacted_text(text: str) -> str:
    """A text for people, such as what a program prints, without what looks like a secret."""
    if "@" in text:
        text = _compiled(_LOGIN_IN_TEXT).sub("", text)
    text = _compiled(_BEARER).sub(rf"\1{REDACTED}", text)
    text = _compiled(_SHAPES).sub(REDACTED, text)
    text = _compiled(_WRITTEN_TOKEN).sub(_unless_plain, text)
    return _compiled(_WRITTEN).sub(_unless_plain, text)


def redacted_code(line: str) -> str:
    """A line of a source or configuration file, or of a patch, without what looks like a secret."""
    if not may_hold_secrets(line):
        return line
    line = _compiled(_SHAPES).sub(
        REDACTED, _compiled(_BEARER).sub(rf"\1{REDACTED}", _compiled(_LOGIN_IN_TEXT).sub("", line))
    )
    return _compiled(_ENTRY).sub(_unless_code, _compiled(_LITERAL).sub(_unless_plain, line))


def redacted_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line without secrets: `--api-key X`, `--token=X`, `db.password=X`, and what `redacted_text` finds."""
    found: list[str] = []
    awaited = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if awaited and not argument.startswith("-"):
            found.append(argument if _compiled(_PLAIN).fullmatch(argument) else REDACTED)
            awaited = False
            continue
        secret = _sounds_secret(name) and not any(char.isspace() for char in name)
        awaited = secret and not equals and name.startswith("-")
        if secret and equals and value and not _compiled(_PLAIN).fullmatch(value):
            found.append(f"{name}={REDACTED}")
        else:
            found.append(redacted_text(argument) if may_hold_secrets(argument) else argument)
    return found


def _sounds_secret(name: str) -> bool:
    return _compiled(_WORDS).search(name) is not None or _compiled(_TOKENS).search(name) is not None


def _shown(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool) or value in ("", [], ()):
        return value
    if _compiled(_WORDS).search(name) or (_compiled(_TOKENS).search(name) and not isinstance(value, int | float)):
        return REDACTED
    if isinstance(value, list | tuple):
        return [_shown(name, item) for item in value]
    if isinstance(value, str):
        return _compiled(_SAID).sub(rf"\1{REDACTED}", _compiled(_LOGIN_IN_TEXT).sub("", value))
    return value


def may_hold_secrets(text: str) -> bool:
    """A quick look, for the many texts that hold none; it knows every word with which the patterns above begin."""
    low = text.lower()  # single characters are looked for first: that takes a third of the time
    return (
        ("k" in low and ("key" in low or "token" in low or "sk-" in low))
        or ("cre" in low and ("secret" in low or "credential" in low))
        or ("pass" in low and ("passw" in low or "passp" in low))
        or "pwd" in low
        or "auth" in low
        or ("@" in text and "://" in text)
        or ("-" in text and ("glpat-" in text or ("x" in text and "xox" in text)))
        or ("_" in text and ("hf_" in text or "gh" in text))
        or ("I" in text and ("KIA" in text or "SIA" in text or "AIza" in text))
        or ("J" in text and "eyJ" in text)
    )


def _unless_plain(match: re.Match[str]) -> str:
    """A number, or one of the words that stand for a choice, is no secret."""
    name, value = match.groups()
    plain = _compiled(_PLAIN).fullmatch(value.strip("'\"")) is not None
    return match[0] if plain else name + REDACTED


def _unless_code(match: re.Match[str]) -> str:
    """Names of types and of other things are no secrets, but what has digits in it, or is long, may be one."""
    name, value = match.groups()
    if value.lower() in _TYPES or _compiled(_PLAIN).fullmatch(value):
        return match[0]
    dotted = all(part.isidentifier() for part in value.split(".")) and not any(char.isdigit() for char in value)
    strong = _compiled(_WORDS).search(name) is not None
    code = dotted and ("=" not in name or "." in value or not strong)
    return match[0] if code else name + REDACTED
