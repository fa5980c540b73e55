"""A reading process for the tests: reads the published tables over and over until told to stop."""

import json
import sys
from pathlib import Path

import duckdb

from warehouse import publish


def main(published_dir: Path, stop: Path) -> None:
    """Prints the numbers that it saw, by both doors; any error ends it with a traceback."""
    seen: list[int] = []
    served: list[int] = []
    with duckdb.connect(published_dir / "serve.duckdb", read_only=True) as serve:
        print("ready", flush=True)
        while not stop.exists():
            with publish.open_published(published_dir) as con:
                (facts,), (marts,) = (con.sql(f"SELECT n FROM {t}").fetchall()[0] for t in ("facts.one", "marts.one"))
                assert facts == marts, f"torn: {facts} and {marts}"
            seen.append(facts)
            served.append(serve.sql("SELECT n FROM facts.one").fetchall()[0][0])
    print(json.dumps({"seen": seen, "served": served}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
