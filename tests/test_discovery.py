"""From names and options to targets: what is found, and what the errors say."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from tracelet._discovery import find, from_object, installed, presumably_public, public_options
from tracelet.backend import Batch, Idempotency, Opened, Outcome, RunInfo, Secret, State
from tracelet.delivery import Delivery
from tracelet.errors import BrokenBackend, InvalidOptions, UnknownBackend
from tracelet.events import Event, MetricsLogged


class GuardedOptions(msgspec.Struct, forbid_unknown_fields=True):
    url: str = "http://localhost"
    token: Annotated[str | None, Secret] = None
    mode: Literal["online", "offline"] | None = None


class Guarded:
    delivery = Delivery(linger=0.1)
    handles: frozenset[type[Event]] = frozenset({MetricsLogged})
    idempotency = Idempotency.APPENDS
    Options = GuardedOptions

    def __init__(self, options: Any, run: RunInfo) -> None:
        self.options = options

    async def open(self, state: State | None) -> Opened:
        return Opened({})

    async def export(self, batch: Batch) -> None: ...

    async def finish(self, outcome: Outcome, time: float) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write an importable module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.delitem(sys.modules, name, raising=False)

    return write


HERE = f"{__name__}:Guarded"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


def test_installed_backends_are_found_by_entry_point() -> None:
    """The example plugin is found by its entry point."""
    assert "jsonl" in installed()
    assert find("jsonl").backend.__name__ == "JsonLines"


def test_a_near_miss_is_named() -> None:
    """A misspelt name is answered with the one that was probably meant, and with what is installed."""
    with pytest.raises(UnknownBackend, match=r"no backend named 'jsnl'.*Did you mean 'jsonl'\?.*Installed: .*jsonl"):
        find("jsnl")


def test_an_official_plugin_that_is_missing_is_answered_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a plugin of this project that is not installed is answered with the pip command."""
    monkeypatch.setattr("tracelet._discovery.entry_points", lambda **_: ())
    with pytest.raises(UnknownBackend, match=r"pip install \. \./plugins/tracelet-mlflow.*Installed: none"):
        find("mlflow")


def test_a_backend_is_found_by_its_path() -> None:
    """`package.module:Class` needs no entry point."""
    target = find(HERE, {"url": "http://elsewhere"})
    assert target.backend is Guarded
    assert target.options == GuardedOptions(url="http://elsewhere")


def test_unknown_options_name_the_near_miss() -> None:
    """An option that does not exist is answered with the one meant and with all there are."""
    with pytest.raises(InvalidOptions, match=r"no option 'ulr'\. Did you mean 'url'\? Options: mode, token, url"):
        find(HERE, {"ulr": "x"})


def test_options_of_a_wrong_type_say_where() -> None:
    """An option of a wrong type is answered with what was expected and found."""
    with pytest.raises(InvalidOptions, match=r"Expected `str`, got `int` - at `url`"):
        find(HERE, {"url": 3})
    with pytest.raises(InvalidOptions, match=r"Expected `float`, got `str` - at `delivery\.linger`"):
        find(HERE, {"delivery": {"linger": "long"}})
    with pytest.raises(InvalidOptions, match=r"there is no option '1'"):
        find(HERE, {1: 2})  # type: ignore[dict-item]
    with pytest.raises(InvalidOptions, match=r"Expected `str`, got `object` - at `url`"):
        find(HERE, {"url": {(1, 2): 3}})


def test_an_option_with_choices_says_which() -> None:
    """A value that is none of an option's choices is answered with those."""
    with pytest.raises(InvalidOptions, match=r"'mode' must be one of online, offline, found 'ofline'"):
        find(HERE, {"mode": "ofline"})
    with pytest.raises(InvalidOptions, match=r"'delivery\.lanes' must be one of 1, 2, found 3"):
        find(HERE, {"delivery": {"lanes": 3}})


