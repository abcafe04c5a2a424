"""What may be secret in what people pass, print or keep in files, and how it is left out.

Nothing here is certain. A secret is known by its name ("api_key", "password"), by its place (`user:password@` in a URL)
or by its shape (the tokens of known services). In the query of a URL more names are taken for one ("key", "sig").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote

REDACTED = "<redacted>"

_WORDS = r"secret|passw(?:or)?d|passphrase|(?:api|access|private)[_-]?key|credential|(?:\b|_)pwd\b|\bauth\b"
_TOKENS = r"token(?!i[sz]|s_)"  # a tokenizer is none, and neither are tokens_seen

# Compiled when they are first wanted: that takes milliseconds, and most processes that import this never want them.

# Within a text, as in the repr of an object or in a URL's query: password='…', "token": …, ?access_token=…
_VALUE = r"""('[^']*'|"[^"]*"|[^\s,;&)}\]'"]+)"""
_SAID = rf"""((?:{_WORDS}|{_TOKENS})[\w-]*['"]?\s*[=:]\s*){_VALUE}"""

# In free text most of what is called a token is a word or a count of them, so it has to look like a secret as well.
_GAP = r"[^\S\n]{0,3}"
_NAMED = rf"[\w-]{{0,60}}['\"]?\]?{_GAP}[=:]{_GAP}"
_ENCLOSED = r"""\w{0,3}'[^'\n]*'|\w{0,3}"[^"\n]*"|[\w.]{0,60}\([^()\n]{1,500}\)?|\[[^\[\]\n]{1,500}\]?"""
_WRITTEN = rf"""((?:{_WORDS}){_NAMED})({_ENCLOSED}|[^\s,;&)}}\]'"]+)"""
_WRITTEN_TOKEN = rf"((?:{_TOKENS}){_NAMED})('[^'\s]{{8,}}'|\"[^\"\s]{{8,}}\"|[\w.+/=~-]{{16,}})"
_BEARER = r"(auth\w{0,60}['\"]?\s{0,3}\]?\s{0,3}[:=,]\s{0,3}\w?['\"]?(?:bearer|basic|token)\s+)[\w.~+/=-]{8,}"
_SHAPES = (
    r"(?-i:\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{16,}|xox[abeprs]-[\w-]{10,}"
    r"|A[KS]IA[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}(?:\.[\w-]*)?))"
)
_PEM = r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?:(?!-----END )[\s\S])*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?"
_PLAIN = r"[-+]?[\d.,_]+(?:e[-+]?\d+)?%?|true|false|none|null|yes|no"
_SHORT_NAME = r"(?:^|[\W_])pass$"
_ANY_KEY = r"(?:^|[\W_])key$"
_LIKE_A_KEY = r"(?=[\W_]*[a-z\d]*\d)(?=.*[a-z])[\w.+/=~-]{16,}"
_PIN = r"\d{6,}"  # so many digits are a password, if that is what they are called

# In source code a name stands before every expression: only what is written out there can be a secret. The name may be
# an index, have a type, or be a call's argument.
_QUOTED = (
    r"""("{3}[^"\n]{4,}"{3}|'(?:[^'\\\s]|\\.){4,}'|"(?:[^"\\\s]|\\.){4,}"|\\"[^"\\\s]{4,}\\"|\\'[^'\\\s]{4,}\\')"""
)
_PHRASE = r"""('[^'\\\n]{4,}'|"[^"\\\n]{4,}"|\\"[^"\\\n]{4,}\\")"""  # also of several words
_TYPED = rf"(?:['\"]{_GAP}\])?{_GAP}:[\w.,|\[\] ]{{1,60}}="
_ASSIGNED = rf"\\?['\"]?{_GAP}\]?{_GAP}[=:]"  # in a notebook's cell quotes have a backslash
_LITERAL = rf"((?:{_WORDS}|{_TOKENS})[\w-]{{0,60}}(?:{_ASSIGNED}|{_TYPED}){_GAP}\w{{0,2}}){_QUOTED}"
_TITLED = rf"((?:{_WORDS})(?:{_ASSIGNED}|{_TYPED}){_GAP}\w{{0,2}}){_PHRASE}"
_NAME_FIRST = (
    rf"\({_GAP}(?:[^()\n]{{1,60}},{_GAP})?\w?['\"][\w.-]{{0,60}}?(?:{_WORDS}|{_TOKENS})[\w-]{{0,60}}['\"]"
    rf"{_GAP},{_GAP}\w{{0,2}}"
)
_SET = rf"(\b(?:set(?:attr|default|env)?|putenv|add_header){_NAME_FIRST}){_QUOTED}"
_GET = rf"(\b(?:get(?:env|attr)?|pop){_NAME_FIRST}){_QUOTED}"
_KEY = rf"((?:\b|_)key{_ASSIGNED}{_GAP}\w{{0,2}})(['\"](?=[a-z]*\d)[a-z\d]{{20,}}['\"])"  # other keys are made of words
_ENTRY = (
    rf"^([+ -]?\s{{0,40}}(?:export\s+|set\s+|ENV\s+|ARG\s+|-\s+)?['\"]?[\w.-]{{0,60}}?(?:{_WORDS}|{_TOKENS})"
    r"[\w.-]{0,60}['\"]?\s{0,3}[=:]\s{0,3})([^\s'\"()\[\]{}<>,$]+)(?=['\"]?\s*(?:\#.*)?$)"
)
_LOUD = r"(?-i:SECRET|PASSWO?R?D|PASSPHRASE|(?:API|ACCESS|PRIVATE)_?KEY|CREDENTIAL|TOKEN)"
_IN_SHELL = (  # NAME=value and --name=value anywhere in a line, and Docker's ENV NAME value
    rf"((?:(?<![\w.])(?-i:[A-Z0-9_]{{0,60}}?){_LOUD}(?-i:[A-Z0-9_]{{0,60}})|--[\w.-]{{0,60}}?(?:{_WORDS}|{_TOKENS})[\w.-]{{0,60}})="
    rf"|^[+ -]?\s{{0,40}}(?-i:ENV)\s+\w{{0,60}}?{_LOUD}\w{{0,60}}\s+)([^\s'\"()\[\]{{}}<>,$;|&=]{{4,}})(?![('\"\[{{])"
)
_LOGIN_IN_TEXT = r"(?<=\w://)[^/\s]*@"  # also passwords with characters that no URL may have
_TYPES = frozenset("str int float bool bytes object any none null true false string number path".split())  # noqa: SIM905

