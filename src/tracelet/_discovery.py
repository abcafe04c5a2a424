"""From a backend's name to a target for delivery: entry points, and the validation of options."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, cast, get_args, get_origin

import msgspec

from tracelet import _values
from tracelet._redaction import without_logins
from tracelet._secrets import SECRET_NAME, cause, learn, learn_named, public
from tracelet.backend import Backend, Idempotency, RunInfo, Support
from tracelet.delivery import Delivery
from tracelet.errors import BrokenBackend, InvalidOptions, UnknownBackend
from tracelet.events import Event

GROUP = "tracelet.backends"

OFFICIAL = {name: f"tracelet-{name}" for name in ("mlflow", "wandb", "clearml", "aim")}
"""The distributions in this project's `plugins/`, by backend name."""

_MAYBE_SECRET = re.compile(rf"{SECRET_NAME.pattern}|auth|pass|pwd|tok|sign|cert|login|bearer|jwt|sas", re.IGNORECASE)
_AT = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<place>.*)`)?", re.DOTALL)  # how msgspec says where it found it
_PATH = re.compile(r"[^\s/@:]+:[^\s/@:]+")  # of a class in a module; no URL
_EXPECTED = {
    "delivery": "a Delivery",
    "handles": "a set of event types, or a mapping from them to native(…), mapped(…) or fallback(…)",
    "idempotency": "an Idempotency",
    "Options": "a subclass of msgspec.Struct",
}
_MEMBERS = ("delivery", "handles", "idempotency", "Options", "open", "export", "finish", "close")


class Target(msgspec.Struct, frozen=True):
    """A backend that a run is delivered to.

    Attributes:
        name: as the user gave it; it names the cursor.
        backend: its class, or an object that needs no options (only where delivery runs in this process).
        options: an instance of the class's Options; None for an object.
        delivery: the plugin's own, with the user's overrides.
    """

    name: str
    backend: Any
    options: msgspec.Struct | None
    delivery: Delivery

    def create(self, run: RunInfo) -> Backend:
        """The backend for one run."""
        if self.options is None:
            return cast(Backend, self.backend)
        return cast(Backend, self.backend(self.options, run))


def installed() -> dict[str, EntryPoint]:
    """The entry points of the installed backends, by name; also of those installed since the process began."""
    importlib.invalidate_caches()
    return {point.name: point for point in entry_points(group=GROUP)}


def find(name: str, given: Mapping[str, Any] | None = None, points: Mapping[str, EntryPoint] | None = None) -> Target:
    """The target for a backend name, or for `package.module:Class`.

    Args:
        given: the backend's options; the key "delivery" overrides fields of its `Delivery`.
        points: what `installed` has returned, if it was asked already; it reads the metadata of all distributions.

    Raises:
        UnknownBackend, BrokenBackend, InvalidOptions
    """
    backend = _load(name, points)
    given = dict(given or {})
    _check_texts(name, given, backend.Options.__struct_encode_fields__)
    learn_named(given)
    secret = _secret_fields(backend.Options)
    for field in secret:  # what refuses it may repeat it
        learn(given.get(field))
    overrides = given.pop("delivery", {})
    options = _convert(name, backend.Options, given)
    known = msgspec.to_builtins(options, enc_hook=str)
    for field in secret:
        learn(known[field])
    learn_named(known)
    return Target(name=name, backend=backend, options=options, delivery=override(name, backend.delivery, overrides))


def from_object(backend: Backend, name: str | None = None) -> Target:
    """The target for a backend object. Raises BrokenBackend if it is none."""
    name = name or type(backend).__name__
    _check(name, type(backend).__qualname__, backend, _MEMBERS[:3] + _MEMBERS[4:])
    return Target(name=name, backend=backend, options=None, delivery=backend.delivery)


def override(name: str, delivery: Delivery, changes: Mapping[str, Any]) -> Delivery:
    """A plugin's delivery with a user's changes. Raises InvalidOptions, or TypeError if they are no mapping."""
    if not isinstance(changes, Mapping):  # what it is may be a secret
        raise TypeError(f"the option 'delivery' of {name} must be a mapping, found {type(changes).__name__}")
    return cast(Delivery, _convert(name, Delivery, {**msgspec.structs.asdict(delivery), **changes}, "delivery."))


def public_options(target: Target) -> dict[str, Any]:
    """What may be written to disk of a target's options: no secret fields, nothing that signs in in URLs."""
    if target.options is None:
        return {}
    secret = _secret_fields(type(target.options))
    plain = {key: value for key, value in msgspec.to_builtins(target.options).items() if key not in secret}
    return cast(dict[str, Any], without_logins(plain)) | {"delivery": msgspec.to_builtins(target.delivery)}


def secret_options(target: Target) -> list[str]:
    """The names of the secret options that have a value."""
    if target.options is None:
        return []
    known = msgspec.to_builtins(target.options, enc_hook=str)
    return [name for name in _secret_fields(type(target.options)) if known[name] is not None]


def presumably_public(options: Mapping[str, Any]) -> dict[str, Any]:
    """What may be written of options whose plugin can't be asked: single values whose names don't sound like a secret,
    and what is said of delivery."""
    plain: dict[str, Any] = {
        key: value
        for key, value in options.items()
        if isinstance(value, bool | int | float | str | None) and not _MAYBE_SECRET.search(key) and key != "delivery"
    }
    delivery = options.get("delivery")
    if isinstance(delivery, Mapping):
        plain["delivery"] = dict(delivery)
    try:
        return cast(dict[str, Any], without_logins(msgspec.json.decode(msgspec.json.encode(plain))))
    except (TypeError, ValueError):
        return {}


def _load(name: str, points: Mapping[str, EntryPoint] | None) -> Any:
    if _PATH.fullmatch(name):
        importlib.invalidate_caches()
        point = EntryPoint(name, name, GROUP)
        where = "a class named by its path"
    else:
        points = installed() if points is None else points
        if name not in points:
            raise UnknownBackend(public(name), list(points), OFFICIAL)
        point = points[name]
        where = f"{point.dist.name} {point.dist.version}" if point.dist else point.value
    try:
        backend = point.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin's own code
        raise BrokenBackend(name, where, f"importing {point.value} raised {public(_said(error))}") from cause(error)
    _check(name, where, backend, _MEMBERS)
    return backend


def _check(name: str, where: str, backend: object, members: tuple[str, ...]) -> None:
    missing = [member for member in members if not hasattr(backend, member)]
    if missing:
        raise BrokenBackend(name, where, f"it is no backend, it has no {', '.join(map(repr, missing))}")
    wrong = next((member for member in members if not _is_sound(member, getattr(backend, member))), None)
    if wrong is not None:
        found = f"{wrong} must be {_EXPECTED.get(wrong, 'a method')}, found {getattr(backend, wrong)!r:.200}"
        raise BrokenBackend(name, where, f"it is no backend, its {public(found)}")


def _is_sound(member: str, value: Any) -> bool:
    if member == "delivery":
        return isinstance(value, Delivery)
    if member == "idempotency":
        return isinstance(value, Idempotency)
    if member == "Options":
        return isinstance(value, type) and issubclass(value, msgspec.Struct)
    if member == "handles":
        kinds = isinstance(value, Set | Mapping) and all(isinstance(kind, type) for kind in value)
        known = kinds and all(issubclass(kind, Event) for kind in value)
        return known and (isinstance(value, Set) or all(isinstance(how, Support) for how in value.values()))
    return callable(value)


def _convert(name: str, options: type[msgspec.Struct], given: Mapping[str, Any], prefix: str = "") -> msgspec.Struct:
    allowed = options.__struct_encode_fields__
    unknown = next((_values.text(key) for key in given if key not in allowed), None)
    names = [prefix + key for key in allowed]
    if unknown is not None:
        raise InvalidOptions(name, f"there is no option {prefix + unknown!r}", names, prefix + unknown)
    try:
        converted = msgspec.convert(dict(given), options)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidOptions(name, public(_fault(str(error), options, given, prefix)), names) from cause(error)
    except Exception as error:  # noqa: BLE001 - a plugin's own code, say where the working directory was deleted
        problem = f"making its options raised {public(_said(error))}"
        raise BrokenBackend(name, options.__name__, problem) from cause(error)
    _check_texts(name, msgspec.to_builtins(converted, enc_hook=_values.text), names)  # also what it found by itself
    return converted


def _check_texts(name: str, options: Mapping[str, Any], names: Sequence[str]) -> None:
    for key, value in options.items():
        try:
            msgspec.json.encode(value, enc_hook=_values.text)
        except UnicodeEncodeError as error:
            character = error.object[error.start]  # the whole may be a secret
            problem = f"{key!r} must be text that UTF-8 can hold, found {character!r} in it"
            raise InvalidOptions(name, problem, names) from error


def _fault(said: str, options: type[msgspec.Struct], given: Mapping[str, Any], prefix: str) -> str:
    """What msgspec says of an option, with the option's whole name, and with the choices where there are some."""
    match = _AT.fullmatch(said)
    if match is None or not match["place"]:
        return said
    kinds = {field.encode_name: field.type for field in msgspec.structs.fields(options)}
    choices = _choices(kinds.get(match["place"]))
    if choices and match["problem"].startswith("Invalid enum value"):
        return f"{prefix + match['place']!r} must be one of {', '.join(choices)}, found {given[match['place']]!r}"
    return f"{match['problem']} - at `{prefix}{match['place']}`"


def _choices(kind: Any) -> list[str]:
    """The values of a Literal, also of one beside other types."""
    if get_origin(kind) is Literal:
        return [str(choice) for choice in get_args(kind)]
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _secret_fields(options: type[msgspec.Struct]) -> list[str]:
    """The fields that are marked as secret, or have something in them that is."""
    info = msgspec.inspect.type_info(options)
    assert isinstance(info, msgspec.inspect.StructType)
    return [field.encode_name for field in info.fields if _is_secret(field.type, {options})]


def _is_secret(kind: Any, seen: set[type]) -> bool:
    inspect = msgspec.inspect
    if isinstance(kind, inspect.Metadata):
        return bool((kind.extra or {}).get("secret")) or _is_secret(kind.type, seen)
    if isinstance(kind, inspect.UnionType):
        return any(_is_secret(one, seen) for one in kind.types)
    if isinstance(kind, inspect.DictType):
        return _is_secret(kind.key_type, seen) or _is_secret(kind.value_type, seen)
    if isinstance(kind, inspect.TupleType):
        return any(_is_secret(one, seen) for one in kind.item_types)
    if isinstance(kind, inspect.CollectionType):
        return _is_secret(kind.item_type, seen)
    if not hasattr(kind, "fields") or kind.cls in seen:
        return False
    seen.add(kind.cls)
    return any(_is_secret(field.type, seen) for field in kind.fields)
