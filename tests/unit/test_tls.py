"""The client connects over TLS, and only to a server with a certificate that this machine trusts."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from greenroom.client.http_transport import HttpTransport, Response
from greenroom.domain.errors import Unavailable
from tests.unit.tiny_server import TinyServer, run_tiny_server
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")


def make_certificate(folder: Path) -> tuple[str, str]:
    key, certificate = str(folder / "key.pem"), str(folder / "cert.pem")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return key, certificate


def wrap_in_tls(server: TinyServer, folder: Path) -> tuple[str, str]:
    key, certificate = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return f"https://localhost:{server.server_address[1]}", certificate


def test_tls_needs_trusted_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with run_tiny_server({"GET thing": lambda server, body: Response(200, {}, b"well")}) as server:
        url, certificate = wrap_in_tls(server, tmp_path)
        with pytest.raises(Unavailable, match=r"(?i)certificate"):
            HttpTransport(url).request("GET", "/thing", None, {}, PATIENCE_S)
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        transport = HttpTransport(url)
        assert [b"well"] * 2 == [transport.request("GET", "/thing", None, {}, PATIENCE_S).body for _ in range(2)]
        transport.close()
