"""The assets: raw -> staging -> facts -> marts -> published. Each says what it is and calls one function."""

import dagster as dg

EXTRACTION_RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
