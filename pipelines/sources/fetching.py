"""Objects of APIs, kept by id between runs, so that a run asks only for what changed.

A source's objects lie beside its raw batches, one Parquet file per list, replaced as a whole. The rows that land are
made of all of them: a run sees every object that is there, and one that is gone shows by its absence.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl

from pipelines.config import ApiSource
from pipelines.sources import known_apis, ready_made, redaction
from pipelines.sources.api_client import ApiClient, ApiError
from pipelines.sources.documents import as_rows, parsed
from pipelines.sources.files import RawTable, with_lacking
from pipelines.sources.headers import bind
from pipelines.sources.known_apis import Resource
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE, SourceUnavailable, with_provenance
from warehouse import files
from warehouse.erased import Erased
from warehouse.files import Location
from warehouse.landing import write_rows

FULL_LIST_DAYS = 7
"""So often everything is listed anew: it heals what events and filters missed, and shows what was deleted."""
EVENTS_SECONDS = 25 * 86_400
"""A gap that events cover for sure: Stripe keeps them for 30 days."""

Objects = dict[str, str]
"""The JSON of each object, by its id."""


@dataclass(frozen=True)
class Kept:
    """What is known of a list: its objects, the day of its last full listing, how far events were read (epoch)."""

    objects: Objects
    listed_on: date
    events_until: int = 0


def read_api(
    source: str, spec: ApiSource, folder: Location, day: date, *, full: bool = False, erased: Erased | None = None
) -> dict[str, RawTable]:
    """The rows of every table, made of the objects kept in `folder` after they were brought up to date.

    `day`: the day of the run; `full`: everything is listed anew; nothing of `erased` people is kept.
    Raises `ApiError` for what the configuration or the key must mend, `SourceUnavailable` for what may pass; what was
    kept before then stays as it is.
    """
    client = ApiClient(source, spec)
    former = {resource: _load(folder / f"{resource.name}.parquet") for resource in _resources(spec)}
    kept = _by_events(client, former, day, full) if client.api.events else _by_lists(client, former, day, full)
    if erased and erased.people:
        kept = {resource: _without(one, source, spec, resource, erased) for resource, one in kept.items()}
    for resource, one in kept.items():
        _save(folder / f"{resource.name}.parquet", one)
    return _rows(source, spec, {resource: one.objects for resource, one in kept.items()})


def erase_objects(source: str, spec: ApiSource | None, folder: Location, erased: Erased, *, dry_run: bool) -> int:
    """Takes erased people out of the objects that are kept of an API; how many objects they were in.

    Without `spec` nothing is known of what is read: all else in the objects of a person goes too.
    """
    known = {resource.name: resource for resource in (_resources(spec) if spec else ())}
    count = 0
    for path in files.found(folder, "*.parquet"):
        if path.name.startswith(files.UNFINISHED) or (before := _load(path)) is None:
            continue
        after = _without(before, source, spec, known.get(path.stem), erased)
        count += sum(body != before.objects[identifier] for identifier, body in after.objects.items())
        if after != before and not dry_run:
            _save(path, after)
    return count


def _without(one: Kept, source: str, spec: ApiSource | None, resource: Resource | None, erased: Erased) -> Kept:
    plans: list[tuple[str | None, redaction.Plan]] = []
    fields = {"id", "object"}
    if spec and resource:
        fields |= {resource.id} | ({resource.since.field} if resource.since else set())
        for table, raw in _rows(source, spec, {resource: one.objects}).items():
            mapping = spec.tables[table]
            plans.append((mapping.read.explode, redaction.plan_of(table, spec, raw.frame.columns)))
    return replace(one, objects=redaction.redacted_objects(one.objects, plans, erased, fields))


def first_page(source: str, spec: ApiSource) -> dict[str, RawTable]:
    """The rows of the first page of each list, for a look at them. Errors as `read_api`."""
    client = ApiClient(source, spec)
    return _rows(source, spec, {resource: _listed(client, resource, pages=1) for resource in _resources(spec)})


def _resources(spec: ApiSource) -> list[Resource]:
    """The lists that fill the tables of the source."""
    return [resource for resource in known_apis.load(spec.api).resources if set(resource.tables) & set(spec.tables)]


def _rows(source: str, spec: ApiSource, objects: Mapping[Resource, Objects]) -> dict[str, RawTable]:
    raws = {}
    for resource, bodies in objects.items():
        for table in resource.tables.keys() & spec.tables.keys():
            mapping, place = spec.tables[table], f"source {source}, table {table}"
            frame = pl.DataFrame(schema=PROVENANCE)
            if bodies:
                documents = (parsed(body) for _, body in sorted(bodies.items()))
                cells = as_rows(documents, mapping.read, place)
                # Keys that no object has are left out by JSON, or by the vendor: their columns are blank.
                keys = (*mapping.read.may_lack, *ready_made.headers(resource.tables[table], table))
                cells = with_lacking(cells, keys)
                bind(mapping, CONTRACTS[table], [*cells.columns, *mapping.let], place)
                frame = with_provenance(cells, source, resource.name)
            raws[table] = RawTable(source, table, frame)
    return raws


def _by_lists(client: ApiClient, former: Mapping[Resource, Kept | None], day: date, full: bool) -> dict[Resource, Kept]:
    """Each list as it is now: what changed since, where the API can tell, else and from time to time all of it.

    Nothing depends on the server heeding the filter: objects that did not change replace themselves.
    """
    kept = {}
    for resource, before in former.items():
        since = _since(resource, before) if before and not full and not _is_due(before, day) else {}
        if before and since:
            kept[resource] = Kept(before.objects | _listed(client, resource, since), before.listed_on)
        else:
            kept[resource] = Kept(_all(client, resource, before, full), day)
    return kept


def _by_events(
    client: ApiClient, former: Mapping[Resource, Kept | None], day: date, full: bool
) -> dict[Resource, Kept]:
    """All lists as they are now: the objects that events name are fetched again, from time to time all of them.

    Events are read from the last known one on: what happens while a list is read is told by the next run.
    """
    newest = max((event["created"] for event in _events(client, 0, pages=1)), default=0)
    known = {resource: one for resource, one in former.items() if one and not full and not _is_due(one, day)}
    if len(known) < len(former) or any(newest - one.events_until > EVENTS_SECONDS for one in known.values()):
        return {resource: Kept(_all(client, resource, one, full), day, newest) for resource, one in former.items()}
    events = _events(client, min(one.events_until for one in known.values()))
    newest = max((event["created"] for event in events), default=newest)
    named = {(event["data"]["object"]["object"], event["data"]["object"].get("id")) for event in events}
    kept = {}
    for resource, one in known.items():
        objects = dict(one.objects)
        for identifier in sorted(id_ for kind, id_ in named if kind == resource.object and id_):
            item = client.object(resource, identifier)
            if item is None:
                objects.pop(identifier, None)
            else:
                objects[identifier] = _json(_complete(client, resource, item))
        kept[resource] = Kept(objects, one.listed_on, newest)
    return kept


def _events(client: ApiClient, since: int, pages: int | None = None) -> list[dict[str, Any]]:
    """The events from an instant on, whatever the server makes of the filter."""
    resource = Resource("events", client.api.events or "", "data", {"limit": 100, "created[gte]": since}, {})
    events = map(json.loads, _listed(client, resource, pages=pages).values())
    return [event for event in events if event["created"] >= since]


def _all(client: ApiClient, resource: Resource, before: Kept | None, full: bool) -> Objects:
    objects = _listed(client, resource)
    if before and before.objects and not objects and not full:
        raise ApiError(
            f"{client.place(resource)}: the list is empty, and had {len(before.objects):,} objects before. Is the key "
            f"in {client.spec.token_env} that of another account? If all are really gone, run once with --full"
        )
    return objects


def _listed(
    client: ApiClient, resource: Resource, params: Mapping[str, Any] | None = None, pages: int | None = None
) -> Objects:
    """The objects of a list, or of its first pages. A page that comes twice is an error: it hides another."""
    objects: Objects = {}
    announced = None
    for number, (items, answer) in enumerate(client.pages(resource, params or {}), start=1):
        found = {str(item[resource.id]): _json(_complete(client, resource, item)) for item in items}
        if found and found.items() <= objects.items():
            raise SourceUnavailable(f"{client.place(resource)}: a page came twice. Try again later")
        objects |= found
        if number == 1 and resource.total:
            announced = answer.get(resource.total)
        if number == pages:
            return objects
    if announced is not None and announced != len(objects):
        raise SourceUnavailable(
            f"{client.place(resource)}: {announced:,} objects were announced and {len(objects):,} came. Try again later"
        )
    return objects


def _complete(client: ApiClient, resource: Resource, item: dict[str, Any]) -> dict[str, Any]:
    """The object with all elements of the lists in it, of which Stripe gives the first ten."""
    for name, inner in item.items():
        if isinstance(inner, dict) and inner.get("object") == "list" and inner.get("has_more"):
            if not str(inner.get("url")).startswith("/"):  # the key goes nowhere else
                raise ApiError(f"{client.place(resource)}: {name} is not whole, and its address is another server's")
            elements = _listed(client, Resource(name, inner["url"], "data", {"limit": 100}, {})).values()
            item = item | {name: inner | {"has_more": False, "data": [json.loads(body) for body in elements]}}
    return item


def _is_due(before: Kept, day: date) -> bool:
    return (day - before.listed_on).days >= FULL_LIST_DAYS


def _since(resource: Resource, before: Kept) -> dict[str, Any]:
    """The parameter that asks for what changed after the newest object; empty where a list cannot be asked so."""
    if resource.since is None:
        return {}
    marks: Iterable[Any] = (json.loads(body).get(resource.since.field) for body in before.objects.values())
    newest = max((mark for mark in marks if mark is not None), default=None)
    if newest is None:
        return {}
    return {resource.since.param: newest - resource.since.overlap if resource.since.overlap else newest}


def _json(item: Any) -> str:
    return json.dumps(item, ensure_ascii=False, sort_keys=True)


def _load(path: Location) -> Kept | None:
    """What is kept of a list; None where nothing is, or a damaged file: then all of it is read again."""
    try:
        with files.local_copy(path) as copy:
            notes = pl.read_parquet_metadata(copy)
            objects: Objects = dict(pl.read_parquet(copy).iter_rows())
    except (FileNotFoundError, pl.exceptions.PolarsError):
        return None
    return Kept(objects, date.fromisoformat(notes["listed_on"]), int(notes["events_until"]))


def _save(path: Location, kept: Kept) -> None:
    """Replaces what is kept of a list; it is whole, also after a crash."""
    notes = {"listed_on": kept.listed_on.isoformat(), "events_until": str(kept.events_until)}
    frame = pl.DataFrame(sorted(kept.objects.items()), schema={"id": pl.String, "object": pl.String}, orient="row")
    write_rows(path, frame, notes)
