"""Every KPI rule, as pure Polars: frames in, frames out. No I/O, no clock, no Dagster, no DuckDB."""