# What follows a URL's path: a query, a fragment, or what stands behind a semicolon. In a text it ends where a URL can't
# go on; where the whole value is a URL, it ends with the value.
_TAIL = r"[?#;][^\s#]+"
_TAIL_IN_TEXT = r"[?#;][^\s#'\"<>`\\]+(?<![).,:\]}])"
_WHOLE_URL = r"[\w.+-]+://\S*"
_PAIRS = r"(?=&|[;?][\w.%-]+=)"  # what stands before a pair but the first
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of a name such as "accessKey" or "X-Amz-Signature"
_QUERY_WORDS = frozenset("key apikey sig sign signature auth authorization pass sas jwt bearer hmac".split())  # noqa: SIM905
_NO_SECRETS = frozenset("type count limit path url uri version method algorithm format expires".split())  # noqa: SIM905
_CHOICES = r"true|false|none|null|yes|no|on|off|"
_TEMPLATE = r"[{$<]|%[sd({]"

LOGIN = re.compile(r"(?<=://)[^/\s?#]*@")
"""`user:password@` in a URL."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.I)


def without_logins(value: Any) -> Any:
    """The value without what signs in in its URLs, also within dicts and lists: `user:password@`, and the pairs of a
    query whose names sound secret, such as `token=…`."""
    if isinstance(value, str):
        tail = _TAIL if _compiled(_WHOLE_URL).fullmatch(value) else _TAIL_IN_TEXT
        return _compiled(tail).sub(_without_secret_pairs, LOGIN.sub("", value))
    if isinstance(value, dict):
        return {key: without_logins(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_logins(item) for item in value]
    return value


def query_secrets(url: str) -> Iterator[str]:
    """The values of a URL's query whose names sound secret, as they stand there."""
    for tail in _compiled(_TAIL).findall(url):
        yield from (pair.partition("=")[2] for pair in _pairs(tail) if _is_secret_pair(pair))


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
    if "?" in text and "=" in text:
        text = _compiled(_TAIL_IN_TEXT).sub(_with_redacted_pairs, text)
    if "-----BEGIN" in text:
        text = _compiled(_PEM).sub(REDACTED, text)
    text = _compiled(_BEARER).sub(rf"\1{REDACTED}", text)
    text = _compiled(_SHAPES).sub(REDACTED, text)
    text = _compiled(_WRITTEN_TOKEN).sub(_unless_plain, text)
    return _compiled(_WRITTEN).sub(_unless_plain, text)


def redacted_code(line: str) -> str:
    """A line of a source or configuration file, or of a patch, without what looks like a secret."""
    if not may_hold_secrets(line):
        return line
    if "-----BEGIN" in line and "-----END" in line:
        line = _compiled(_PEM).sub(REDACTED, line)
    line = _compiled(_LOGIN_IN_TEXT).sub("", line)
    line = _compiled(_TAIL_IN_TEXT).sub(_with_redacted_pairs, line)
    line = _compiled(_SHAPES).sub(REDACTED, _compiled(_BEARER).sub(rf"\1{REDACTED}", line))
    for pattern in (_LITERAL, _TITLED, _SET, _KEY):
        line = _compiled(pattern).sub(_unless_plain, line)
    line = _compiled(_GET).sub(_unless_word, line)
    for pattern in (_ENTRY, _IN_SHELL):
        line = _compiled(pattern).sub(_unless_code, line)
    return line


