"""The application: wiring only."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import TYPE_CHECKING, Any

from quart import Quart

from service import __version__
from service.health import PROBES, Database, install_health
from service.limits import Throttle
from service.mcp.call_log import CallLog
from service.mcp.dispatch import ServerInfo
from service.mcp.http import PATH, Endpoint, install_error_answers
from service.plain_http import PlainHttp
from service.tools.catalog import INSTRUCTIONS, TOOLS
from service.tools.host import Caller, ToolHost
from service.web.faults import page_of
from service.web.install import install as install_pages
from tenancy.accounts import Accounts
from tenancy.keys import PREFIX
from tenancy.pool import Pool
from tenancy.release import this_release
from tenancy.session import Gateway
from tenancy.strict import StrictLogins

if TYPE_CHECKING:
    from service.metrics import Metrics
    from service.settings import Settings

# What keys.create_key makes: 32 random bytes in URL-safe base64.
_KEY = re.compile(re.escape(PREFIX) + "[A-Za-z0-9_-]{43}")


def create_app(settings: Settings, *, metrics: Metrics | None = None, stopping: asyncio.Event | None = None) -> Quart:
    """Return the application over the database of *settings*; once *stopping* is set, it is not ready any more."""
    pools = _pools(settings)
    health_pool = _pool(settings, size=1)
    gateway = Gateway(
        pools[0],
        workspaces=pools[-1] if len(pools) > 1 else None,
        statement_timeout_ms=settings.statement_timeout_ms,
        lock_timeout_ms=settings.lock_timeout_ms,
    )
    release = this_release()
    host = ToolHost(gateway, TOOLS, release=release)
    app = Quart("service", static_folder=None)
    install_error_answers(app, None if settings.secret_key is None else page_of)
    install_health(app, Database(health_pool), stopping or asyncio.Event())
    if metrics is not None:
        metrics.watch(gateway, dict(zip(("service", "workspaces"), pools, strict=False)))
    # Pages look at accounts while they are in a workspace: with one pool for both, they would wait for each other.
    accounts_pool = _pool(settings, size=_small(settings))
    install_pages(
        app,
        gateway,
        Accounts(Gateway(accounts_pool)),
        settings,
        release=release,
        endpoint=PATH,
        # The other half is for those who are signed in.
        guests_at_once=_small(settings) // 2,
        not_pages=PROBES | {PATH},
    )
    endpoint = Endpoint(
        host,
        info=ServerInfo(name="testorchestrator", title="TestOrchestrator", version=__version__),
        instructions=INSTRUCTIONS,
        allowed_origins=settings.allowed_origins,
        allowed_hosts=settings.allowed_hosts,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_seconds=settings.body_timeout_seconds,
        max_header_bytes=settings.max_header_bytes,
        is_well_formed=_KEY.fullmatch,
        throttle=Throttle(
            calls_per_second=settings.calls_per_second,
            burst=settings.calls_burst,
            wrong_keys_per_minute=settings.wrong_keys_per_minute,
        ),
        trusted_proxies=settings.trusted_proxies,
        call_log=CallLog(_who, None if metrics is None else metrics.observe),
    )
    endpoint.install(app)
    app.asgi_app = PlainHttp(app.asgi_app)  # type: ignore[method-assign]

    @app.after_serving
    async def close() -> None:
        for pool in (*pools, health_pool, accounts_pool):
            await pool.close()

    return app


def most_connections(settings: Settings) -> int:
    """Return how many connections to the database one process may have."""
    small_pools = 1 if settings.strict_secret is None else 2
    return settings.pool_size + small_pools * _small(settings) + 1


def _small(settings: Settings) -> int:
    return max(2, settings.pool_size // 4)


def _pool(settings: Settings, **options: Any) -> Pool:
    return Pool(
        settings.service_database_url.get_secret_value(),
        wait_seconds=settings.pool_wait_seconds,
        renew_after=settings.pool_renew_after,
        renew_after_workspaces=settings.pool_renew_after_workspaces,
        statement_cache_size=settings.statement_cache_size,
        command_timeout=2 * settings.statement_timeout_ms / 1000,
        **options,
    )


def _pools(settings: Settings) -> list[Pool]:
    """Return the pool of the service's login; in strict mode, that of the workspaces' logins after it."""
    make = partial(_pool, settings)
    if settings.strict_secret is None:
        return [make(size=settings.pool_size)]
    logins = StrictLogins(settings.strict_secret.get_secret_value())
    # The first one only looks keys up, which is quick.
    return [make(size=_small(settings)), make(size=settings.pool_size, login_of=logins.login)]


def _who(caller: Caller) -> dict[str, int]:
    """Return what the log says of a caller: numbers, which name nobody."""
    identity = caller.identity
    return {
        "workspace_id": identity.workspace_id,
        "user_id": identity.user_id,
        "api_key_id": identity.api_key_id,
    }
