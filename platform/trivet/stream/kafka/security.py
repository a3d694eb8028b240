"""How Kafka is reached: from the environment alone, since passwords stand in no file of a project."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Literal

from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from trivet.errors import BadSetting

_SASL = {
    "PLAIN": SASLPlaintext,
    "SCRAM-SHA-256": SASLScram256,
    "SCRAM-SHA-512": SASLScram512,
}


class KafkaSecurity(BaseSettings):
    """The variables `TRIVET_KAFKA_*`; their names are those of Kafka's own clients."""

    model_config = SettingsConfigDict(env_prefix="TRIVET_KAFKA_", frozen=True)

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = Field(default=SecretStr(""))
    ca_file: Path | None = None
    """Certificates that are trusted; default: the system's."""


def security() -> BaseSecurity | None:
    """Return FastStream's form of what the environment says; None where nothing is protected.

    Raises:
        BadSetting: a variable does not fit, or one is missing beside another.
    """
    try:
        said = KafkaSecurity()
    except ValidationError as err:
        first = err.errors()[0]
        name = "_".join(map(str, first["loc"])).upper()
        raise BadSetting(f"TRIVET_KAFKA_{name}: {first['msg']}.") from err
    if said.security_protocol == "PLAINTEXT":
        if said.username or said.ca_file is not None:
            raise BadSetting(
                "TRIVET_KAFKA_USERNAME or TRIVET_KAFKA_CA_FILE is set, and nothing uses it.",
                hint="Set TRIVET_KAFKA_SECURITY_PROTOCOL to SSL, SASL_PLAINTEXT or SASL_SSL.",
            )
        return None
    context = _context(said) if said.security_protocol.endswith("SSL") else None
    if not said.security_protocol.startswith("SASL"):
        return BaseSecurity(ssl_context=context)
    if not said.username:
        raise BadSetting(
            f"TRIVET_KAFKA_SECURITY_PROTOCOL is {said.security_protocol}, and there is no user.",
            hint="Set TRIVET_KAFKA_USERNAME and TRIVET_KAFKA_PASSWORD.",
        )
    kind = _SASL[said.sasl_mechanism]
    return kind(
        username=said.username, password=said.password.get_secret_value(), ssl_context=context
    )


def _context(said: KafkaSecurity) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=said.ca_file)
    except OSError as err:
        raise BadSetting(f"TRIVET_KAFKA_CA_FILE: {said.ca_file} cannot be read: {err}.") from err
