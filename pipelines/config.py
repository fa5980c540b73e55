"""The configuration folder: `sources.yaml` says what to read, `policy.yaml` what to count. Errors say what to write."""

import difflib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from zoneinfo import available_timezones

import polars as pl
import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from pipelines.sources import known_apis
from pipelines.sources.ready_made import UnknownFormat, merged
from pipelines.sources.shapes import SHAPES_OF, canonical_columns
from schemas.policy import Policy
from schemas.sources import CONTRACTS
from schemas.validation import PROVENANCE

EMBEDDED = Path(__file__).parent / "sample"
"""The configuration that holds where none is given: the sample company."""

Scalar = str | int | float | bool | date | datetime
Shape = Literal["changes", "periods", "event_log", "mrr_changes"]


_Content = TypeVar("_Content", bound=BaseModel)


class ConfigError(Exception):
    """The configuration cannot be used. The message names the file, the key and what to write."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Like(_Model):
    """A header that is found by a regular expression; more than one match is an error."""

    like: str

    @field_validator("like")
    @classmethod
    def _is_regex(cls, value: str) -> str:
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        return value


def _with_group(pattern: str) -> str:
    try:
        pl.Series([""]).str.extract(pattern, 1)
        groups = re.compile(pattern).groups
    except (pl.exceptions.ComputeError, re.error):
        groups = 0
    if not groups:
        raise ValueError(r"must be a regular expression with a group for the part to keep, such as '(\d+)'")
    return pattern


_QUOTED = re.compile(r"""'[^']*'|"[^"]*\"""")


def _is_sql(expression: str) -> bool:
    """Whether it is an SQL expression over the row: Polars would also run queries, and open the files they name."""
    if re.search(r"\bselect\b", _QUOTED.sub("", expression), re.IGNORECASE):
        return False
    try:
        pl.sql_expr(expression)
    except (pl.exceptions.SQLInterfaceError, pl.exceptions.SQLSyntaxError):
        return False
    return True


class ZoneColumn(_Model):
    """A header below which each row names its time zone."""

    from_: str = Field(alias="from")


def _checked_zone(value: str | ZoneColumn | None) -> str | ZoneColumn | None:
    if isinstance(value, str) and value not in available_timezones():
        raise ValueError(f"{value!r} is no IANA time zone; write for example Europe/Madrid or America/Costa_Rica")
    return value


Zone = Annotated[str | ZoneColumn, AfterValidator(_checked_zone)]


class ColumnMapping(_Model):
    """How one canonical column is made from a file. `docs/sources.md` explains every key."""

    from_: str | Like | tuple[str | Like, ...] | None = Field(None, alias="from")
    const: Scalar | None = None
    hash: tuple[str | Like, ...] | None = Field(None, min_length=1)
    extract: str | None = None
    lower: bool = False
    upper: bool = False
    map: dict[str, Scalar | None] | None = None
    default: Scalar | None = None
    number: Literal["eu", "us"] | None = None
    money: Literal["major", "minor", "eu", "us"] | None = None
    currency: str | None = None
    time: str | None = None
    date: str | None = None
    tz: Zone | None = None
    minus_months: str | None = None
    plus_minutes: str | None = None
    plus_days: int | None = None
    salesforce_id: bool = False
    optional: bool = False

    @field_validator("map", mode="before")
    @classmethod
    def _number_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if any(isinstance(word, bool) for word in value):
            raise ValueError("YAML reads yes, no, on, off as true or false; put the word in quotes")
        return {str(word) if isinstance(word, int | float) else word: meaning for word, meaning in value.items()}

    @field_validator("extract")
    @classmethod
    def _has_group(cls, value: str | None) -> str | None:
        return value if value is None else _with_group(value)

    @model_validator(mode="after")
    def _keys_fit(self) -> "ColumnMapping":
        if (self.from_ is not None) + (self.hash is not None) + ("const" in self.model_fields_set) != 1:
            raise ValueError("write exactly one of `from`, `const` and `hash`")
        for key, needed in (("default", "map"), ("currency", "money")):
            if key in self.model_fields_set and not getattr(self, needed):
                raise ValueError(f"`{key}` needs `{needed}` beside it")
        return self


