"""The application: wiring only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Quart

from migrations.trees import Tree, head
from service import __version__
from service.mcp.dispatch import ServerInfo
from service.mcp.http import install_error_answers, mcp_blueprint
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
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config["BODY_TIMEOUT"] = settings.body_timeout_seconds
    mcp = mcp_blueprint(
        host,
        info=ServerInfo(name="testorchestrator", title="TestOrchestrator", version=__version__),
        instructions=INSTRUCTIONS,
        allowed_origins=settings.allowed_origins,
        allowed_hosts=settings.allowed_hosts,
    )
    app.register_blueprint(mcp)
    install_error_answers(app)

    @app.after_serving
    async def close() -> None:
        await pool.close()

    return app
