"""The service's settings: read once from the environment; unknown or unusable ones refuse the start in one line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import SettingsError

_PREFIX = "TESTORCHESTRATOR_"
SHORTEST_SECRET = 32


class Settings(BaseSettings):
    """What `serve` reads: SERVICE_DATABASE_URL, and the others with the prefix TESTORCHESTRATOR_."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    #: The rightless login's URL; it may go through PgBouncer in transaction mode.
    service_database_url: SecretStr = Field(validation_alias="SERVICE_DATABASE_URL")
    #: Strict mode: every workspace's role logs in by itself, with a password that is derived from this.
    strict_secret: SecretStr | None = Field(default=None, min_length=SHORTEST_SECRET)
    #: Only commands that make workspaces use it: whether Citus places them.
    citus: Literal["auto", "on", "off"] = "auto"
    #: Signs sessions and links; without it there are no web pages. All processes have the same.
    secret_key: SecretStr | None = Field(default=None, min_length=SHORTEST_SECRET)
    #: Where workspaces have sub-domains: example.com for https://acme.example.com/.
    base_domain: str | None = Field(default=None, pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$")
    #: What people write into the address bar, for links and snippets, such as https://qa.example.com.
    public_url: str | None = Field(default=None, pattern=r"^https?://[^/?#\s]+$")
    #: Tries to sign in from one client address, of all workers together; 0: as many as it likes.
    sign_ins_per_minute: int = Field(default=20, ge=0)
    #: Pages for one client address without a session, of all workers together; 0: as many as it likes.
    guest_pages_per_minute: int = Field(default=600, ge=0)
    #: Mail for forgotten passwords; without a host none is sent, and operators make the links.
    smtp_host: str | None = None
    smtp_port: int = Field(default=587, ge=1, le=65535)
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    mail_from: str = "TestOrchestrator <testorchestrator@localhost>"
    #: What serves HTTP; uvicorn is an extra.
    server: Literal["hypercorn", "uvicorn"] = "hypercorn"
    host: str = "127.0.0.1"
    port: int = Field(default=8520, ge=0, le=65535)
    #: Processes that serve this port; auto: as many as there are processors.
    workers: int = Field(default=1, ge=1, le=256)
    #: Origins of web pages that may call; programs send none.
    allowed_origins: Annotated[frozenset[str], NoDecode] = frozenset()
    #: Host headers that are answered, such as api.example.com; empty: all.
    allowed_hosts: Annotated[frozenset[str], NoDecode] = frozenset()
    #: Per worker.
    pool_size: int = Field(default=10, ge=1, le=1000)
    pool_wait_seconds: float = Field(default=2.0, gt=0, le=60)
    #: A connection is renewed after so many requests, since nothing else frees what it keeps of each workspace.
    pool_renew_after: int = Field(default=50_000, ge=1)
    #: And after so many workspaces, each of which may take 1 MB of the server's memory.
    pool_renew_after_workspaces: int = Field(default=100, ge=1)
    #: 0 behind a PgBouncer before 1.21.
    statement_cache_size: int = Field(default=600, ge=0)
    statement_timeout_ms: int = Field(default=10_000, ge=100)
    lock_timeout_ms: int = Field(default=3_000, ge=100)
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024)
    #: How long a body may take to arrive, and how long a client may not take what is sent to it.
    body_timeout_seconds: float = Field(default=30, gt=0)
    max_header_bytes: int = Field(default=16 * 1024, ge=1024, le=64 * 1024)
    #: How long a connection may be idle, or take to send a request's headers.
    keep_alive_seconds: float = Field(default=75, gt=0)
    #: Per key and worker, since most clients have one connection; 0: as often as it likes. After a pause, a key may
    #: make calls_burst of them at once.
    calls_per_second: float = Field(default=50, ge=0)
    calls_burst: int = Field(default=200, ge=1)
    #: Per client address, of all workers together; 0: as many as it likes. Keys that work are not concerned.
    wrong_keys_per_minute: int = Field(default=60, ge=0)
    #: How many proxies stand before the service, each of which adds to X-Forwarded-For.
    trusted_proxies: int = Field(default=0, ge=0)
    #: Between the signal to stop and the last accepted request: /readyz answers 503, so that a proxy turns away.
    drain_seconds: float = Field(default=0, ge=0, le=300)
    shutdown_seconds: int = Field(default=10, ge=0)
    #: Prometheus finds /metrics there, and on no other port; unset: nowhere; 0: any free one.
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    metrics_host: str = "127.0.0.1"
    log_format: Literal["json", "pretty"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("workers", mode="before")
    @classmethod
    def _count(cls, value: object) -> object:
        if value == "auto":
            return cores()
        if isinstance(value, str) and not value.isdecimal():
            raise PydanticCustomError("workers", "Give a number of processes, or auto")
        return value

    @field_validator("allowed_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return frozenset(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def cores() -> int:
    """Return how many processors there are for this process, in a container too."""
    found = len(os.sched_getaffinity(0))
    # "max 100000" where there is no quota, no file where there are no such groups.
    with suppress(OSError, ValueError):
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text().split())
        found = min(found, max(1, quota // period))
    return found


def strict_secret() -> str | None:
    """Return the secret of strict mode, None where that is off, for commands that need no other setting."""
    secret = os.environ.get(f"{_PREFIX}STRICT_SECRET") or None
    if secret is not None and len(secret) < SHORTEST_SECRET:
        raise SettingsError(f"Setting {_PREFIX}STRICT_SECRET: use {SHORTEST_SECRET} characters or more.")
    return secret


def citus() -> str:
    """Return whether Citus places new workspaces, for commands that need no other setting."""
    wanted = (os.environ.get(f"{_PREFIX}CITUS") or "auto").lower()
    if wanted not in {"auto", "on", "off"}:
        raise SettingsError(f"Setting {_PREFIX}CITUS: use auto, on or off.")
    return wanted


def link_settings() -> tuple[str, str | None, str | None]:
    """Return the secret key, the base domain and the public URL, for commands that make links and need no more."""
    secret, base_domain, public_url = (
        os.environ.get(f"{_PREFIX}{name}") or None for name in ("SECRET_KEY", "BASE_DOMAIN", "PUBLIC_URL")
    )
    if secret is None or len(secret) < SHORTEST_SECRET:
        raise SettingsError(
            f"Setting {_PREFIX}SECRET_KEY: give the service's, of {SHORTEST_SECRET} characters or more: it signs links."
        )
    return secret, base_domain, public_url


def read_settings(**given: object) -> Settings:
    """Return the settings of the environment, with *given* ones over them; raise SettingsError."""
    known = {f"{_PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(_PREFIX) and name not in known)
    if unknown:
        raise SettingsError(
            f"Unknown setting {unknown[0]}. Known are SERVICE_DATABASE_URL, {', '.join(sorted(known))}."
        )
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        # Not the error's own text: that one repeats the value, which may be a secret.
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        shown = name if name.isupper() else f"{_PREFIX}{name.upper()}"
        raise SettingsError(f"Setting {shown}: {first['msg']}.") from None
