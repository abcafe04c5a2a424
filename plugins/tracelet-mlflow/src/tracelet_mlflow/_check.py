"""Whether MLflow can be delivered to, for `tracelet doctor`. Nothing is created."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio.to_thread
import httpx

from tracelet.checks import Check, clock, folder, ok, problem, warning
from tracelet_mlflow._http import find_access
from tracelet_mlflow._options import Options

_TIMEOUT = 20.0
_ASKED = "/api/2.0/mlflow/experiments/search"
_CREDENTIALS = "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


async def check(options: Options) -> Sequence[Check]:
    """Ask the server something that needs its credentials; of a database, look at its folder."""
    if not options.is_http:
        return [_place(options.uri)]
    access = await anyio.to_thread.run_sync(partial(find_access, options.uri), abandon_on_cancel=True)
    if access is None:
        return [warning("only MLflow's SDK can sign requests to this server: it was not asked")]
    try:
        async with httpx.AsyncClient(
            headers=access.headers, auth=access.auth, verify=access.verify, timeout=_TIMEOUT
        ) as client:
            answer = await client.post(access.url + _ASKED, json={"max_results": 1})
    except httpx.HTTPError as error:
        return [problem(f"{access.url} can't be reached: {type(error).__name__}: {error}", "see whether it runs")]
    if answer.status_code in (401, 403):
        return [problem(f"{access.url} refuses the credentials ({answer.status_code})", _CREDENTIALS)]
    if not answer.is_success or "json" not in answer.headers.get("content-type", ""):
        return [problem(f"{access.url} does not answer like MLflow: {answer.status_code} {answer.text[:100]!r}")]
    said = "with credentials" if access.auth or "Authorization" in access.headers else "without credentials"
    return [ok(f"{access.url} answers, {said}"), *clock(answer.headers.get("date"))]


def _place(uri: str) -> Check:
    if not uri.startswith("sqlite") or ":///file:" in uri:
        return warning(f"a {uri.partition(':')[0]} store is not asked from here")
    path = Path(uri.split(":///", 1)[1].partition("?")[0])
    return ok(f"the database {path} is there") if path.is_file() else folder(path.parent, "a new database in")
