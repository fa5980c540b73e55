"""Resources: the one door to the private warehouse file, and the options of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any

import duckdb
from dagster import ConfigurableResource, Failure, InitResourceContext
from dagster._utils.backoff import backoff
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from warehouse.store import prepare


class _InUse(Exception):
    """Another process holds the file."""


def _connect(**arguments: Any) -> duckdb.DuckDBPyConnection:
    try:
        return duckdb.connect(**arguments)
    except duckdb.IOException as error:
        if "lock" in str(error):
            raise _InUse(str(error)) from None
        raise


class Warehouse(DuckDBResource):
    """The private warehouse file. Only the pipeline opens it; readers open the published release."""

    _held: duckdb.DuckDBPyConnection | None = PrivateAttr(None)

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A prepared connection that is closed whatever happens."""
        if self._held is None:
            self._held = self._open()
        # What an earlier step read would stay in memory beside what the next one needs.
        self._held.execute("SET memory_limit = '64MB'")
        con = self._held.cursor()
        try:
            prepare(con)
            yield con
        finally:
            con.close()

    def _open(self) -> duckdb.DuckDBPyConnection:
        """Waits some 25 seconds for another run to end; what else is wrong with the file no waiting mends."""
        try:
            con: duckdb.DuckDBPyConnection = backoff(
                fn=_connect,
                retry_on=(_InUse,),
                kwargs={"database": self.database, "config": self.connection_config},
                max_retries=8,
            )
        except (_InUse, duckdb.Error) as error:
            raise Failure(str(error), allow_retries=False) from error
        return con

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Closes the file, which stays open from step to step: to open it costs as much as many a step does."""
        if self._held is not None:
            self._held.close()
            self._held = None


class RunOptions(ConfigurableResource[None]):
    """What a run may be told: run config `resources.run_options.config`."""

    as_of: str | None = None
    """Last day that the run knows of, YYYY-MM-DD; yesterday in the reporting time zone where absent."""

    full: bool = False
    """Rebuild every account instead of the changed ones."""

    @property
    def day(self) -> date | None:
        """The `as_of` as a date."""
        return date.fromisoformat(self.as_of) if self.as_of else None