WHOLE = """
import msgspec
from tracelet import Delivery, Idempotency
from tracelet.events import MetricsLogged
class Plugin:
    delivery, handles, idempotency = Delivery(), frozenset({MetricsLogged}), Idempotency.APPENDS
    open = export = finish = close = lambda *_: None
    class Options(msgspec.Struct): pass
"""


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ("delivery = 1", "delivery must be a Delivery, found 1"),
        ("handles = 5", "handles must be a set of event types.*, found 5"),
        ("handles = frozenset({int})", "handles must be a set of event types"),
        ("handles = {MetricsLogged: 2}", "handles must be .*a mapping from them to native"),
        ("idempotency = 'keyed'", "idempotency must be an Idempotency, found 'keyed'"),
        ("Options = dict", "Options must be a subclass of msgspec.Struct"),
        ("close = None", "close must be a method, found None"),
    ],
)
def test_a_member_of_a_wrong_type_is_named(module: Callable[[str, str], None], member: str, expected: str) -> None:
    """A plugin whose members are not what the contract says is refused, with what was expected and what was found."""
    module("a_malformed_plugin", f"{WHOLE}    {member}\n")
    with pytest.raises(BrokenBackend, match=f"it is no backend, its {expected}"):
        find("a_malformed_plugin:Plugin")
    module("a_malformed_plugin", WHOLE)
    assert find("a_malformed_plugin:Plugin").name == "a_malformed_plugin:Plugin"


def test_an_option_that_cant_be_kept_is_refused(module: Callable[[str, str], None]) -> None:
    """Text that no UTF-8 can hold, such as the path of a file that is not, is refused by name, and not shown."""
    with pytest.raises(
        InvalidOptions, match=r"'token' must be text that UTF-8 can hold, found '\\udce9' in it"
    ) as found:
        find(HERE, {"token": "hush \udce9"})
    assert "hush" not in str(found.value)
    assert presumably_public({"path": "\udce9"}) == {}
    module(
        "a_finding_plugin",
        f"{WHOLE}"
        "    class Options(msgspec.Struct):\n"
        "        place: str = '\\udce9'  # as from a variable of the environment\n",
    )
    with pytest.raises(InvalidOptions, match=r"'place' must be text that UTF-8 can hold"):
        find("a_finding_plugin:Plugin")


def test_options_whose_own_code_fails_are_a_broken_backend(module: Callable[[str, str], None]) -> None:
    """What a plugin's options raise, such as for want of a working directory, ends no training."""
    module(
        "a_failing_plugin",
        f"{WHOLE}"
        "    class Options(msgspec.Struct):\n"
        "        def __post_init__(self): raise FileNotFoundError('no working directory')\n",
    )
    with pytest.raises(BrokenBackend, match=r"making its options raised FileNotFoundError: no working directory"):
        find("a_failing_plugin:Plugin")


def test_delivery_is_overridden_field_by_field() -> None:
    """The option "delivery" changes single fields of the plugin's own, and is validated."""
    assert find(HERE, {"delivery": {"batch_size": 7}}).delivery == Delivery(linger=0.1, batch_size=7)
    with pytest.raises(InvalidOptions, match=r"delivery\.lingr.*Did you mean 'delivery\.linger'"):
        find(HERE, {"delivery": {"lingr": 7}})
    with pytest.raises(InvalidOptions, match=r"'batch_size' must be greater than 0, found 0"):
        find(HERE, {"delivery": {"batch_size": 0}})


def test_secrets_are_not_public() -> None:
    """Fields marked Secret and credentials in URLs are left out of what may be written to disk."""
    target = find(HERE, {"url": "https://me:hush@host/x", "token": "hush"})
    assert public_options(target) == {
        "url": "https://host/x",
        "mode": None,
        "delivery": msgspec.to_builtins(target.delivery),
    }


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise RuntimeError('no luck')", r"raised RuntimeError: no luck"),
        ("import sys; sys.exit(3)", r"raised SystemExit: 3"),
        ("import not_there_at_all", r"ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("class Other: pass", r"raised AttributeError"),
        (
            "class Plugin: pass",
            r"it has no 'delivery', 'handles', .*'Options', 'open', 'export', 'finish', 'close'",
        ),
    ],
)
def test_a_broken_plugin_is_named(module: Callable[[str, str], None], source: str, problem: str) -> None:
    """A plugin that can't be imported, or is none, is an error that says which and why."""
    module("a_broken_plugin", source)
    with pytest.raises(BrokenBackend, match=r"'a_broken_plugin:Plugin'.*" + problem):
        find("a_broken_plugin:Plugin")


def test_an_object_is_a_target() -> None:
    """A backend object needs no options, and something else is refused."""
    backend = Guarded(GuardedOptions(), None)  # type: ignore[arg-type]
    assert from_object(backend).name == "Guarded"
    with pytest.raises(BrokenBackend, match="it is no backend"):
        from_object(object())  # type: ignore[arg-type]