class Reading(_Model):
    """How the rows and cells of a file are told apart."""

    file_type: Literal["csv", "tsv", "parquet", "json", "jsonl"] | None = None
    separator: str | None = Field(None, min_length=1, max_length=1)
    encoding: str = "utf-8"
    header_rows: int = Field(0, ge=0)
    skip: int = Field(0, ge=0)
    decimal_comma: bool = False
    header_values: dict[str, str] = Field(default_factory=dict)
    rows: str | None = None
    explode: str | None = None
    may_lack: tuple[str, ...] = ()

    @field_validator("header_values")
    @classmethod
    def _have_groups(cls, value: dict[str, str]) -> dict[str, str]:
        return {name: _with_group(pattern) for name, pattern in value.items()}

    @model_validator(mode="after")
    def _header_rows_hold_values(self) -> "Reading":
        if self.header_values and not self.header_rows:
            raise ValueError("`header_values` needs `header_rows` beside it: values stand in the further header rows")
        return self

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, value: str) -> str:
        try:
            "".encode(value)
        except LookupError:
            raise ValueError(f"{value!r} is no encoding; write for example utf-8, cp1252 or utf-16") from None
        return value


class TableMapping(_Model, ABC):
    """How the columns of one canonical table are made from what a source gives for it."""

    format: str | None = None
    read: Reading = Reading()
    refuse: dict[str, str] = Field(default_factory=dict)
    let: dict[str, str] = Field(default_factory=dict)
    where: str | None = None
    distinct: tuple[str, ...] = ()
    tz: Zone | None = None
    shape: Shape = "changes"
    snapshot: Literal["full", "append"] = "append"
    columns: dict[str, ColumnMapping | None] = Field(default_factory=dict)

    @property
    @abstractmethod
    def origin(self) -> tuple[str, ...]:
        """What the rows are read from: tables of one origin have the same headers."""

    @field_validator("columns", mode="before")
    @classmethod
    def _plain_header(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"from": spec} if isinstance(spec, str) else spec for name, spec in value.items()}

    @field_validator("refuse")
    @classmethod
    def _are_regexes(cls, value: dict[str, str]) -> dict[str, str]:
        for pattern in value:
            Like(like=pattern)
        return value

    @field_validator("let")
    @classmethod
    def _are_sql(cls, value: dict[str, str]) -> dict[str, str]:
        for name, expression in value.items():
            if not _is_sql(expression):
                raise ValueError(f"{name}: is no SQL expression; write for example: COALESCE(Paid, Due)")
        return value

    @field_validator("where")
    @classmethod
    def _is_condition(cls, value: str | None) -> str | None:
        if value is not None and not _is_sql(value):
            raise ValueError("is no SQL condition; write for example: Status <> 'Test' AND Country = 'CR'")
        return value


class ControlTotal(_Model):
    """A column whose sum the control file promises."""

    column: str
    promised: str


class Control(_Model):
    """A CSV file beside the exports that says how many rows each of them holds."""

    file: str
    name: str = "file"
    rows: str = "rows"
    total: ControlTotal | None = None


class FileTable(TableMapping):
    """A canonical table from files."""

    files: tuple[str, ...] = Field(min_length=1)
    control: Control | None = None

    @property
    def origin(self) -> tuple[str, ...]:
        """The patterns of the files."""
        return self.files

    @field_validator("files", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Incremental(_Model):
    """Which column tells new and changed rows of a database from those that were read before."""

    cursor: str


class DatabaseTable(TableMapping):
    """A canonical table from a table or a query of a database."""

    table: str | None = None
    query: str | None = None
    incremental: Incremental | None = None

    @property
    def origin(self) -> tuple[str, ...]:
        """The table or the query."""
        return (self.table or self.query or "",)

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "DatabaseTable":
        if (self.table is None) == (self.query is None):
            raise ValueError("write exactly one of `table` and `query`")
        if self.incremental and self.incremental.cursor in PROVENANCE:
            raise ValueError(
                f"the cursor cannot be {self.incremental.cursor}: we keep where rows came from under that name. Give "
                "it another one in a `query`"
            )
        if self.incremental and (self.snapshot == "full" or self.shape != "changes"):
            raise ValueError(
                "`incremental` needs `shape: changes` and `snapshot: append`: what is gone, and where a period "
                "ends, show only in the whole table. Leave `incremental` out, or write the other two"
            )
        if self.read.model_copy(update={"may_lack": ()}) != Reading():
            raise ValueError("`read`, or that of the `format`, is for files; here it can have `may_lack` alone")
        return self


class _WithTables(_Model):
    """A source whose rows become canonical rows as its `tables` say."""

    tables: Mapping[str, TableMapping] = Field(min_length=1)

    @field_validator("tables", mode="before")
    @classmethod
    def _ready_made(cls, tables: Any) -> Any:
        """Each table over the ready-made mapping that its `format` names."""
        if not isinstance(tables, dict):
            return tables
        try:
            return {name: merged(name, given) for name, given in tables.items()}
        except UnknownFormat as error:
            raise ValueError(str(error)) from None

    @field_validator("tables")
    @classmethod
    def _fits_contracts(cls, tables: Mapping[str, TableMapping]) -> Mapping[str, TableMapping]:
        problems = [problem for name, mapping in tables.items() for problem in _misfits(name, mapping)]
        if problems:
            raise ValueError("; ".join(problems))
        return tables


class FilesSource(_WithTables):
    """Exports in a folder."""

    kind: Literal["files"]
    tables: Mapping[str, FileTable] = Field(min_length=1)


def _is_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            "must be the name of an environment variable, such as BILLING_DB_URI; never write secrets here"
        )
    return name


