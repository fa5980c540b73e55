"""What the machine lacks, told in one line with what to do: no disk space, no memory, no right, a damaged file."""

import resource
import shutil
from pathlib import Path
from tempfile import TemporaryFile

_FULL = "the disk is full: free some space and run again"
_SIGNS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("no space left on device", "disk is full", "quota exceeded"), _FULL),
    (("could not set lock on file",), "another run is using the warehouse: wait for its end"),
    (
        ("could not read enough bytes", "not a valid duckdb database", "corrupt database file"),
        "the warehouse file is damaged: rebuild it with `kpis run --from-raw`",
    ),
    (("release.json is damaged",), "what is published cannot be read"),
    (
        ("read-only file system", "permission denied", "readonly database", "unable to open database file"),
        "a file or folder may not be written or read: give the user that runs kpis the right to",
    ),
    (
        (
            "out of memory",
            "failed to allocate",
            "cannot allocate memory",
            "bad_alloc",
            "memoryerror",
            "could not spawn threads",
        ),
        "there is not enough memory: end other programs or give this one more, and run again",
    ),
)
_NEARLY_NOTHING = 4 << 20
"""Bytes; with less free, what SQLite calls an I/O error is a full disk."""

LEAST_ADDRESS_SPACE = 3 << 30
"""Bytes that a run over a handful of accounts reserves on two cores. With 2 GiB, threads that cannot be started leave
the process hanging or crashed without a word."""


def in_plain_words(error: str, folder: Path) -> str | None:
    """What an error's text means for who runs the job, followed by its first line; None where it is something else.

    `folder`: the data folder.
    """
    said = error.strip().splitlines()[0] if error.strip() else ""
    for signs, words in _SIGNS:
        if any(sign in error.lower() for sign in signs):
            return f"{words} ({said})"
    if "disk i/o error" in error.lower():
        full = shutil.disk_usage(folder).free < _NEARLY_NOTHING
        return f"{_FULL if full else 'the disk cannot be read or written: look at it first'} ({said})"
    return None


def refuse_unwritable(folder: Path) -> None:
    """Raises an OSError in plain words where nothing can be written into the data folder, before anything begins."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
    except OSError as error:
        words = in_plain_words(error.strerror or "", folder) or error.strerror
        raise OSError(f"{folder} cannot be written: {words}") from None


def refuse_little_address_space() -> None:
    """Raises an OSError in plain words where a limit (`ulimit -v`) leaves less than the smallest run needs."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE:
        raise OSError(
            f"there is not enough memory: this process may reserve {limit >> 20:,} MiB of addresses and a run needs at "
            f"least {LEAST_ADDRESS_SPACE >> 20:,}: lift the limit (`ulimit -v unlimited`) and run again"
        )
