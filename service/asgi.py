"""The application for any server of ASGI: `uvicorn --factory service.asgi:create`, `hypercorn "service.asgi:create()"`.

`testorchestrator serve` does more: it knows workers, drains, and sets the server's limits as the settings have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migrations.trees import Tree, head
from service import __version__
from service.app import create_app
from service.logs import configure_logging
from service.metrics import Metrics, serving_metrics
from service.server import check_database, listening_for_metrics
from service.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from quart import Quart


def create() -> Quart:
    """Return the application over the settings of the environment; it does not start on a database it cannot serve."""
    settings = read_settings()
    configure_logging(form=settings.log_format, level=settings.log_level)
    port = settings.metrics_port
    metrics = None if port is None else Metrics(version=__version__, schema_version=head(Tree.WORKSPACE))
    app = create_app(settings, metrics=metrics)

    @app.before_serving
    async def check() -> None:
        await check_database(settings)

    if port is not None and metrics is not None:
        registry = metrics.registry

        @app.while_serving
        async def tell() -> AsyncGenerator[None, None]:
            with listening_for_metrics(settings.metrics_host, port) as telling, serving_metrics(registry, telling):
                yield

    return app
