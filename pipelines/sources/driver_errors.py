"""What drivers of databases say, and what we say of it: their own words may hold addresses, passwords and values."""

import re

from schemas.validation import SourceError, SourceUnavailable


class DatabaseError(SourceError):
    """A database that cannot be read as configured. The message has neither its address nor its values."""


class UnreadableAddress(Exception):
    """An address that leads to no database, for a reason that may be shown: it holds nothing of the address."""


REFUSED = "42000"
"""The SQLSTATE of a statement that is refused for a reason that its driver does not number."""


class DriverError(Exception):
    """An error of a driver: its SQLSTATE as PostgreSQL has it, or without one its words, which nobody may see."""

    def __init__(self, sqlstate: str | None, words: str = "") -> None:
        super().__init__(words)
        self.sqlstate = sqlstate or ""


NAME_EACH = "Give each a name of its own: SELECT a.id AS account_id, b.id AS bill_id"

_ADVICE = {
    "42P01": "the database has no such table{named}. Write its schema too, in the case of letters that it has there",
    "42703": "the query names a column that is not there{named}. Correct `query`",
    "42701": f"the query gives several columns of one name. {NAME_EACH}",
    "42501": "the user of the database may not read it. Grant SELECT on what is read to that user",
    "42601": "`query` is not one SELECT. Write a single SELECT without comments after it; nothing else is run",
    "25006": "`query` tries to write, and a source is only ever read. Take that out of the query",
    "22021": "a text of the database is not UTF-8. Correct it there, or take the column out of a `query`",
    "57014": "the reading was stopped after {seconds} seconds. Read less (`incremental`, an index on its cursor, a "
    "narrower `query`), or raise `timeout_seconds`",
    "28000": "the database refused the user or the password. Correct {variable}",
    "3D000": "the server has no database of that name. Correct {variable}",
}
_MAY_PASS = ("08", "40", "53", "57P", "58")
"""SQLSTATE classes of what another try may mend: connection, conflict, resources, shutdown, system."""
_IN_WORDS: tuple[tuple[str, str], ...] = (
    ("authentication failed|no password supplied|role .* does not exist|[Ll]ogin failed", "28000"),
    ("database .* does not exist", "3D000"),
    ("no such table|Table with name|table or view does not exist|Not found: Table|Invalid object name", "42P01"),
    ("no such column|Binder Error|invalid identifier|Invalid column name", "42703"),
    ("syntax error|Parser Error|incomplete input|unrecognized token", "42601"),
    ("attempt to write a readonly", "25006"),
    ("Could not decode to UTF-8", "22021"),
    ("no such function|ambiguous column|misuse of|wrong number of arguments", REFUSED),
)
"""Pattern of the words of a driver that gives no SQLSTATE, and the SQLSTATE that it means."""
_OF_ADDRESS: tuple[tuple[str, type[SourceError], str], ...] = (
    (
        "refused|translate host name|timeout|timed out|No route|starting up|shutting down|too many|can't connect|"
        "Can't create a connection|Name or service not known",
        SourceUnavailable,
        "no database answers at the address in {variable}. Does it run, and can it be reached from here?",
    ),
    (
        "Failed to connect|failed to open|unable to open|Cannot open file|file is not a database|malformed",
        DatabaseError,
        "the address in {variable} does not work. Correct it",
    ),
)


def problem(place: str, variable: str, seconds: int, error: DriverError) -> SourceError:
    """What to say of an error of a driver, and whether another try may mend it."""
    text, sqlstate = str(error), error.sqlstate
    if sqlstate in ("", REFUSED):
        sqlstate = next((meant for pattern, meant in _IN_WORDS if re.search(pattern, text)), sqlstate)
    sqlstate = "28000" if sqlstate.startswith("28") else sqlstate
    if sqlstate in _ADVICE:
        names = re.search(r'(?:relation|column) "([^"]*)"', text)
        named = f": {names[1]}" if names else ""
        return DatabaseError(f"{place}: {_ADVICE[sqlstate].format(named=named, seconds=seconds, variable=variable)}")
    if sqlstate.startswith(_MAY_PASS):
        return SourceUnavailable(f"{place}: the database broke off (SQLSTATE {sqlstate}). Try again later")
    if sqlstate:
        return DatabaseError(f"{place}: the database refused the query (SQLSTATE {sqlstate}). Correct it")
    for pattern, kind, advice in _OF_ADDRESS:
        if re.search(pattern, text):
            return kind(f"{place}: {advice.format(variable=variable)}")
    return SourceUnavailable(f"{place}: the database broke off. Try again later")
