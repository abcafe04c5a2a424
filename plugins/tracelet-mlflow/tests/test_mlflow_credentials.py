"""Credentials: MLflow's own variables and files, the URI, and TLS, as MLflow's SDK takes them."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from driver import NOW, Driver

from tracelet.errors import Transient
from tracelet.events import MetricsLogged
from tracelet.testing import FaultyServer

pytestmark = pytest.mark.anyio

Drive = Callable[..., Driver]
Read = Callable[[str], Any]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN", "AUTH", "INSECURE_TLS", "SERVER_CERT_PATH", "CLIENT_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def _authorization(driver: Driver, proxy: FaultyServer) -> str | None:
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 0))
    sent = {request.headers.get("Authorization") for request in proxy.requests}
    assert len(sent) == 1
    return sent.pop()


async def test_no_credentials_are_sent_when_there_are_none(drive: Drive, proxy: FaultyServer) -> None:
    """Without credentials there is no Authorization, and the server sees MLflow's own user agent."""
    assert await _authorization(drive(proxy.url), proxy) is None
    assert "mlflow-python-client" in proxy.requests[0].headers["User-Agent"]


async def test_a_token_is_sent(drive: Drive, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLFLOW_TRACKING_TOKEN is sent as a bearer token with every request."""
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert await _authorization(drive(proxy.url), proxy) == "Bearer t0ken"


async def test_a_password_comes_before_a_token(
    drive: Drive, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in MLflow, user and password are used where a token is set too."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "päss")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    assert await _authorization(drive(proxy.url), proxy) == basic("ada", "päss")


async def test_the_uris_password_comes_first(
    drive: Drive, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """user:password@ in the URI, with its percent-encoding undone, is used before the variables."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "pass")
    uri = proxy.url.replace("://", "://grace:h%40pper@")
    assert await _authorization(drive(uri), proxy) == basic("grace", "h@pper")


async def test_mlflows_credentials_file_is_read(drive: Drive, proxy: FaultyServer, tmp_path: Path) -> None:
    """~/.mlflow/credentials works as with MLflow."""
    (tmp_path / ".mlflow").mkdir()
    (tmp_path / ".mlflow/credentials").write_text(
        "[mlflow]\nmlflow_tracking_username = ada\nmlflow_tracking_password = file\n"
    )
    assert await _authorization(drive(proxy.url), proxy) == basic("ada", "file")


async def test_custom_authentication_goes_through_the_sdk(
    drive: Drive, read: Read, proxy: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where MLflow has an authentication plugin sign its requests, its SDK sends them, and everything still arrives."""
    from mlflow.tracking.request_auth import registry

    def sign(request: Any) -> Any:
        request.headers["Authorization"] = "Signed"
        return request

    class Provider:
        def get_name(self) -> str:
            return "signed"

        def get_auth(self) -> Any:
            return sign

    monkeypatch.setattr(registry, "_request_auth_provider_registry", registry.RequestAuthProviderRegistry())
    registry._request_auth_provider_registry.register(Provider)
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "signed")
    driver = drive(proxy.url)
    assert await _authorization(driver, proxy) == "Signed"
    assert read(proxy.url).get_run(driver.run_id).data.metrics == {"m": 1.0}
    proxy.refuse()
    with pytest.raises(Transient):
        await driver.export(MetricsLogged(NOW, {"m": 1.0}, 0))
    proxy.heal()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def tls_proxy(server: str, certificate: Path) -> Iterator[FaultyServer]:
    """A way to the MLflow server over TLS, for those who show the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.load_verify_locations(certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    with FaultyServer(server, tls=context) as faulty:
        yield faulty


async def test_tls_with_an_own_authority_and_a_client_certificate(
    drive: Drive, tls_proxy: FaultyServer, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's variables for the authority, the client certificate and no verification are honoured."""
    with pytest.raises(Transient, match="CERTIFICATE_VERIFY_FAILED"):
        await drive(tls_proxy.url).open()
    monkeypatch.setenv("MLFLOW_TRACKING_CLIENT_CERT_PATH", str(certificate))
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    await drive(tls_proxy.url).open()
    monkeypatch.delenv("MLFLOW_TRACKING_INSECURE_TLS")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    driver = drive(tls_proxy.url)
    await driver.open()
    await driver.export(MetricsLogged(NOW, {"m": 1.0}, 0))
    monkeypatch.delenv("MLFLOW_TRACKING_SERVER_CERT_PATH")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    await drive(tls_proxy.url).open()
