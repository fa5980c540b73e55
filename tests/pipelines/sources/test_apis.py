"""APIs as sources, against a server on loopback that gives pages of the shapes that the vendors' APIs have."""

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from pipelines import assets, loading
from pipelines.checking import check_sources
from pipelines.cli import app
from pipelines.config import ApiSource, ConfigError, load_settings
from pipelines.execute import run_job
from pipelines.run import published_dir
from pipelines.sources import api_client, known_apis
from pipelines.sources.fetching import erase_objects, read_api
from pipelines.sources.mapping import to_canonical
from schemas.contract import column_specs, polars_schema
from schemas.sources import CONTRACTS
from schemas.validation import SourceError, SourceUnavailable, split
from warehouse.erased import Erased
from warehouse.publish import freshness
from warehouse.staging import current
from warehouse.store import prepare

KEY = "agent@shop.example/token:swordfish-72"
CASES = Path(__file__).parent / "formats"
MARCH = date(2026, 3, 1)
PARAMETERS = {"typeform": {"form": "f1"}, "zendesk": {"subdomain": "acme"}}
MARKS = {"delighted": "updated_at", "typeform": "submitted_at", "zendesk": "generated_timestamp"}

Query = dict[str, str]
Answer = tuple[int, dict[str, str], Any]


def objects_of(name: str) -> list[dict[str, Any]]:
    """The objects in the hand-written files of a format."""
    found = []
    for path in sorted((CASES / name).glob("*.json*")):
        text = path.read_text(encoding="utf-8-sig")
        documents = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
        for document in documents:
            rows = next((document[key] for key in ("data", "results", "items", "tickets") if key in document), document)
            found += rows if isinstance(rows, list) else [rows]
    return found


class Vendor:
    """The lists of one vendor in pages of `size`. `faults`: what happens to the next requests instead of an answer."""

    def __init__(self, api: str) -> None:
        self.api, self.faults, self.asked, self.ignores_filters = known_apis.load(api), [], [], False
        self.events: list[dict[str, Any]] = []
        self.size = 2
        self.lists = {resource.path.format(form="f1"): self._fixture(api, resource) for resource in self.api.resources}

    def _fixture(self, api: str, resource: known_apis.Resource) -> list[dict[str, Any]]:
        found = objects_of(next(iter(resource.tables.values())))
        for number, item in enumerate(found):
            if api == "zendesk":
                item["generated_timestamp"] = 1_753_000_000 + 1000 * number
        return found

    def answer(self, path: str, query: Query) -> Answer:
        self.asked.append((path, query))
        if path == self.api.events:
            return self._stripe(path, query, sorted(self.events, key=lambda event: -event["created"]), "created[gte]")
        for at, items in self.lists.items():
            if path == at:
                return getattr(self, f"_{self.api.title.lower()}")(path, query, items)
            if path.startswith(f"{at}/"):
                found = [item for item in items if item["id"] == path.removeprefix(f"{at}/")]
                return (200, {}, found[0]) if found else (404, {}, {"error": {"message": "No such object"}})
        return 404, {}, {"error": "no such path"}

    def _after(self, items: list[Any], query: Query, param: str, field: str) -> list[Any]:
        if param not in query or self.ignores_filters or not items:
            return items
        wanted = query[param] if isinstance(items[0][field], str) else int(query[param])
        return [item for item in items if item[field] >= wanted]

    def _stripe(self, path: str, query: Query, items: list[Any], filtered: str = "") -> Answer:
        items = self._after(items, query, filtered, "created")
        start = [item["id"] for item in items].index(query["starting_after"]) + 1 if "starting_after" in query else 0
        page = items[start : start + self.size]
        return 200, {}, {"object": "list", "url": path, "data": page, "has_more": start + self.size < len(items)}

    def _hubspot(self, path: str, query: Query, items: list[Any]) -> Answer:
        start = int(query.get("after", 0))
        following = {"paging": {"next": {"after": str(start + self.size)}}} if start + self.size < len(items) else {}
        return 200, {}, {"results": items[start : start + self.size], **following}

    def _delighted(self, path: str, query: Query, items: list[Any]) -> Answer:
        items = self._after(items, query, "updated_since", "updated_at")
        start = self.size * (int(query["page"]) - 1)
        return 200, {}, items[start : start + self.size]

    def _typeform(self, path: str, query: Query, items: list[Any]) -> Answer:
        items = self._after(items, query, "since", "submitted_at")
        start = [item["token"] for item in items].index(query["before"]) + 1 if "before" in query else 0
        return 200, {}, {"total_items": len(items), "page_count": 1, "items": items[start : start + self.size]}

    def _zendesk(self, path: str, query: Query, items: list[Any]) -> Answer:
        if ("cursor" in query) == ("start_time" in query):
            return 400, {}, {"error": "InvalidValue"}
        begin, start = query["cursor"].split(":") if "cursor" in query else (query["start_time"], "0")
        items = self._after(items, {"start_time": begin}, "start_time", "generated_timestamp")
        start = int(start)
        page = items[start : start + self.size]
        return (
            200,
            {},
            {"tickets": page, "after_cursor": f"{begin}:{start + len(page)}", "end_of_stream": len(page) < self.size},
        )


