"""Whether ClearML can be delivered to, for `tracelet doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio.to_thread
import httpx

from tracelet.checks import Check, clock, folder, ok, problem
from tracelet.errors import TraceletError
from tracelet_clearml._access import Access, find_access
from tracelet_clearml._options import Options

_TIMEOUT = 20.0
_CREDENTIALS = "set CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY, or run clearml-init"


async def check(options: Options) -> Sequence[Check]:
    """Log in; offline, look at the folder."""
    if options.offline:
        return [folder(options.offline_folder, "offline sessions in") if options.offline_folder else ok("offline")]
    try:
        access = await anyio.to_thread.run_sync(partial(find_access, options), abandon_on_cancel=True)
    except TraceletError as error:
        return [problem(str(error))]
    try:
        return await _log_in(access)
    except httpx.HTTPError as error:
        return [problem(f"{access.api} can't be reached: {type(error).__name__}: {error}", "see whether it runs")]


async def _log_in(access: Access) -> list[Check]:
    if access.key is not None:
        auth, headers = httpx.BasicAuth(access.key, access.secret or ""), {}
    else:
        auth, headers = None, {"Authorization": f"Bearer {access.token}"}
    async with httpx.AsyncClient(auth=auth, headers=headers, verify=access.verify, timeout=_TIMEOUT) as client:
        answer = await client.post(f"{access.api}/auth.login", json={})
    if answer.status_code in (401, 403):
        return [problem(f"{access.api} refuses the credentials ({answer.status_code})", _CREDENTIALS)]
    try:
        known = answer.is_success and "token" in answer.json()["data"]
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        return [problem(f"{access.api} does not answer like ClearML: {answer.status_code} {answer.text[:100]!r}")]
    return [ok(f"{access.api} lets us in; files go to {access.files}"), *clock(answer.headers.get("date"))]
