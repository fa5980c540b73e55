"""Raw batches: the rows of a source as they came, one Parquet file per batch, written once.

Nothing but the erasing of a person ever changes a batch.
"""

import polars as pl

from warehouse import files, names
from warehouse.files import Location
from warehouse.hashing import frame_hash


def raw_path(raw_dir: Location, source: str, table: str, batch_id: str) -> Location:
    """Where a batch of a source's table lies."""
    return raw_dir / names.file_name(source) / names.file_name(table) / f"{names.file_name(batch_id)}.parquet"


def land_raw(raw_dir: Location, source: str, table: str, batch_id: str, frame: pl.DataFrame) -> Location:
    """Writes a batch; it is whole or absent, also after a crash. Landing the same rows again changes nothing.

    FileExistsError where the batch exists with other rows.
    """
    path = raw_path(raw_dir, source, table, batch_id)
    if not path.exists():
        write_rows(path, frame)
    elif frame_hash(read_rows(path)) != frame_hash(frame):
        raise FileExistsError(f"batch {batch_id} of {source}/{table} has landed with other rows: take a new batch id")
    return path


def read_raw_batch(raw_dir: Location, source: str, table: str, batch_id: str) -> pl.DataFrame:
    """The rows of a landed batch, in their order. FileNotFoundError where it never landed."""
    return read_rows(raw_path(raw_dir, source, table, batch_id))


def read_rows(path: Location) -> pl.DataFrame:
    """The rows of a batch's file, in their order. FileNotFoundError where it is gone."""
    with files.local_copy(path) as copy:
        return pl.read_parquet(copy)


def write_rows(path: Location, frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> None:
    """Writes rows, with notes if given, in place of the file."""
    files.write_whole(path, lambda aside: frame.write_parquet(aside, compression="zstd", metadata=metadata))
