"""Files that are whole or absent, also after a crash: written aside, synced to disk, then renamed.

Raw batches may lie on an object store, which takes a file whole or not at all.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from upath import UPath

Location = Path | UPath
"""A file or folder of this machine, or of an object store."""

UNFINISHED = ".tmp-"
"""Prefix of everything that is not finished. What bears it is rubbish once its writer is gone."""


class Unreachable(OSError):
    """The object store does not answer as it should. The message says what to look at."""


def reach(folder: Location) -> None:
    """Tries whether a folder can be listed, if it is on an object store. Raises `Unreachable`."""
    if isinstance(folder, Path):
        return
    try:
        folder.fs.ls(folder.path.partition("/")[0], refresh=True)
    except Exception as error:
        # Each store has errors of its own, which have no class in common.
        raise Unreachable(
            f"{folder} cannot be reached ({type(error).__name__}): does the bucket exist, and are AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and, for a store of another vendor, AWS_ENDPOINT_URL set?"
        ) from error


def found(folder: Location, pattern: str) -> list[Location]:
    """The files and folders below a folder that fit a pattern, by name."""
    paths: list[Location] = list(folder.glob(pattern))
    return sorted(paths, key=str)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unfinished(path: Path) -> Path:
    """The name beside `path` under which it is built."""
    return path.with_name(UNFINISHED + path.name)


def clear_unfinished(folder: Location, within: str = "", before: datetime | None = None) -> None:
    """Removes what killed writers left in a folder, or in folders `within` it (`*/`): all of it, or what was last
    touched before a moment.

    Call it where nobody else writes into the folder, or with a moment before which nobody who still writes began. An
    object store has nothing unfinished.
    """
    for path in folder.glob(f"{within}{UNFINISHED}*") if isinstance(folder, Path) else ():
        # What another writer has given its name in the meantime is not there any more.
        with suppress(FileNotFoundError):
            if before is not None and path.lstat().st_mtime >= before.timestamp():
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def sync(path: Path) -> None:
    """Forces a file's bytes, or a directory's entries, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(directory: Path) -> None:
    """Forces everything under a directory to disk."""
    for path in directory.rglob("*"):
        sync(path)
    sync(directory)


def make_folder(path: Path) -> None:
    """Makes a folder and those above it that are missing; a crash does not take them away again."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync(folder.parent)


def move_into_place(path: Path) -> None:
    """Gives what was built as `unfinished(path)` its name, replacing a file or link of that name at one stroke."""
    unfinished(path).replace(path)
    sync(path.parent)


def write_whole(path: Location, write: Callable[[Path], object]) -> None:
    """Makes or replaces a file by what `write` writes into the local file that it is given."""
    if isinstance(path, Path):
        make_folder(path.parent)
        try:
            write(unfinished(path))
            sync(unfinished(path))
            move_into_place(path)
        except BaseException:
            unfinished(path).unlink(missing_ok=True)
            raise
    else:
        with TemporaryDirectory() as folder:
            aside = Path(folder) / path.name
            write(aside)
            path.fs.put_file(str(aside), path.path)


def write_text(path: Location, text: str) -> None:
    """Replaces a small text file as a whole."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


@contextmanager
def local_copy(path: Location) -> Iterator[Path]:
    """The file itself, or as long as it is needed a copy of it on this machine. FileNotFoundError where it is not."""
    if isinstance(path, Path):
        yield path
    else:
        with TemporaryDirectory() as folder:
            copy = Path(folder) / path.name
            path.fs.get_file(path.path, str(copy))
            yield copy


def point_link(link: Path, target: Path) -> None:
    """Moves a symbolic link to a target beside or below it; who follows it sees the old target or the new one."""
    aside = unfinished(link)
    aside.unlink(missing_ok=True)
    aside.symlink_to(target.relative_to(link.parent), target_is_directory=True)
    move_into_place(link)