def redacted_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line without secrets: `--api-key X`, `--token=X`, `db.password=X`, and what `redacted_text` finds."""
    found: list[str] = []
    option = ""  # whose value may come next
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not argument.startswith("-") and _is_secret_argument(option, argument):
            found.append(REDACTED)
            option = ""
            continue
        option = name if name.startswith("-") and not equals else ""
        if equals and _is_secret_argument(name, value):
            found.append(f"{name}={REDACTED}")
        elif may_hold_secrets(argument):
            found.append("\n".join(map(redacted_code, redacted_text(argument).split("\n"))))  # it may be a program
        else:
            found.append(argument)
    return found


def _is_secret_argument(name: str, value: str) -> bool:
    if not name or not value or any(char.isspace() for char in name):
        return False
    if _sounds_secret(name) or _compiled(_SHORT_NAME).search(name):
        return not _is_plain(name, value)
    return bool(_compiled(_ANY_KEY).search(name) and _compiled(_LIKE_A_KEY).fullmatch(value))


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
        value = _compiled(_TAIL_IN_TEXT).sub(_with_redacted_pairs, _compiled(_LOGIN_IN_TEXT).sub("", value))
        return _compiled(_SAID).sub(rf"\1{REDACTED}", value)
    return value


def _pairs(tail: str) -> list[str]:
    """The pairs of a query, each with what stands before it; together they are the query."""
    return _compiled(_PAIRS).split(tail)


def _is_secret_pair(pair: str) -> bool:
    """Whether a pair of a URL's query holds a secret. A number of tokens is none, nor is a choice."""
    name, _, value = pair.lstrip("?#;&").partition("=")
    if _compiled(_CHOICES).fullmatch(value):
        return False
    name = unquote(name)
    parts = [part.lower() for part in _PART.findall(name)]
    if not parts or parts[-1] in _NO_SECRETS or "public" in parts:
        return False
    if "tokens" in parts and _compiled(_PLAIN).fullmatch(value):
        return False
    return _sounds_secret(name) or not _QUERY_WORDS.isdisjoint(parts)


def _without_secret_pairs(match: re.Match[str]) -> str:
    pairs = _pairs(match[0])
    kept = [pair for pair in pairs if not _is_secret_pair(pair)]
    if len(kept) == len(pairs):
        return match[0]
    rest = "".join(kept).lstrip("?#;&")
    return match[0][0] + rest if rest else ""


def _with_redacted_pairs(match: re.Match[str]) -> str:
    return "".join(
        f"{pair.partition('=')[0]}={REDACTED}" if _is_secret_pair(pair) and not _is_template(pair) else pair
        for pair in _pairs(match[0])
    )


def _is_template(pair: str) -> bool:
    """Whether a secret is yet to be put in: `token={token}`, `key=$KEY`, `sig=%s`, `key=<redacted>`."""
    return _compiled(_TEMPLATE).match(pair.partition("=")[2]) is not None


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
        or ("?" in text and "=" in text)
        or ("-" in text and ("glpat-" in text or ("x" in text and "xox" in text)))
        or ("_" in text and ("hf_" in text or "gh" in text))
        or ("I" in text and ("KIA" in text or "SIA" in text or "AIza" in text))
        or ("J" in text and "eyJ" in text)
    )


def _unless_plain(match: re.Match[str]) -> str:
    """Nor is a token such as "[PAD]" or "</s>" a secret."""
    name, value = match.groups()
    bare = value.strip("'\"")
    special = bare[:1] + bare[-1:] in ("[]", "<>") and _compiled(_WORDS).search(name) is None
    return match[0] if special or _is_plain(name, bare) else name + REDACTED


def _is_plain(name: str, value: str) -> bool:
    """A number, or one of the words that stand for a choice, is no secret; but a password may be all digits."""
    if not _compiled(_PLAIN).fullmatch(value):
        return False
    return not (_compiled(_PIN).fullmatch(value) and _compiled(_WORDS).search(name))


def _unless_word(match: re.Match[str]) -> str:
    """What stands in for a missing value is mostly a word."""
    value = match[2].strip("'\"")
    return match[0] if value.replace("-", "").isalpha() else _unless_plain(match)


def _unless_code(match: re.Match[str]) -> str:
    """Names of types and of other things are no secrets, but what has digits in it, or is long, may be one."""
    name, value = match.groups()
    if value.lower() in _TYPES or _is_plain(name, value):
        return match[0]
    dotted = all(part.isidentifier() for part in value.split(".")) and not any(char.isdigit() for char in value)
    strong = _compiled(_WORDS).search(name) is not None
    code = dotted and ("=" not in name or "." in value or not strong)
    return match[0] if code else name + REDACTED
