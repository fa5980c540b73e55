"""A table that grows by whole columns at a time."""

from typing import Any

import numpy as np
import polars as pl


class Log:
    """Collects rows of fixed columns as arrays; one value stands for every row added with it."""

    def __init__(self, **columns: type[np.generic]) -> None:
        self._types = columns
        self._parts: dict[str, list[Any]] = {name: [] for name in columns}

    def add(self, rows: int, **values: Any) -> None:
        """Appends rows; every column must be given, as an array of that many values or as one value for all."""
        if rows == 0:
            return
        for name, dtype in self._types.items():
            self._parts[name].append(np.broadcast_to(np.asarray(values[name]), (rows,)).astype(dtype))

    def frame(self) -> pl.DataFrame:
        """All rows added so far, in order of arrival; the log is empty afterwards."""
        columns = {}
        for name, dtype in self._types.items():
            columns[name] = np.concatenate(self._parts[name]) if self._parts[name] else np.empty(0, dtype)
            self._parts[name] = []
        return pl.DataFrame(columns)
