"""Settings from files: NAME_FILE holds the path of a file with the value of NAME, as containers are given secrets."""

from __future__ import annotations

import os
from pathlib import Path

from service.errors import SettingsError

_SUFFIX = "_FILE"


def read_secret_files() -> None:
    """Set DATABASE_URL, SERVICE_DATABASE_URL and TESTORCHESTRATOR_… from the files that are named for them."""
    for variable in list(os.environ):
        name = variable.removesuffix(_SUFFIX)
        if name == variable or not (name.endswith("DATABASE_URL") or name.startswith("TESTORCHESTRATOR_")):
            continue
        if path := os.environ.pop(variable):
            if os.environ.get(name):
                raise SettingsError(f"Both {name} and {variable} are set: leave one of them out.")
            try:
                os.environ[name] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise SettingsError(f"{variable}: {path}: {error.strerror}.") from error
            except ValueError as error:
                raise SettingsError(f"{variable}: {path} does not hold one line of text.") from error