Variable = Annotated[str, AfterValidator(_is_variable)]
_ADDRESS = r"^[^@\s<>,]+@[^@\s<>,]+$"


class DatabaseSource(_WithTables):
    """A database, whose address stands in an environment variable."""

    kind: Literal["database"]
    uri_env: Variable
    timeout_seconds: int = Field(600, ge=1, le=86_400)
    tables: Mapping[str, DatabaseTable] = Field(min_length=1)


class ApiTable(TableMapping):
    """A canonical table from a list of an API."""

    snapshot: Literal["full"] = "full"

    @property
    def origin(self) -> tuple[str, ...]:
        """The ready-made mapping: there is one for each list."""
        return (self.format or "",)


class ApiSource(_WithTables):
    """An API that is known, with its key in an environment variable. Without `tables` it fills all that it can."""

    kind: Literal["api"]
    api: str
    token_env: Variable
    base_url: str | None = None
    parameters: dict[str, str] = Field(default_factory=dict)
    tables: Mapping[str, ApiTable] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, content: Any) -> Any:
        """The content with the mapping of each table; the rest is checked by itself."""
        name = content.get("api")
        if name not in known_apis.names():
            raise ValueError(
                f"`api` must be one of {', '.join(known_apis.names())}{near(str(name), known_apis.names())}"
            )
        api = known_apis.load(name)
        given = content.get("tables", dict.fromkeys(api.tables))
        if not isinstance(given, dict):
            return content
        if unknown := [table for table in given if table not in api.tables]:
            raise ValueError(f"{name} does not fill {unknown[0]}; it fills {', '.join(api.tables)}")
        ready = {table: {"format": api.tables[table].tables[table], "snapshot": "full"} for table in given}
        return content | {"tables": {table: ready[table] | (spec or {}) for table, spec in given.items()}}

    @field_validator("base_url")
    @classmethod
    def _is_private(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https://|http://(127\.0\.0\.1|localhost)(:|/|$)", value):
            raise ValueError("must begin with https://, since the key is sent there")
        return value

    @model_validator(mode="after")
    def _has_parameters(self) -> "ApiSource":
        wanted = known_apis.load(self.api).parameters
        for name, meaning in wanted.items():
            if not re.fullmatch(r"[\w-]+", self.parameters.get(name, "")):
                raise ValueError(f"write `parameters: {{{name}: ...}}`, {meaning}")
        if extra := sorted(set(self.parameters) - set(wanted)):
            raise ValueError(f"{self.api} has no parameter {extra[0]}; leave it out")
        return self


class SampleSource(_Model):
    """The sample company, made in memory."""

    kind: Literal["sample"]
    accounts: int = Field(2_000, ge=1)
    seed: int = 7


MappedSource = FilesSource | DatabaseSource | ApiSource
Source = Annotated[FilesSource | DatabaseSource | ApiSource | SampleSource, Field(discriminator="kind")]
SourceName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class PostgresqlDoor(_Model):
    """A PostgreSQL that each release is copied into, for tools that read no DuckDB."""

    uri_env: Variable
    prefix: str = Field("", pattern=r"^[a-z_][a-z0-9_]{0,29}$|^$")
    read_by: tuple[str, ...] = ()


class Webhook(_Model):
    """An address that takes POSTs of `{"text": ...}`, in an environment variable since it is a secret."""

    url_env: Variable


class Email(_Model):
    """Mail by the server whose address, `smtp(s)://user:password@host:port`, stands in an environment variable."""

    smtp_env: Variable
    from_: str = Field(alias="from", pattern=_ADDRESS)
    to: tuple[Annotated[str, Field(pattern=_ADDRESS)], ...] = Field(min_length=1)


class Channels(_Model):
    """Where messages go."""

    webhook: Webhook | None = None
    email: Email | None = None


class Alerts(Channels):
    """Whom to tell when something is wrong."""

    stale_after_hours: int = Field(30, ge=1)


class DigestPlan(Channels):
    """Whom to send the digest, in which language: with the first release of each day, week or month."""

    every: Literal["day", "week", "month"] = "week"
    language: Literal["en", "es", "pt"] = "en"

    @model_validator(mode="after")
    def _can_be_sent(self) -> "DigestPlan":
        if self.webhook is None and self.email is None:
            raise ValueError("write `webhook` or `email` as under `alerts`; else leave `digest` out")
        if find_spec("babel") is None:
            raise ValueError("needs the extra report: pip install 'customer-success-kpis[report]'")
        return self


Owner = Annotated[str, StringConstraints(pattern=r"^(team:[\w-]+|[^@\s:]+@[^@\s:]+)$")]
"""Who answers for the assets, as the Dagster UI shows it: `team:data` or an e-mail address."""


class Compute(_Model):
    """Where and in how many shards accounts are computed. No number depends on it."""

    engine: Literal["local", "spark"] = "local"
    shards: int | None = Field(None, ge=1)
    memory_limit: ByteSize | None = Field(None, ge=256 << 20)
    master: str | None = Field(None, pattern=r"^(spark://[\w.-]+:\d+(,[\w.-]+:\d+)*|local\[(\d+|\*)\])$")
    shared_dir: Path | None = None

    @model_validator(mode="after")
    def _keys_fit_together(self) -> "Compute":
        if self.engine == "local":
            if self.master or self.shared_dir:
                raise ValueError("`master` and `shared_dir` are for `engine: spark`; write it, or leave them out")
            return self
        if self.master is None or self.shared_dir is None:
            raise ValueError(
                "`engine: spark` needs `master`, such as spark://10.0.0.5:7077, and `shared_dir`, a folder that every "
                "machine of the cluster has under the same path"
            )
        if not self.shared_dir.is_absolute():
            raise ValueError("`shared_dir` must be an absolute path, the same on every machine of the cluster")
        if find_spec("pyspark") is None:
            raise ValueError('needs the extra spark: pip install "customer-success-kpis[spark]"')
        return self


class SourcesConfig(_Model):
    """Content of `sources.yaml`."""

    sources: dict[SourceName, Source] = Field(min_length=1)
    data_dir: Path | None = None
    raw_dir: str | None = None
    postgresql: PostgresqlDoor | None = None
    as_of: date | None = None
    compute: Compute = Compute()
    alerts: Alerts = Alerts()
    digest: DigestPlan | None = None
    owners: tuple[Owner, ...] = ()

    @field_validator("raw_dir")
    @classmethod
    def _is_object_store(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]+(/[\w.=-]+)*/?", value):
            raise ValueError("must be a folder on S3-compatible storage, such as s3://bucket/folder; else leave it out")
        if value is not None and find_spec("s3fs") is None:
            raise ValueError("needs the extra s3: pip install 'customer-success-kpis[s3]'")
        return value


@dataclass(frozen=True)
class Settings:
    """What a run needs to know. Without `as_of` the caller takes yesterday in the reporting time zone."""

    sources: SourcesConfig
    policy: Policy
    base_dir: Path
    data_dir: Path
    as_of: date | None

    def with_shards(self, shards: int | None) -> "Settings":
        """These settings with another number of shards; None leaves what is configured."""
        if shards is None:
            return self
        compute = self.sources.compute.model_copy(update={"shards": shards})
        return replace(self, sources=self.sources.model_copy(update={"compute": compute}))


def load_settings(config_dir: Path | None = None) -> Settings:
    """The settings of a folder: the given one, else the one that `KPIS_CONFIG` names, else the sample company.

    Raises `ConfigError` with every problem of the first file that has one.
    """
    named = config_dir or (Path(os.environ["KPIS_CONFIG"]) if os.environ.get("KPIS_CONFIG") else None)
    folder = (named or EMBEDDED).expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; make it and write a sources.yaml in it (docs/sources.md)")
    sources = _load(folder / "sources.yaml", SourcesConfig)
    policy_file = folder / "policy.yaml"
    policy = load_policy(policy_file) if policy_file.exists() else Policy()
    data_dir = folder / (sources.data_dir or "data") if named else Path("data").absolute()
    return Settings(sources, policy, folder, data_dir, sources.as_of)


def load_policy(file: Path) -> Policy:
    """The policy of a file. Raises `ConfigError` with every problem."""
    return _load(file, Policy)


def near(wanted: str, there: Iterable[str]) -> str:
    """A hint at the name that was probably meant, or nothing."""
    names = {name.strip().casefold(): name for name in reversed(list(there))}
    found = difflib.get_close_matches(wanted.strip().casefold(), names, n=1)
    return f"; did you mean {names[found[0]]!r}?" if found else ""


def _columns(table: str, shape: str) -> dict[str, pl.DataType]:
    return {spec.name: spec.dtype for spec in canonical_columns(CONTRACTS[table], shape)}


def _misfits(table: str, mapping: TableMapping) -> Iterable[str]:
    """What in a table's mapping cannot be, seen from its contract."""
    if table not in CONTRACTS:
        yield f"{table}: no such table{near(table, CONTRACTS)}; the tables are {', '.join(CONTRACTS)}"
        return
    possible = SHAPES_OF.get(table, ("changes",))
    if mapping.shape not in possible:
        tables = " and ".join(name for name, shapes in SHAPES_OF.items() if mapping.shape in shapes)
        yield f"{table}: `shape: {mapping.shape}` is for {tables} alone; leave it out"
        return
    columns = _columns(table, mapping.shape)
    for name, column in mapping.columns.items():
        at = f"{table}.columns.{name}"
        if name not in columns:
            shapes = [shape for shape in possible if name in _columns(table, shape)]
            hint = f" of `shape: {mapping.shape}`; write `shape: {shapes[0]}`" if shapes else near(name, columns)
            yield f"{at}: no such column{hint}; the columns are {', '.join(columns)}"
        elif column is not None:
            for keys, types in (
                (("money",), (pl.Int64,)),
                (("time", "tz", "minus_months", "plus_minutes", "plus_days"), (pl.Datetime, pl.Date)),
                (("date",), (pl.Date,)),
                (("hash", "salesforce_id"), (pl.String,)),
                (("number",), (pl.Int64, pl.String)),
            ):
                for key in keys:
                    if getattr(column, key) and columns[name].base_type() not in types:
                        yield f"{at}: `{key}` does not fit a column of type {columns[name]}; leave it out"
            if column.money in ("major", "eu", "us") and not column.currency and "currency" not in columns:
                yield f"{at}: `money: {column.money}` needs `currency`, a column or a code such as USD"


def _load(file: Path, model: type[_Content]) -> _Content:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{file}: not found; write it as docs/sources.md shows") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8; save it with that encoding") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "cannot be read"
        raise ConfigError(f"{file}{place}: is no YAML ({reason}); check indentation, colons and quotes") from None
    try:
        return model.model_validate({} if content is None else content)
    except ValidationError as error:
        problems = [_problem(found, content, model) for found in error.errors(include_url=False, include_context=False)]
        raise ConfigError("\n".join(f"{file}: {problem}" for problem in problems)) from None


