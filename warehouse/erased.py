"""Who was erased: salted hashes in `raw/erased/people.json`, so that no source brings anybody back."""

import hashlib
import json
import re
import secrets
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from warehouse import files
from warehouse.files import Location

Kind = Literal["address", "id", "customer"]
"""What somebody was erased by: an address, counted wherever it stands; the id of a respondent or user; or an id that
accounts go by, which stays, while all else in its rows goes."""

_LOCAL = r"[\w.+%!#$&'*/=?^`{|}~-]+"
_ADDRESS = re.compile(rf"{_LOCAL}@[\w-]+(?:\.[\w-]+)+")
_MARKS = re.compile(r"[!#$&'*/=?^`{|}~]")
"""What may be part of an address, and may as well stand before one."""
_NAMED = re.compile(r"[^@<>]*<([^<>\s]+)>")
_LETTERS = "abcdefghijklmnop"


@dataclass(frozen=True)
class Erased:
    """The people that are erased. `is_unfinished`: an erasure was broken off, and no source may be read.

    `batches`: the id that a batch landed under, by source, table and the id of what is left of it.
    """

    salt: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    people: Mapping[str, Kind] = field(default_factory=dict)
    batches: Mapping[str, str] = field(default_factory=dict)
    is_unfinished: bool = False

    def with_person(self, person: str, kind: Kind) -> "Erased":
        """The same people and one more."""
        return replace(self, people={**self.people, self._digest(_normal(person)): kind})

    def kind(self, text: str) -> Kind | None:
        """What the text was erased as, whatever the case of its letters; None for everybody else."""
        return self.people.get(self._digest(_normal(text)))

    def pseudonym(self, text: str) -> str:
        """What stands in place of an id or an address. The same for the same text; the domain of an address stays.

        Texts alike but for the case of letters get pseudonyms alike but for that, so that they join as before.
        """
        text = text.strip()
        name = [_LETTERS[int(digit, 16)] for digit in self._digest(_normal(text))[:16]]
        if text != _normal(text):
            capitals = int(self._digest(f"case of {text}")[:4], 16)
            name = [letter.upper() if capitals >> at & 1 else letter for at, letter in enumerate(name)]
        _, at, domain = text.rpartition("@")
        return f"erased-{''.join(name)}{at}{domain if at else ''}"

    def without_addresses(self, text: str) -> str:
        """The text with a pseudonym for every address of an erased person in it."""
        return _ADDRESS.sub(lambda match: self._address(match[0]), text) if "@" in text else text

    def told(self, text: str, *, of_person: bool, of_account: bool) -> tuple[str, bool]:
        """What is left of a cell, and whether it says that its row is about an erased person.

        `of_person`, `of_account`: the column holds ids or addresses of people, or of accounts.
        """
        if "@" in text:
            left = self.without_addresses(text)
            named = _NAMED.fullmatch(text.strip())
            is_whole = self.kind(named[1] if named else text) == "address"
            return left, left != text and (of_person or of_account or is_whole)
        kind = self.kind(text) if of_person or of_account else None
        if kind == "id" and of_person:
            return self.pseudonym(text), True
        return text, kind == "customer"

    def _address(self, found: str) -> str:
        starts = [0, *(mark.end() for mark in _MARKS.finditer(found.partition("@")[0]))]
        for start in starts:
            if self.kind(found[start:]) == "address":
                return found[:start] + self.pseudonym(found[start:])
        return found

    def _digest(self, text: str) -> str:
        return hashlib.blake2b(text.encode(), key=bytes.fromhex(self.salt), digest_size=16).hexdigest()


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip().casefold())


def list_path(raw_dir: Location) -> Location:
    """Where the list of a data folder lies."""
    return raw_dir / "erased" / "people.json"


def load(raw_dir: Location) -> Erased:
    """The people erased from a data folder; nobody where there is no list."""
    path = list_path(raw_dir)
    return Erased(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Erased()


def save(raw_dir: Location, erased: Erased) -> None:
    """Replaces the list as a whole. Only its owner may read it: whoever has it can try names and addresses."""
    path = list_path(raw_dir)
    if isinstance(path, Path):
        files.make_folder(path.parent)
        files.unfinished(path).touch(mode=0o600)
    files.write_text(path, json.dumps(vars(erased), indent=1))
