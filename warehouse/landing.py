"""Raw batches: the rows of a source as they came, one Parquet file per batch, written once.

Nothing but the erasing of a person ever changes a batch.
"""

from pathlib import Path

import polars as pl

from warehouse import files, names
from warehouse.hashing import frame_hash


def raw_path(raw_dir: Path, source: str, table: str, batch_id: str) -> Path:
    """Where a batch of a source's table lies."""
    return raw_dir / names.file_name(source) / names.file_name(table) / f"{names.file_name(batch_id)}.parquet"


def land_raw(raw_dir: Path, source: str, table: str, batch_id: str, frame: pl.DataFrame) -> Path:
    """Writes a batch; it is whole or absent, also after a crash. Landing the same rows again changes nothing.

    FileExistsError where the batch exists with other rows.
    """
    path = raw_path(raw_dir, source, table, batch_id)
    if path.exists():
        if frame_hash(pl.read_parquet(path)) != frame_hash(frame):
            raise FileExistsError(
                f"batch {batch_id} of {source}/{table} has landed with other rows: take a new batch id"
            )
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = files.unfinished(path)
    frame.write_parquet(aside, compression="zstd")
    files.sync(aside)
    files.move_into_place(path)
    return path


def read_raw_batch(raw_dir: Path, source: str, table: str, batch_id: str) -> pl.DataFrame:
    """The rows of a landed batch, in their order. FileNotFoundError where it never landed."""
    return pl.read_parquet(raw_path(raw_dir, source, table, batch_id))