def _problem(error: Any, content: Any, model: type[BaseModel]) -> str:
    """One problem of pydantic's as `key.path: what to write`."""
    path: list[Any] = []
    here = content
    loc = error["loc"] or ("the file",)
    if loc[0] == "sources" and len(loc) > 2:
        loc = (*loc[:2], *loc[3:])  # the kind of the source, which pydantic puts in; `api` is a key too
    *parents, last = loc
    for part in parents:
        # pydantic puts the kind of a union among the keys; the file has no such key
        if (isinstance(here, dict) and part in here) or (isinstance(here, list | tuple) and isinstance(part, int)):
            path.append(part)
            here = here[part]
    path += [last] if last != "[key]" else []
    message = error["msg"].removeprefix("Value error, ")
    match error["type"]:
        case "extra_forbidden":
            models: list[type[BaseModel]] = [Policy] if model is Policy else list(_below(_Model))
            keys = {field.alias or name for model in models for name, field in model.model_fields.items()}
            message = f"is no key here; take it out or correct it{near(str(last), sorted(keys))}"
        case "union_tag_not_found" | "union_tag_invalid":
            message = "write `kind: files`, `kind: database`, `kind: api` or `kind: sample`"
        case "missing":
            message = "is missing; write it"
    return f"{'.'.join(map(str, path))}: {message}"


def _below(model: type[BaseModel]) -> Iterable[type[BaseModel]]:
    for child in model.__subclasses__():
        yield child
        yield from _below(child)
