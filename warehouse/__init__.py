"""The DuckDB store: raw batches, staging with history, tables, and atomic publication. No KPI rules, no Dagster."""
