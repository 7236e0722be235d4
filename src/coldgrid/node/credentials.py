"""Credentials of gateways: files of this host's own, never in the log."""

from __future__ import annotations

from pathlib import Path

import yaml

from coldgrid.adapters.driving import CannotBuild, Secret
from coldgrid.kernel.settings import Settings

BYTES_MAX = 64 * 1024


def credentials_folder(settings: Settings) -> Path:
    """Return the folder of the gateways' credentials: `credentials` beside the signing key, or as set."""
    return Path(settings.credentials or Path(settings.signing_key).parent / "credentials")


def read_secret(path: Path) -> Secret:
    """Read a file of credentials: YAML, a name and a text in each line.

    Raises:
        CannotBuild: there is no such file, others may read it, or it is no such YAML.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise CannotBuild(f"others may read {path}: chmod 600 {path}")
        text = path.read_bytes()
    except FileNotFoundError:
        raise CannotBuild(f"there is no file of credentials {path}: write it, and chmod 600 {path}") from None
    except OSError as error:
        raise CannotBuild(f"the file of credentials {path} cannot be read: {error.strerror}") from error
    if len(text) > BYTES_MAX:
        raise CannotBuild(f"{path} is too long for credentials")
    try:
        told = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise CannotBuild(f"{path} is no YAML: write a line for each, such as `user: coldgrid`") from None
    if not isinstance(told, dict) or not all(
        isinstance(name, str) and isinstance(value, str | int) for name, value in told.items()
    ):
        raise CannotBuild(f"{path} must hold names and texts, such as `user: coldgrid`")
    return Secret({name: str(value) for name, value in told.items()})
