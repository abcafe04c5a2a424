"""Where the server is and who we are: from the options, ClearML's own variables, and clearml.conf."""

from __future__ import annotations

import os
import socket
import ssl

import httpx
import msgspec

from tracelet.errors import Denied
from tracelet_clearml._options import Options


class Access(msgspec.Struct, frozen=True):
    """How a server wants to be spoken to; the hosts have no "/" at their end, and `web` is None if nothing tells it."""

    api: str
    web: str | None
    files: str
    key: str | None
    secret: str | None
    token: str | None
    verify: ssl.SSLContext | bool
    worker: str


def find_access(options: Options) -> Access:
    """The options, completed by what ClearML's SDK finds in its variables and in clearml.conf. Blocking.

    Raises:
        Denied: there are no credentials.
    """
    from clearml.backend_api import Session
    from clearml.backend_api.session.defs import ENV_ACCESS_KEY, ENV_AUTH_TOKEN, ENV_SECRET_KEY
    from clearml.config import config_obj as config

    config.get("api", None)  # reads the files
    api = options.api_host or Session.get_api_server_host(config)
    key = options.access_key or ENV_ACCESS_KEY.get(default=config.get("api.credentials.access_key", None))
    secret = options.secret_key or ENV_SECRET_KEY.get(default=config.get("api.credentials.secret_key", None))
    token = ENV_AUTH_TOKEN.get()
    if not (key and secret) and not token:
        raise Denied(
            f"no credentials for ClearML's server {api}: set CLEARML_API_ACCESS_KEY and CLEARML_API_SECRET_KEY, or run "
            "clearml-init, which writes clearml.conf; or choose offline=true"
        )
    web = options.web_host or _derived(api, "web", Session.get_app_server_host, options, config)
    files = options.files_host or _derived(api, "files", Session.get_files_server_host, options, config)
    if files is None:
        raise Denied(
            f"nothing tells where the files of ClearML's server {api} go: set files_host or CLEARML_FILES_HOST"
        )
    return Access(api, web, files, key or None, secret or None, token or None, _tls(config), socket.gethostname())


def _derived(api: str, kind: str, find: object, options: Options, config: object) -> str | None:
    """A host from the SDK's configuration; of an API host given as an option, by the ports of ClearML's own setup."""
    assert callable(find)
    configured = os.environ.get(f"CLEARML_{kind.upper()}_HOST") or config.get(  # type: ignore[attr-defined]
        {"web": "api.web_server", "files": "api.files_server"}[kind], None
    )
    if configured or options.api_host is None:
        try:
            return str(find(config)).rstrip("/")
        except ValueError:
            return None
    port = {"web": ":8080", "files": ":8081"}[kind]
    name = {"web": "app", "files": "files"}[kind]
    if api.endswith(":8008"):
        return api.removesuffix(":8008") + port
    if "://api." in api:
        return api.replace("://api.", f"://{name}.", 1)
    return None


def _tls(config: object) -> ssl.SSLContext | bool:
    """As the SDK: on, off, or with a bundle of authorities; and `requests`' variables."""
    from clearml.backend_api.session.defs import ENV_HOST_VERIFY_CERT

    verify = ENV_HOST_VERIFY_CERT.get(default=config.get("api.verify_certificate", True))  # type: ignore[attr-defined]
    if isinstance(verify, str) and verify.strip().lower() in ("0", "false", "no", "off"):
        verify = False
    if verify is False:
        return httpx.create_ssl_context(verify=False)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if isinstance(verify, str) and os.path.exists(verify):
        bundle = verify
    if bundle:
        folder = os.path.isdir(bundle)
        return ssl.create_default_context(capath=bundle if folder else None, cafile=None if folder else bundle)
    return True
