from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from warehouse import store


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A prepared connection to an empty warehouse file."""
    with duckdb.connect(tmp_path / "private.duckdb") as connection:
        store.prepare(connection)
        yield connection
