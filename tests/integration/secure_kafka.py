"""A broker with TLS and every kind of login that the settings know, and a service that gives out tokens."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import NameOID

from kafka.connection import ALLOWED_URLS
from local.broker import EmbeddedBroker
from tests.integration.conftest import lasting_port

USER, PASSWORD = "shop", 'p"a\\ss wörd'
"""Characters that a line of settings would have to quote."""
JAAS = "org.apache.kafka.common.security"
LOGINS = {
    "plain": f'{JAAS}.plain.PlainLoginModule required user_{USER}="p\\\\"a\\\\\\\\ss wörd";',
    "scram-sha-256": f"{JAAS}.scram.ScramLoginModule required;",
    "scram-sha-512": f"{JAAS}.scram.ScramLoginModule required;",
    "oauthbearer": f"{JAAS}.oauthbearer.OAuthBearerLoginModule required;",
}


PROTOCOLS = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL"


class SecureBroker(EmbeddedBroker):
    """Beside the open listener of the embedded broker it has one for each way of protection.

    Args:
        folder: for its files and the certificates.
        tokens: whose signature it asks of a token. The service must be up when the broker starts.
    """

    def __init__(self, folder: Path, tokens: TokenService) -> None:
        super().__init__(folder / "kafka", folder / "logs", preferred_port=lasting_port())
        self.tokens = tokens
        self.ports = {name: lasting_port() for name in ("SSL", "SASL_PLAINTEXT", "SASL_SSL")}
        self.certificates = Certificates(folder)

    def _properties(self, controller_port: int) -> str:
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        known = dict(
            line.split("=", 1) for line in super()._properties(controller_port).splitlines() if "listeners=" in line
        )
        lines = [
            f"listeners={known['listeners']},{listeners}",
            f"advertised.listeners={known['advertised.listeners']},{listeners}",
            f"listener.security.protocol.map={PROTOCOLS}",
            "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self.certificates.server}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self.certificates.authority}",
            "listener.name.ssl.ssl.client.auth=required",
        ]
        for listener in ("sasl_plaintext", "sasl_ssl"):
            lines += [f"listener.name.{listener}.{name}.sasl.jaas.config={login}" for name, login in LOGINS.items()]
            own, handler = f"listener.name.{listener}.oauthbearer.sasl", "OAuthBearerValidatorCallbackHandler"
            lines += [
                f"{own}.server.callback.handler.class={JAAS}.oauthbearer.{handler}",
                f"{own}.oauthbearer.jwks.endpoint.url={self.tokens.keys_url}",
            ]
        return super()._properties(controller_port) + "\n" + "\n".join(_escaped(line) for line in lines) + "\n"

    def _java_options(self) -> list[str]:
        return [f"-D{ALLOWED_URLS}={self.tokens.keys_url}", *super()._java_options()]

    def add_user(self) -> None:
        """The user of SCRAM is kept by the broker itself."""
        admin = self._admin()
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            secret = UserScramCredentialUpsertion(USER, ScramCredentialInfo(mechanism, 4096), PASSWORD.encode())
            admin.alter_user_scram_credentials([secret])[USER].result(30)


def _escaped(line: str) -> str:
    """As a file of Java's properties has it: Latin-1."""
    return line.encode("ascii", "backslashreplace").decode().replace("\\xf6", "\\u00f6")


class Certificates:
    """Files of an authority made for the occasion, of a server at 127.0.0.1, and of a client."""

    def __init__(self, folder: Path) -> None:
        own = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        certificate = _certificate(name, own, name, own, is_authority=True)
        self.authority = folder / "authority.pem"
        self.authority.write_bytes(_pem(certificate))
        self.server, self.client, self.client_key = (folder / f"{n}.pem" for n in ("server", "client", "client-key"))
        for about, keys, chain in (("server", self.server, None), ("client", self.client_key, self.client)):
            key = ec.generate_private_key(ec.SECP256R1())
            subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, about)])
            signed = _pem(_certificate(subject, key, name, own, is_authority=False))
            secret = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            keys.write_bytes(secret if chain else secret + signed)
            if chain:
                chain.write_bytes(signed)


def _certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signed_with: ec.EllipticCurvePrivateKey,
    *,
    is_authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(signed_with, hashes.SHA256())
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class TokenService:
    url: str
    keys_url: str
    given: list[str]


@contextmanager
def token_service() -> Iterator[TokenService]:
    """Gives signed tokens to who knows the client's secret, and its public key to everybody, as companies' services do.

    Signed, because Java's client refuses a token without a signature ("expected three sections") before it sends it;
    librdkafka sends whatever it gets.
    """
    given: list[str] = []
    expected = "Basic " + base64.b64encode(f"{USER}:secret".encode()).decode()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = key.public_key().public_numbers()
    public = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", "n": _number(numbers.n), "e": _number(numbers.e)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, {"keys": [public]})

        def do_POST(self) -> None:
            given.append(self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode())
            now = int(time.time())
            claims = {"sub": USER, "iat": now, "exp": now + 3600, "scope": "events"}
            signed = f"{_part({'alg': 'RS256', 'kid': '1'})}.{_part(claims)}"
            signature = _encoded(key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))
            token = {"access_token": f"{signed}.{signature}", "token_type": "bearer", "expires_in": 3600}
            knows = self.headers.get("Authorization") == expected
            self.answer(200 if knows else 401, token if knows else {"error": "invalid_client"})

        def answer(self, status: int, what: dict[str, object]) -> None:
            body = json.dumps(what).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        yield TokenService(f"{address}/token", f"{address}/keys", given)
    finally:
        server.shutdown()
        server.server_close()


def _part(claims: dict[str, object]) -> str:
    return _encoded(json.dumps(claims).encode())


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encoded(what: bytes) -> str:
    return base64.urlsafe_b64encode(what).decode().rstrip("=")
