"""Exit code 0 if the service in this container is ready, 1 if not: `python -m service.healthcheck`.

A program of its own because an image has no curl, and in few imports because it runs every few seconds.
"""

from __future__ import annotations

import http.client
import os
import sys

_SECONDS = 4


def is_ready(port: int) -> bool:
    """Return whether the service on this machine's *port* says that it is ready."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(not is_ready(int(os.environ.get("TESTORCHESTRATOR_PORT") or 8520)))
