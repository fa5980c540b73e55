"""Which APIs can be read, and how their lists are asked for: one file each in `apis/`, in dlt's terms."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

FOLDER = Path(__file__).parent / "apis"


@dataclass(frozen=True)
class Since:
    """The parameter by which a list gives only what changed, and the field of an object that it goes by.

    `overlap`: seconds that are asked for again, where the field counts seconds.
    """

    param: str
    field: str
    overlap: int = 0


@dataclass(frozen=True, eq=False)
class Resource:
    """One list of an API.

    `rows`: where a page holds the objects (`$`: it is a list of them); `object`: their kind as events name it; `total`:
    where the first page says how many objects there are; `tables`: canonical tables with their format;
    `first_page_only`: parameters that may not stand beside the paginator's own.
    """

    name: str
    path: str
    rows: str
    params: dict[str, Any]
    tables: dict[str, str]
    id: str = "id"
    object: str | None = None
    total: str | None = None
    first_page_only: tuple[str, ...] = ()
    since: Since | None = None


@dataclass(frozen=True)
class Api:
    """One API. `paginator`: as dlt's rest_api writes it; `events`: path of the list that tells which objects changed.

    `parameters`: what a user must write, with its meaning; they stand in braces in addresses. `about`: the comment at
    the head of the file.
    """

    title: str
    about: str
    base_url: str
    auth: Literal["bearer", "basic"]
    paginator: dict[str, Any]
    resources: tuple[Resource, ...]
    parameters: dict[str, str] = field(default_factory=dict)
    events: str | None = None

    @property
    def tables(self) -> dict[str, Resource]:
        """The list behind each canonical table."""
        return {table: resource for resource in self.resources for table in resource.tables}


@cache
def names() -> tuple[str, ...]:
    """The names of all APIs, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


@cache
def load(name: str) -> Api:
    """One API of `names`."""
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    content = yaml.safe_load(text)
    resources = tuple(
        Resource(name=key, **{**spec, "since": Since(**spec["since"]) if "since" in spec else None})
        for key, spec in content.pop("resources").items()
    )
    return Api(title=comment[0], about=" ".join(comment[1:]).strip(), resources=resources, **content)
