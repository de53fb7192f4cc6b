"""What the clients need is installed at once, while the first of them are tried."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from tests.clients.environments import NotInstalled, node, python


@pytest.fixture(scope="session")
def installing():
    def install(make, *arguments):
        # The tests that need it say why it is not there.
        with suppress(NotInstalled):
            make(*arguments)

    with ThreadPoolExecutor() as pool:
        for wanted in ((node,), (python, "python-sdk-1"), (python, "fastmcp")):
            pool.submit(install, *wanted)
        yield
