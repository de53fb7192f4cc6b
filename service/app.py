"""The application: wiring only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart

from migrations.trees import Tree, head
from service import __version__
from service.mcp.dispatch import ServerInfo
from service.mcp.http import Endpoint, install_error_answers
from service.tools.catalog import INSTRUCTIONS, TOOLS
from service.tools.host import ToolHost
from tenancy.pool import Pool
from tenancy.session import Gateway

if TYPE_CHECKING:
    from service.settings import Settings


def create_app(settings: Settings) -> Quart:
    """Return the application over the database of *settings*."""
    pool = Pool(
        settings.service_database_url.get_secret_value(),
        size=settings.pool_size,
        wait_seconds=settings.pool_wait_seconds,
        renew_after=settings.pool_renew_after,
        statement_cache_size=settings.statement_cache_size,
    )
    gateway = Gateway(
        pool, statement_timeout_ms=settings.statement_timeout_ms, lock_timeout_ms=settings.lock_timeout_ms
    )
    host = ToolHost(gateway, TOOLS, schema_versions=frozenset({head(Tree.WORKSPACE)}))
    app = Quart("service", static_folder=None)
    install_error_answers(app)
    # Quart's own way to put something in front.
    app.asgi_app = Endpoint(  # type: ignore[method-assign]
        host,
        app.asgi_app,
        info=ServerInfo(name="testorchestrator", title="TestOrchestrator", version=__version__),
        instructions=INSTRUCTIONS,
        allowed_origins=settings.allowed_origins,
        allowed_hosts=settings.allowed_hosts,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_seconds=settings.body_timeout_seconds,
    )

    @app.after_serving
    async def close() -> None:
        await pool.close()

    return app
