"""A folder with a sources.yaml and files, taken through the real path: configuration, reading, mapping, contract."""

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from pipelines.config import FilesSource, FileTable, TableMapping, load_settings
from pipelines.sources.files import RawTable, read_raw
from pipelines.sources.mapping import to_canonical
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, Split, split

Files = dict[str, str | bytes]


def fate_of(raw: RawTable, spec: TableMapping) -> Split:
    """The fate of every row after mapping and contract; superseded rows have their provenance alone."""
    mapped = to_canonical(raw, spec, CONTRACTS[raw.table])
    result = split(CONTRACTS[raw.table], mapped.frame)
    return Split(
        accepted=result.accepted,
        quarantined=pl.concat([mapped.rejected, result.quarantined]),
        superseded=pl.concat([rows.select(PROVENANCE.keys()) for rows in (mapped.superseded, result.superseded)]),
    )


@pytest.fixture
def fate() -> Callable[[RawTable, TableMapping], Split]:
    """`fate_of`, for tests that read their own files."""
    return fate_of


@pytest.fixture
def mapping(tmp_path: Path) -> Callable[[str, Files], tuple[str, FileTable]]:
    """Writes files and the `tables` part of a sources.yaml; returns name and mapping of the only table."""

    def write(tables: str, files: Files) -> tuple[str, FileTable]:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        indented = "\n".join(" " * 6 + line for line in tables.strip("\n").splitlines())
        (tmp_path / "sources.yaml").write_text(f"sources:\n  shop:\n    kind: files\n    tables:\n{indented}\n")
        source = load_settings(tmp_path).sources.sources["shop"]
        assert isinstance(source, FilesSource)
        return next(iter(source.tables.items()))

    return write


@pytest.fixture
def read(mapping: Callable[[str, Files], tuple[str, FileTable]], tmp_path: Path) -> Callable[[str, Files], RawTable]:
    """The raw rows of the only table."""

    def run(tables: str, files: Files) -> RawTable:
        name, spec = mapping(tables, files)
        return read_raw("shop", name, spec, tmp_path)

    return run


@pytest.fixture
def stage(mapping: Callable[[str, Files], tuple[str, FileTable]], tmp_path: Path) -> Callable[[str, Files], Split]:
    """The fate of every row of the only table."""

    def run(tables: str, files: Files) -> Split:
        name, spec = mapping(tables, files)
        return fate_of(read_raw("shop", name, spec, tmp_path), spec)

    return run
