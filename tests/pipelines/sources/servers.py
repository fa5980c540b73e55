"""What the tests need to start a database server of their own."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.config import DatabaseSource, load_settings


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def home_of_server(name: str) -> Iterator[tuple[Path, str | None]]:
    """A folder, and the user to run the server as; None for the present one: servers refuse to run as root."""
    home = Path(tempfile.mkdtemp(prefix=f"kpis-{name}-"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(home, user)
    try:
        yield home, user
    finally:
        shutil.rmtree(home)


def config(folder: Path, tables: str, more: str = "") -> DatabaseSource:
    """A source `shop` as sources.yaml describes it, its address in SHOP_DB."""
    text = f"sources:\n  shop:\n    kind: database\n    uri_env: SHOP_DB\n{more}    tables:\n{tables}"
    (folder / "sources.yaml").write_text(text)
    source = load_settings(folder).sources.sources["shop"]
    assert isinstance(source, DatabaseSource)
    return source
