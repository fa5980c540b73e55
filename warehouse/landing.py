"""Raw batches: the rows of a source as they came, one Parquet file per batch, written once.

Nothing but the erasing of a person ever changes a batch.
"""

import polars as pl

from warehouse import files, names
from warehouse.files import Location
from warehouse.hashing import frame_hash


class DamagedBatch(OSError):
    """A raw batch that cannot be read any more."""


def raw_path(raw_dir: Location, source: str, table: str, batch_id: str) -> Location:
    """Where a batch of a source's table lies."""
    return raw_dir / names.file_name(source) / names.file_name(table) / f"{names.file_name(batch_id)}.parquet"


def land_raw(raw_dir: Location, source: str, table: str, batch_id: str, frame: pl.DataFrame) -> Location:
    """Writes a batch; it is whole or absent, also after a crash. Landing the same rows again changes nothing, but for a
    file that cannot be read any more: it is written anew.

    FileExistsError where the batch exists with other rows.
    """
    path = raw_path(raw_dir, source, table, batch_id)
    landed = _landed(path)
    if landed is None:
        write_rows(path, frame)
    elif not landed.equals(frame) and frame_hash(landed) != frame_hash(frame):
        raise FileExistsError(
            f"batch {batch_id} of {source}/{table} has landed with other rows: its file is damaged, or the id was used "
            f"twice. Delete {path} and run again"
        )
    return path


def read_raw_batch(raw_dir: Location, source: str, table: str, batch_id: str) -> pl.DataFrame:
    """The rows of a landed batch, in their order. FileNotFoundError where it never landed; `DamagedBatch`."""
    return read_rows(raw_path(raw_dir, source, table, batch_id))


def read_rows(path: Location) -> pl.DataFrame:
    """The rows of a batch's file, in their order. FileNotFoundError where it is gone; `DamagedBatch`."""
    with files.local_copy(path) as copy:
        try:
            return pl.read_parquet(copy)
        except pl.exceptions.PolarsError:
            raise damaged(path) from None


def write_rows(path: Location, frame: pl.DataFrame, metadata: dict[str, str] | None = None) -> None:
    """Writes rows, with notes if given, in place of the file."""
    files.write_whole(path, lambda aside: frame.write_parquet(aside, compression="zstd", metadata=metadata))


def damaged(path: Location) -> DamagedBatch:
    """The error that says so of a file under `raw/`."""
    return DamagedBatch(
        f"{path} is damaged: restore the folder raw/ from a backup. While the warehouse file is whole and the source "
        "still has these rows, `kpis run` lands them anew"
    )


def _landed(path: Location) -> pl.DataFrame | None:
    """The rows of a batch; None where there is no such file, or one that cannot be read."""
    try:
        return read_rows(path) if path.exists() else None
    except DamagedBatch:
        return None
