"""Projects on a server, by name."""

from __future__ import annotations

import re

import msgspec

from tracelet.errors import Rejected, Transient
from tracelet_clearml import _names as names
from tracelet_clearml._api import Api
from tracelet_clearml._errors import AlreadyExists


class _Project(msgspec.Struct):
    id: str
    name: str = ""


class _Projects(msgspec.Struct):
    projects: list[_Project] = []


class _Created(msgspec.Struct):
    id: str


async def find_or_create_project(api: Api, name: str) -> str:
    """The id of a project, created if need be; with a padded name if the server finds a part of it too short."""
    plain = names.project(name)
    candidates = list(dict.fromkeys((plain, names.padded(plain))))
    for candidate in candidates:
        if found := await _find(api, candidate):
            return found
    for candidate in candidates:
        try:
            return (await api.call("projects.create", _Created, name=candidate, description="")).id
        except AlreadyExists as error:  # another run of the project was faster
            if found := await _find(api, candidate):
                return found
            raise Transient(f"ClearML doesn't list the project {candidate!r} that exists") from error
        except Rejected:
            if candidate == candidates[-1]:
                raise
    raise AssertionError("the last candidate returns or raises")


async def _find(api: Api, name: str) -> str | None:
    pattern = f"^{re.escape(name)}$"
    found = await api.call("projects.get_all", _Projects, name=pattern, only_fields=["id", "name"])
    return next((project.id for project in found.projects if project.name == name), None)
