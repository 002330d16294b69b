"""The options of the NATS driver."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator


class NatsOptions(BaseModel):
    """Where the server is, how to log in, and the names there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="nats://localhost:4222",
        description="The server, or several of a cluster with commas between them. `tls://` encrypts.",
    )
    stream: str = Field(
        default="AIS",
        pattern=r"^[A-Za-z0-9_-]{1,200}$",
        description="The stream. Projects that share a server need one each.",
    )
    subject: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="The queue's subject; `ais.<alias>` unless given. Projects that share a server need their own.",
    )
    ack_wait_seconds: float = Field(
        default=60.0,
        ge=1,
        description="A message whose worker process fell silent is delivered again after this long.",
    )
    replicas: int = Field(default=1, ge=1, le=5, description="Servers of a cluster that keep the stream.")
    user: str | None = Field(default=None, description="User name.")
    password: SecretStr | None = Field(default=None, description="Password of the user.")
    token: SecretStr | None = Field(default=None, description="Token, for servers that know no users.")
    credentials_file: str | None = Field(
        default=None, description="Path of a `.creds` file. Needs `pip install nats-py[nkeys]`."
    )
    ca_file: str | None = Field(
        default=None, description="Certificates to trust instead of the system's, for `tls://`."
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str) -> str:
        if any("://" in server and not server.strip().startswith(("nats://", "tls://")) for server in url.split(",")):
            raise ValueError("each server begins with nats:// or tls://")
        return url

    @property
    def servers(self) -> list[str]:
        """Each server's address."""
        return [part.strip() for part in self.url.split(",") if part.strip()]

    @property
    def shown(self) -> str:
        """The addresses, without what is secret in them."""
        return ", ".join(f"{place.scheme}://{place.hostname}:{place.port or 4222}" for place in self.places)

    @property
    def places(self) -> list[SplitResult]:
        """Each server's address in its parts."""
        return [urlsplit(server if "://" in server else f"nats://{server}") for server in self.servers]

    def login(self) -> dict[str, Any]:
        """What `connect` is told about who we are."""
        return {
            "user": self.user,
            "password": self.password.get_secret_value() if self.password else None,
            "token": self.token.get_secret_value() if self.token else None,
            "user_credentials": self.credentials_file,
            "tls": ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None,
        }

    def has_login(self) -> bool:
        """Whether anything tells the server who we are."""
        named = self.user or self.token or self.credentials_file
        return bool(named) or all(place.username for place in self.places)
