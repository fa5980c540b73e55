"""Names and texts inside SQL: the few things that DuckDB does not take as parameters."""

import re

_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def column(name: str) -> str:
    """A column name, checked and quoted. ValueError where it is not lower-case letters, digits and underscores."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no column name: use lower-case letters, digits and underscores")
    return f'"{name}"'


def columns(names: list[str] | tuple[str, ...], of: str = "") -> str:
    """Checked and quoted column names, separated by commas, each as a column of the alias `of` if given."""
    prefix = f"{of}." if of else ""
    return ", ".join(prefix + column(name) for name in names)


def split(name: str) -> tuple[str, str]:
    """Schema and table of a name such as `facts.mrr_ledger`. ValueError for anything else."""
    schema, dot, table = name.partition(".")
    if not (dot and _NAME.fullmatch(schema) and _NAME.fullmatch(table)):
        raise ValueError(f"{name!r} is no table name: write schema.table in lower-case letters, digits, underscores")
    return schema, table


def relation(name: str) -> str:
    """A table name such as `facts.mrr_ledger`, checked and quoted."""
    schema, table = split(name)
    return f'"{schema}"."{table}"'


def quoted(name: str) -> str:
    """Any name, quoted: for those that somebody else has chosen."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as an SQL literal, for COMMENT and COPY, which take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def file_name(name: str) -> str:
    """A name that becomes part of a path, checked: it can neither hide nor leave its directory."""
    if not _FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no file name: use letters, digits, `_`, `-` and `.`, not first a dot")
    return name
