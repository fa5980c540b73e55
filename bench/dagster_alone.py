"""What Dagster costs by itself: its import, and a job of 19 steps that do nothing, in one process.

`python -m bench.dagster_alone` prints one JSON object: CPU seconds of each.
"""

import json
import tempfile
import time

import dagster as dg

STEPS = 19
_QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


def main() -> None:
    """Runs the job."""
    imported = time.process_time()
    with tempfile.TemporaryDirectory() as home, dg.DagsterInstance.local_temp(home) as instance:
        dg.materialize([_step(number) for number in range(STEPS)], instance=instance, run_config=_QUIET)
    print(json.dumps({"import": imported, "steps": time.process_time() - imported}))


def _step(number: int) -> dg.AssetsDefinition:
    @dg.asset(name=f"step_{number}", deps=[f"step_{number - 1}"] if number else [])
    def nothing() -> None:
        """Each after the one before."""

    return nothing


if __name__ == "__main__":
    main()
