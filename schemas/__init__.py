"""The promise to both sides: source contracts, published tables, policy and KPI catalogue. No I/O, no Dagster."""