class Loopback(ThreadingHTTPServer):
    vendor: Vendor
    key = KEY
    former: bytes = b""
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """Answers for the vendor, unless a fault is due."""

    server: Loopback

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        basic = "Basic " + base64.b64encode(self.server.key.encode()).decode()
        alone = "Basic " + base64.b64encode(f"{self.server.key}:".encode()).decode()
        if self.headers["Authorization"] not in (f"Bearer {self.server.key}", basic, alone):
            self._send(401, {}, {"error": f"Expired key: {self.headers['Authorization']}"})
            return
        fault = self.server.vendor.faults.pop(0) if self.server.vendor.faults else None
        if isinstance(fault, int):
            self._send(fault, {"Retry-After": "1"} if fault == 429 else {}, {"error": "not now"})
            return
        status, headers, body = self.server.vendor.answer(parts.path, dict(parse_qsl(parts.query)))
        if fault == "repeat":
            body = json.loads(self.server.former)
        self._send(status, headers, body, cut=fault == "cut")

    def _send(self, status: int, headers: dict[str, str], body: Any, cut: bool = False) -> None:
        content = json.dumps(body).encode()
        self.server.former = content
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = True


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A server on a free port; SHOP_KEY holds the key that it takes."""
    monkeypatch.setenv("SHOP_KEY", KEY)
    monkeypatch.setattr(api_client, "BACKOFF_SECONDS", 0.01)
    with Loopback(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


Make = Callable[..., tuple[ApiSource, Vendor]]


@pytest.fixture
def shop(loopback: Loopback, tmp_path: Path) -> Make:
    """A source `shop` of an API, and the vendor behind it."""

    def make(api: str, tables: str = "") -> tuple[ApiSource, Vendor]:
        loopback.vendor = Vendor(api)
        text = (
            f"sources:\n  shop:\n    kind: api\n    api: {api}\n    token_env: SHOP_KEY\n"
            f"    base_url: http://127.0.0.1:{loopback.server_port}\n"
            f"    parameters: {json.dumps(PARAMETERS.get(api, {}))}\n{tables}"
        )
        (tmp_path / "sources.yaml").write_text(text)
        source = load_settings(tmp_path).sources.sources["shop"]
        assert isinstance(source, ApiSource)
        return source, loopback.vendor

    return make


def expected(name: str, table: str) -> list[tuple[str | None, ...]]:
    return sorted(map(str, pl.read_csv(CASES / name / f"expected.{table}.csv", infer_schema=False).rows()))


def accepted(source: ApiSource, folder: Path, day: date = MARCH, full: bool = False) -> dict[str, pl.DataFrame]:
    """The accepted rows of every table, sorted."""
    raws = read_api("shop", source, folder, day, full=full)
    return {
        table: split(CONTRACTS[table], to_canonical(raw, source.tables[table], CONTRACTS[table]).frame)
        .accepted.select(polars_schema(CONTRACTS[table]).keys())
        .sort(pl.all())
        for table, raw in raws.items()
    }


def as_text(frame: pl.DataFrame, columns: list[str]) -> list[str]:
    """Rows as the expected files write them."""
    moments = pl.selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return sorted(map(str, frame.select(columns).with_columns(moments).cast(pl.String).rows()))


APIS = known_apis.names()


@pytest.mark.parametrize("api", APIS)
def test_all_pages_of_an_api_give_the_rows_that_its_exports_give(shop, tmp_path, api):
    source, _ = shop(api)
    found = accepted(source, tmp_path)
    assert set(found) == set(known_apis.load(api).tables)
    for table, resource in known_apis.load(api).tables.items():
        name = resource.tables[table]
        columns = pl.read_csv(CASES / name / f"expected.{table}.csv", infer_schema=False).columns
        assert as_text(found[table], columns) == expected(name, table)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("faults", [[429], [None, 500, 503], [None, "cut"], [None, "cut", 502, 429]])
def test_a_request_that_is_refused_for_a_moment_or_broken_off_is_made_again(shop, tmp_path, api, faults):
    source, vendor = shop(api)
    whole = accepted(source, tmp_path / "undisturbed")
    vendor.faults = list(faults)
    disturbed = accepted(source, tmp_path / "disturbed")
    assert vendor.faults == []
    for table, rows in whole.items():
        assert_frame_equal(disturbed[table], rows)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize(
    ("faults", "expected_text"),
    [
        ([None, *[429] * 9], "too many requests, 5 times in a row (429). Try again later"),
        ([None, *[500] * 9], "the server failed, 5 times in a row (500). Try again later"),
        ([None, *["cut"] * 9], "no whole answer came, 5 times in a row. Try again later"),
        ([None, "repeat"], "a page came twice. Try again later"),
    ],
)
def test_a_fault_that_lasts_is_told_and_nothing_is_kept(shop, tmp_path, monkeypatch, api, faults, expected_text):
    monkeypatch.setattr(api_client, "LONGEST_WAIT_SECONDS", 0.01)
    source, vendor = shop(api)
    vendor.size = 1
    before = accepted(source, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    vendor.faults = [None, *faults] if api == "stripe" else list(faults)
    with pytest.raises(SourceUnavailable) as raised:
        read_api("shop", source, tmp_path, MARCH, full=True)
    assert expected_text in str(raised.value)
    assert str(raised.value).startswith("source shop, list ")
    assert "swordfish" not in str(raised.value)
    assert {path: path.read_bytes() for path in tmp_path.glob("*.parquet")} == kept
    vendor.faults = []
    for table, rows in accepted(source, tmp_path, full=True).items():
        assert_frame_equal(rows, before[table])


@pytest.mark.parametrize("api", APIS)
def test_a_key_that_has_expired_is_told_without_showing_it(shop, loopback, tmp_path, api):
    source, _ = shop(api)
    before = accepted(source, tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.glob("*.parquet")}
    loopback.key = "another"
    with pytest.raises(api_client.ApiError, match=r"the key in SHOP_KEY was refused \(401\). Has it expired") as raised:
        read_api("shop", source, tmp_path, MARCH, full=True)
    assert "swordfish" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert before
    assert {path: path.read_bytes() for path in tmp_path.glob("*.parquet")} == kept


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, "the key in SHOP_KEY may not read this (403). Give it the right to"),
        (404, "there is no such list (404). Correct `parameters` or `base_url`"),
        (422, "the request was refused (422)"),
    ],
)
def test_a_request_that_stays_refused_says_what_to_do(shop, tmp_path, status, text):
    source, vendor = shop("hubspot")
    vendor.faults = [status]
    with pytest.raises(api_client.ApiError) as raised:
        read_api("shop", source, tmp_path, MARCH)
    assert str(raised.value) == f"source shop, list companies of hubspot: {text}"


def test_an_answer_that_is_no_list_is_no_empty_list(shop, tmp_path):
    source, vendor = shop("hubspot")
    vendor.answer = lambda path, query: (200, {}, {"message": "maintenance"})
    with pytest.raises(api_client.ApiError, match=r"the answer is no list of objects. Correct `base_url`"):
        read_api("shop", source, tmp_path, MARCH)


@pytest.mark.parametrize("ignores_filters", [False, True])
@pytest.mark.parametrize("api", sorted(MARKS))
def test_a_later_run_asks_for_what_changed_and_trusts_no_filter(shop, tmp_path, api, ignores_filters):
    source, vendor = shop(api)
    first = accepted(source, tmp_path)
    (items,) = vendor.lists.values()
    vendor.ignores_filters = ignores_filters
    newest = max(items, key=lambda item: item[MARKS[api]])
    later = newest[MARKS[api]] + 5000 if api != "typeform" else "2026-02-28T00:00:00Z"
    identifier = vendor.api.resources[0].id
    items.append(newest | {identifier: "999", MARKS[api]: later})
    if api == "typeform":
        items.sort(key=lambda item: item["submitted_at"], reverse=True)
    vendor.asked.clear()
    second = accepted(source, tmp_path)
    everything = accepted(source, tmp_path / "anew")
    for table, rows in second.items():
        assert_frame_equal(rows, everything[table])
    assert any(second[table].height == first[table].height + 1 for table in second)
    param = vendor.api.resources[0].since.param
    assert str(vendor.asked[0][1][param]) != "0"


def test_a_full_list_once_a_week_shows_what_was_deleted(shop, tmp_path):
    source, vendor = shop("delighted")
    first = accepted(source, tmp_path)
    (items,) = vendor.lists.values()
    items.pop(0)
    assert accepted(source, tmp_path, date(2026, 3, 7))["survey_responses"].height == first["survey_responses"].height
    assert (
        accepted(source, tmp_path, date(2026, 3, 8))["survey_responses"].height == first["survey_responses"].height - 1
    )


def test_a_list_that_turns_empty_deletes_nothing_unless_that_is_said(shop, tmp_path):
    source, vendor = shop("hubspot")
    first = accepted(source, tmp_path)
    for items in vendor.lists.values():
        items.clear()
    with pytest.raises(
        api_client.ApiError, match=r"the list is empty, and had \d objects before. Is the key in SHOP_KEY"
    ):
        read_api("shop", source, tmp_path, MARCH)
    assert first["accounts"].height > 0
    assert accepted(source, tmp_path, full=True)["accounts"].height == 0


def test_a_page_count_that_does_not_add_up_is_told(shop, tmp_path):
    source, vendor = shop("typeform")
    honest = vendor._typeform
    vendor._typeform = lambda *given: (200, {}, honest(*given)[2] | {"total_items": 7})
    with pytest.raises(SourceUnavailable, match=r"7 objects were announced and \d came"):
        read_api("shop", source, tmp_path, MARCH)


def subscription(vendor: Vendor, number: int) -> dict[str, Any]:
    return vendor.lists["/v1/subscriptions"][number]


def event(vendor: Vendor, created: int, kind: str, item: dict[str, Any]) -> None:
    vendor.events.append(
        {"id": f"evt_{len(vendor.events)}", "created": created, "type": kind, "data": {"object": item}}
    )


@pytest.mark.parametrize("ignores_filters", [False, True])
def test_stripe_fetches_again_what_events_name(shop, tmp_path, ignores_filters):
    source, vendor = shop("stripe")
    event(vendor, 1_772_000_000, "invoice.paid", {"id": "in_old", "object": "invoice"})
    accepted(source, tmp_path)
    vendor.ignores_filters = ignores_filters
    changed = subscription(vendor, 0)
    changed |= {"ended_at": 1_772_200_000, "status": "canceled"}
    event(vendor, 1_772_200_000, "customer.subscription.deleted", {"id": changed["id"], "object": "subscription"})
    gone = vendor.lists["/v1/invoices"].pop()
    event(vendor, 1_772_200_001, "invoice.deleted", {"id": gone["id"], "object": "invoice"})
    event(vendor, 1_772_200_002, "invoice.upcoming", {"id": None, "object": "invoice"})
    event(vendor, 1_772_200_003, "charge.succeeded", {"id": "ch_1", "object": "charge"})
    vendor.asked.clear()
    found = accepted(source, tmp_path)
    paths = [path for path, _ in vendor.asked if path != "/v1/events"]
    # The invoice of the last known moment is asked for again: more may have come with it.
    assert paths == [f"/v1/subscriptions/{changed['id']}", f"/v1/invoices/{gone['id']}", "/v1/invoices/in_old"]
    for table, rows in accepted(source, tmp_path / "anew").items():
        assert_frame_equal(found[table], rows)
    assert gone["id"] not in found["invoices"]["invoice_id"]


def test_stripe_lists_everything_once_a_week_so_that_missed_events_heal(shop, tmp_path):
    source, vendor = shop("stripe")
    accepted(source, tmp_path)
    subscription(vendor, 0)["ended_at"] = 1_772_200_000
    anew = accepted(source, tmp_path / "anew")["subscription_changes"]
    assert not accepted(source, tmp_path, date(2026, 3, 7))["subscription_changes"].equals(anew)
    assert accepted(source, tmp_path, date(2026, 3, 8))["subscription_changes"].equals(anew)


def test_stripe_lists_everything_where_events_may_have_been_forgotten(shop, tmp_path):
    source, vendor = shop("stripe")
    event(vendor, 1_772_000_000, "invoice.paid", {"id": "in_old", "object": "invoice"})
    accepted(source, tmp_path)
    subscription(vendor, 0)["ended_at"] = 1_772_200_000
    event(vendor, 1_772_000_000 + 26 * 86_400, "invoice.paid", {"id": "in_new", "object": "invoice"})
    found = accepted(source, tmp_path)["subscription_changes"]
    assert found.equals(accepted(source, tmp_path / "anew")["subscription_changes"])


def test_lists_within_a_stripe_object_are_completed(shop, tmp_path):
    source, vendor = shop("stripe", "    tables: {invoices: , invoice_lines: }\n")
    whole = accepted(source, tmp_path / "whole")["invoice_lines"]
    invoice = next(item for item in vendor.lists["/v1/invoices"] if len(item["lines"]["data"]) > 1)
    url = f"/v1/invoices/{invoice['id']}/lines"
    vendor.lists = {url: invoice["lines"]["data"], **vendor.lists}
    invoice["lines"] |= {"object": "list", "has_more": True, "url": url, "data": invoice["lines"]["data"][:1]}
    assert_frame_equal(accepted(source, tmp_path / "cut")["invoice_lines"], whole)


def test_a_list_within_an_object_is_not_fetched_from_another_server(shop, tmp_path):
    source, vendor = shop("stripe")
    vendor.lists["/v1/invoices"][0]["lines"] = {
        "object": "list",
        "has_more": True,
        "url": "https://x.example/",
        "data": [],
    }
    with pytest.raises(api_client.ApiError, match=r"lines is not whole, and its address is another server's"):
        read_api("shop", source, tmp_path, MARCH)


def test_keys_that_no_object_has_are_blank_but_a_slip_of_the_user_is_told(shop, tmp_path):
    source, vendor = shop("hubspot", "    tables: {opportunities: }\n")
    for deal in vendor.lists["/crm/v3/objects/deals"]:
        deal["properties"].pop("dealstage", None)
    assert set(accepted(source, tmp_path)["opportunities"]["stage"]) == {None}
    source, _ = shop("hubspot", "    tables: {opportunities: {columns: {stage: properties.dealstge}}}\n")
    with pytest.raises(
        SourceError, match=r"there is no header 'properties\.dealstge'.*did you mean 'properties\.dealstage'"
    ):
        read_api("shop", source, tmp_path / "again", MARCH)


def test_only_lists_of_wanted_tables_are_read_and_columns_may_be_overridden(shop, tmp_path):
    source, vendor = shop(
        "hubspot", "    tables: {accounts: {columns: {name: {from: properties.name, upper: true}}}}\n"
    )
    found = accepted(source, tmp_path)
    assert list(found) == ["accounts"]
    assert {path for path, _ in vendor.asked} == {"/crm/v3/objects/companies"}
    assert all(name == name.upper() for name in found["accounts"]["name"].drop_nulls())


def load(folder: Path, source: ApiSource, con: duckdb.DuckDBPyConnection, day: date) -> dict[str, tuple[int, int, int]]:
    loading.extract("shop", source, folder, folder / "raw", day)
    staged = loading.stage(con, "shop", source, folder / "raw", day)
    return {one.table: (one.new, one.changed, one.deleted) for one in staged}


def test_what_is_staged_follows_the_api_and_the_same_again_changes_nothing(shop, tmp_path):
    source, vendor = shop("hubspot", "    tables: {accounts: }\n")
    with duckdb.connect() as con:
        prepare(con)
        (items,) = [rows for path, rows in vendor.lists.items() if path.endswith("companies")]
        assert load(tmp_path, source, con, MARCH) == {"accounts": (len(items), 0, 0)}
        assert load(tmp_path, source, con, MARCH) == {"accounts": (0, 0, 0)}
        assert len(list((tmp_path / "raw" / "shop" / "accounts").glob("*.parquet"))) == 1
        gone = items.pop()
        items[0]["properties"]["industry"] = "Fishing"
        assert load(tmp_path, source, con, MARCH) == {"accounts": (0, 1, 1)}
        names = current(con, "accounts", CONTRACTS["accounts"], MARCH)["account_id"].to_list()
    assert gone["id"] not in names


def test_an_account_without_any_object_yet_is_no_error(shop, tmp_path):
    source, vendor = shop("stripe")
    for items in vendor.lists.values():
        items.clear()
    with duckdb.connect() as con:
        prepare(con)
        assert set(load(tmp_path, source, con, MARCH).values()) == {(0, 0, 0)}
    shown = CliRunner().invoke(app, ["sources", "preview", "shop", "--config", str(tmp_path)])
    assert shown.exit_code == 0


def test_check_reads_everything_and_preview_the_first_page(shop, tmp_path):
    _, vendor = shop("delighted")
    checked = check_sources(load_settings(tmp_path))
    assert {one.table: one.rows for one in checked} == {"surveys": 4, "survey_responses": 4}
    vendor.asked.clear()
    shown = CliRunner().invoke(app, ["sources", "preview", "shop", "--config", str(tmp_path)])
    assert "survey_responses. 2 rows: 2 accepted" in shown.output
    assert len(vendor.asked) == 1


def test_a_failed_api_fails_the_run_after_three_tries_and_the_key_is_written_nowhere(
    shop, loopback, tmp_path, monkeypatch
):
    monkeypatch.setattr(assets, "EXTRACTION_RETRY", assets.EXTRACTION_RETRY._replace(delay=0))
    _, vendor = shop("stripe")
    settings = load_settings(tmp_path)
    vendor.faults = [500] * 99
    assert run_job(settings, MARCH).outcome == "source_failed"
    assert len(vendor.faults) == 99 - 3 * api_client.ATTEMPTS
    assert "the server failed" in freshness(published_dir(settings)).stale_sources["shop"]
    vendor.faults, loopback.key = [], "another"
    report = run_job(settings, MARCH)
    assert "was refused (401)" in report.failures[0].message
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 5
    secrets = (b"swordfish", base64.b64encode(KEY.encode()))
    assert [path for path in written for secret in secrets if secret in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "{kind: api, api: stripes, token_env: K}",
            "`api` must be one of delighted, hubspot, stripe, typeform, zendesk; did",
        ),
        ("{kind: api, api: stripe, token_env: sk-live-1}", "token_env: must be the name of an environment variable"),
        ("{kind: api, api: stripe, token_env: K, tables: {tickets: }}", "stripe does not fill tickets; it fills"),
        ("{kind: api, api: typeform, token_env: K}", "write `parameters: {form: ...}`, the id of the form"),
        ("{kind: api, api: zendesk, token_env: K, parameters: {subdomain: evil.example/}}", "write `parameters: {subd"),
        ("{kind: api, api: stripe, token_env: K, parameters: {form: x}}", "stripe has no parameter form; leave it out"),
        ("{kind: api, api: stripe, token_env: K, base_url: 'http://x.example'}", "base_url: must begin with https://"),
    ],
)
def test_a_wrong_configuration_is_told_with_what_to_write(tmp_path, text, message):
    (tmp_path / "sources.yaml").write_text(f"sources:\n  shop: {text}\n")
    with pytest.raises(ConfigError) as raised:
        load_settings(tmp_path)
    assert message in str(raised.value)


def test_a_key_that_is_not_set_is_told(shop, tmp_path, monkeypatch):
    source, _ = shop("stripe")
    monkeypatch.delenv("SHOP_KEY")
    with pytest.raises(
        SourceError, match=r"the environment variable SHOP_KEY is not set\. Set it to the key of the API"
    ):
        read_api("shop", source, tmp_path, MARCH)


@pytest.mark.parametrize("api", APIS)
def test_nothing_of_an_erased_person_is_kept_of_an_api_and_what_is_read_stays(shop, tmp_path, api):
    source, _ = shop(api)
    before = accepted(source, tmp_path)
    texts = [body for path in tmp_path.glob("*.parquet") for body in pl.read_parquet(path)["object"]]
    people = sorted(set(re.findall(r"[\w.]+@[\w.]+", " ".join(texts))))
    erased = Erased()
    for person in people:
        erased = erased.with_person(person, "address")
    assert erase_objects("shop", source, tmp_path, erased, dry_run=True) == sum("@" in text for text in texts)
    erase_objects("shop", source, tmp_path, erased, dry_run=False)
    assert erase_objects("shop", source, tmp_path, erased, dry_run=False) == 0
    for day, full in ((MARCH, False), (MARCH, True)):
        raws = read_api("shop", source, tmp_path, day, full=full, erased=erased)
        kept = str([pl.read_parquet(path).rows() for path in tmp_path.glob("*.parquet")])
        assert not [person for person in people if person in kept]
        for table, rows in before.items():
            raw = raws[table]
            after = split(CONTRACTS[table], to_canonical(raw, source.tables[table], CONTRACTS[table]).frame).accepted
            same = [spec.name for spec in column_specs(CONTRACTS[table]) if not spec.personal]
            assert_frame_equal(after.select(same).sort(pl.all()), rows.select(same).sort(pl.all()))
