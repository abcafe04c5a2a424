"""Whether W&B can be delivered to, for `tracelet doctor`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import anyio.to_thread
import requests

from tracelet.checks import Check, clock, folder, ok, problem
from tracelet_wandb._options import Options

_CLOUD = "https://api.wandb.ai"
_TIMEOUT = 20.0
_QUERY = "query Viewer { viewer { username entity } }"
_CREDENTIALS = "set WANDB_API_KEY, or run wandb login"


async def check(options: Options) -> Sequence[Check]:
    """Ask the server who we are; offline, look at the folder."""
    if options.offline:
        where = options.dir
        return [ok("offline files, in each run's directory") if where is None else folder(where, "offline files in")]
    return await anyio.to_thread.run_sync(partial(_ask, options), abandon_on_cancel=True)


def _ask(options: Options) -> list[Check]:
    url = options.base_url or _CLOUD
    key = options.api_key or os.environ.get("WANDB_API_KEY") or _from_netrc(url)
    if not key:
        return [problem(f"there is no key for {url}", _CREDENTIALS)]
    try:
        answer = requests.post(f"{url}/graphql", json={"query": _QUERY}, auth=("api", key), timeout=_TIMEOUT)
    except requests.RequestException as error:
        return [problem(f"{url} can't be reached: {type(error).__name__}", "see whether it runs; offline writes files")]
    if answer.status_code in (401, 403):
        return [problem(f"{url} refuses the key ({answer.status_code})", _CREDENTIALS)]
    try:
        viewer = answer.json()["data"]["viewer"]
    except (ValueError, KeyError, TypeError):
        return [problem(f"{url} does not answer like W&B: {answer.status_code} {answer.text[:100]!r}")]
    if viewer is None:
        return [problem(f"{url} does not know the key", _CREDENTIALS)]
    entity = options.entity or viewer.get("entity")
    return [ok(f"{url} knows us as {viewer.get('username')}, entity {entity}"), *clock(answer.headers.get("date"))]


def _from_netrc(url: str) -> str | None:
    from wandb.sdk.lib.wbauth import read_netrc_auth

    found = read_netrc_auth(host=url)
    return None if found is None else str(found)
