"""Files that are whole or absent, also after a crash: written aside, synced to disk, then renamed."""

import os
from pathlib import Path

UNFINISHED = ".tmp-"
"""Prefix of everything that is not finished. What bears it is rubbish once its writer is gone."""


def unfinished(path: Path) -> Path:
    """The name beside `path` under which it is built."""
    return path.with_name(UNFINISHED + path.name)


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


def write_text(path: Path, text: str) -> None:
    """Replaces a small text file as a whole."""
    aside = unfinished(path)
    aside.write_text(text, encoding="utf-8")
    sync(aside)
    move_into_place(path)


def point_link(link: Path, target: Path) -> None:
    """Moves a symbolic link to a target beside or below it; who follows it sees the old target or the new one."""
    aside = unfinished(link)
    aside.unlink(missing_ok=True)
    aside.symlink_to(target.relative_to(link.parent), target_is_directory=True)
    move_into_place(link)
