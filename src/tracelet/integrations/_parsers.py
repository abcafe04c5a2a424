"""The command line libraries: where each has its arguments parsed, and where they are then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from tracelet._redaction import REDACTED


class Parsed(Struct, frozen=True):
    """Arguments by name.

    Attributes:
        whole: whether these are all; else a further parser reads the rest of the command line.
    """

    values: Mapping[Any, Any]
    whole: bool = True


class Library(Struct, frozen=True):
    """A command line library.

    Attributes:
        places: the modules, and the class in each, with the methods to listen to.
        read: what there is after a call, from the object, the arguments and the result; None: nothing of the user's.
        before: listen before the call, because what is called is the program itself.
        again: every call counts, and replaces what an earlier one said; else the first one does.
    """

    name: str
    places: tuple[tuple[str, str, tuple[str, ...]], ...]
    read: Callable[[Any, tuple[Any, ...], Any], Parsed | None]
    before: bool = False
    again: bool = False


def _argparse(parser: Any, _: tuple[Any, ...], result: Any) -> Parsed | None:
    namespace, rest = result
    if parser.description == "Hydra" and hasattr(namespace, "overrides"):
        return None  # Hydra's own options, of which the configuration is made
    return Parsed(_plain(vars(namespace)), whole=not rest)


def _jsonargparse(_: Any, __: tuple[Any, ...], result: Any) -> Parsed:
    return Parsed(_plain(result.as_dict()))


def _click(command: Any, arguments: tuple[Any, ...], _: Any) -> Parsed | None:
    context = arguments[0]
    if getattr(context, "invoked_subcommand", None) is not None:
        return None  # a group on the way to the command
    values: dict[str, Any] = {}
    while context is not None:
        hidden = {one.name for one in context.command.params if getattr(one, "hide_input", False)}
        own = {name: REDACTED if name in hidden else value for name, value in context.params.items()}
        values = own | values
        context = context.parent
    return Parsed(_plain(values))


def _hydra(_: Any, arguments: tuple[Any, ...], __: Any) -> Parsed:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    config = arguments[0]
    values: dict[str, Any] = {}
    for name in config:
        if name == "hydra":
            continue
        try:
            value = config[name]
            values[name] = OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
        except OmegaConfBaseException:  # an interpolation that leads nowhere yet, or a value that is missing
            values |= OmegaConf.to_container(OmegaConf.masked_copy(config, [name]), resolve=False)
    return Parsed(values)


def _plain(values: Mapping[Any, Any]) -> dict[Any, Any]:
    """Without functions and classes, which say what to do, not how."""
    return {name: value for name, value in values.items() if not callable(value)}


LIBRARIES = (
    Library(
        "argparse", (("argparse", "ArgumentParser", ("parse_known_args", "parse_known_intermixed_args")),), _argparse
    ),
    Library("click", (("click", "Command", ("invoke",)), ("typer._click.core", "Command", ("invoke",))), _click, True),
    Library("hydra", (("hydra.core.hydra_config", "HydraConfig", ("set_config",)),), _hydra, again=True),
    Library("jsonargparse", (("jsonargparse", "ArgumentParser", ("parse_args",)),), _jsonargparse),
)
