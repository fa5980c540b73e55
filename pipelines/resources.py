"""Resources: the one door to the private warehouse file, and the options of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import duckdb
from dagster import ConfigurableResource
from dagster._utils.backoff import backoff
from dagster_duckdb import DuckDBResource

from warehouse.store import prepare


class Warehouse(DuckDBResource):
    """The private warehouse file. Only the pipeline opens it; readers open the published release."""

    @contextmanager
    def get_connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A prepared connection that is closed whatever happens, so that no lock outlives a failed step."""
        con = backoff(
            fn=duckdb.connect,
            retry_on=(duckdb.IOException,),
            kwargs={"database": self.database, "config": self.connection_config},
            max_retries=8,
        )
        try:
            prepare(con)
            yield con
        finally:
            con.close()


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
