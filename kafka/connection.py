"""One connection, two clients: kafka.* of the settings as librdkafka (Python) and Java's client (Spark) call it.

Certificates and keys are read here and handed on as text, so that executors need no files.
"""

from __future__ import annotations

import re
from pathlib import Path

from features.errors import ConfigurationError
from settings import KafkaSettings

OAUTH = "OAUTHBEARER"
JAVA_SECURITY = "org.apache.kafka.common.security"
ALLOWED_URLS = "org.apache.kafka.sasl.oauthbearer.allowed.urls"
"""A property of the JVM without which newer Java clients ask no token service."""
PEM = {
    "ca_file": ("CERTIFICATE", "the certificates of the authorities that are trusted"),
    "certificate_file": ("CERTIFICATE", "this client's certificate and those that signed it"),
    "key_file": ("PRIVATE KEY", "the key of this client's certificate"),
}


def librdkafka_options(kafka: KafkaSettings) -> dict[str, str]:
    """Options of ``confluent_kafka``'s clients. ``kafka.options`` win over all but the address.

    Raises:
        ConfigurationError: a file of certificates cannot be used.
    """
    options: dict[str, str] = {"security.protocol": kafka.security_protocol}
    if kafka.sasl_mechanism is not None:
        options["sasl.mechanism"] = kafka.sasl_mechanism
    if kafka.sasl_mechanism == OAUTH:
        options |= {
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.client.id": kafka.username or "",
            "sasl.oauthbearer.client.secret": _secret(kafka),
            "sasl.oauthbearer.token.endpoint.url": kafka.oauth_token_url or "",
        }
        if kafka.oauth_scope:
            options["sasl.oauthbearer.scope"] = kafka.oauth_scope
    elif kafka.username is not None:
        options |= {"sasl.username": kafka.username, "sasl.password": _secret(kafka)}
    names = {"ca_file": "ssl.ca.pem", "certificate_file": "ssl.certificate.pem", "key_file": "ssl.key.pem"}
    options |= {names[name]: text for name, text in _pem(kafka).items()}
    if kafka.key_password is not None:
        options["ssl.key.password"] = kafka.key_password.get_secret_value()
    if not kafka.check_hostname:
        options["ssl.endpoint.identification.algorithm"] = "none"
    return {**options, **kafka.options, "bootstrap.servers": kafka.bootstrap_servers}


def java_options(kafka: KafkaSettings) -> dict[str, str]:
    """The same for Kafka's Java client, as which Spark reads.

    Raises:
        ConfigurationError: a file of certificates cannot be used.
    """
    options: dict[str, str] = {"security.protocol": kafka.security_protocol}
    if kafka.sasl_mechanism is not None:
        options |= {"sasl.mechanism": kafka.sasl_mechanism, "sasl.jaas.config": _login(kafka)}
    if kafka.sasl_mechanism == OAUTH:
        options["sasl.login.callback.handler.class"] = f"{JAVA_SECURITY}.oauthbearer.OAuthBearerLoginCallbackHandler"
        options["sasl.oauthbearer.token.endpoint.url"] = kafka.oauth_token_url or ""
    pem = _pem(kafka)
    if "ca_file" in pem:
        options |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": pem["ca_file"]}
    if "key_file" in pem:
        options |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": pem["certificate_file"],
            "ssl.keystore.key": pem["key_file"],
        }
    if kafka.key_password is not None:
        options["ssl.key.password"] = kafka.key_password.get_secret_value()
    if not kafka.check_hostname:
        options["ssl.endpoint.identification.algorithm"] = ""
    return {**options, **kafka.options, "bootstrap.servers": kafka.bootstrap_servers}


def _login(kafka: KafkaSettings) -> str:
    """The line of a JAAS file."""
    mechanism = str(kafka.sasl_mechanism)
    names = {"username": kafka.username, "password": _secret(kafka)}
    module = "scram.ScramLoginModule" if mechanism.startswith("SCRAM") else "plain.PlainLoginModule"
    if mechanism == OAUTH:
        module = "oauthbearer.OAuthBearerLoginModule"
        names = {"clientId": kafka.username, "clientSecret": _secret(kafka), "scope": kafka.oauth_scope}
    words = [f"{name}={_quoted(value)}" for name, value in names.items() if value]
    return f"{JAVA_SECURITY}.{module} required {' '.join(words)};"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _secret(kafka: KafkaSettings) -> str:
    return kafka.password.get_secret_value() if kafka.password is not None else ""


def _pem(kafka: KafkaSettings) -> dict[str, str]:
    """The texts of the files that are named."""
    texts = {}
    for name, (kind, about) in PEM.items():
        file = getattr(kafka, name)
        if file is None:
            continue
        try:
            text = Path(file).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text, so no PEM"
            raise ConfigurationError(f"kafka.{name}: {file} cannot be read ({why}). It is to hold {about}.") from None
        if re.search(r"-----BEGIN (?:RSA|EC|DSA) PRIVATE KEY-----", text):
            raise ConfigurationError(
                f"kafka.{name}: {file} holds a key in the old form, which Java does not read; needed PKCS#8: "
                f"openssl pkcs8 -topk8 -nocrypt -in {file} -out key.pem"
            )
        if not re.search(rf"-----BEGIN (?:ENCRYPTED )?{kind}-----", text):
            raise ConfigurationError(f"kafka.{name}: {file} holds no PEM {kind}. It is to hold {about}.")
        texts[name] = text
    return texts
