"""Identity: which ids of which source mean which account, and which accounts do not count.

Definitions section 0, account; decisions 8 and 16. Frames come from staging and carry the `source` of each row.
Messages name account ids only: an id of another source may be an e-mail address.
"""

from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from schemas.policy import Policy
from transforms import runs
from transforms.slices import UNASSIGNED

ANY_SOURCE = "*"
DELETED = "deleted"
"""Reason of an end that no source states: the customer, or the row, is gone."""

_MAPPED_IDS = ("customer_id", "ref", "respondent_id")


class IdentityCycle(ValueError):
    """Accounts that are mapped to each other, or are each other's parent, in a circle."""


class Directory(NamedTuple):
    """What is known of accounts before any billing customer or reference is looked up.

    `known`: id, account_id (after merges and, if the policy says so, at the top parent), excluded_reason (else null);
    one row per id that names an account. `identity_map`: the source table. `excluded`: id, reason, one row per id.
    `domains`: id (an e-mail domain that means one account), account_id, excluded_reason; empty unless policy
    `match_email_domains` is on.
    """

    known: pl.DataFrame
    identity_map: pl.DataFrame
    excluded: pl.DataFrame
    domains: pl.DataFrame


def directory(accounts: pl.DataFrame, identity_map: pl.DataFrame, excluded: pl.DataFrame, policy: Policy) -> Directory:
    """The directory of accounts.

    `accounts`: `Accounts` with `source`, as known at `as_of`. An account id that the identity map (under the CRM's
    source or `*`) maps on is a merged account; chains are followed to their end. A row of the CRM's source comes before
    one of `*`, then the first source by name. An id excluded before a merge excludes the account that survives; an
    excluded account leaves its parent and siblings in.
    Raises IdentityCycle if merges or parents run in a circle.
    """
    moves = (
        identity_map.filter(
            (pl.col("source") == ANY_SOURCE) | pl.col("source").is_in(accounts["source"].unique().implode())
        )
        .filter(pl.col("source_id") != pl.col("account_id"))
        .sort(pl.col("source") == ANY_SOURCE, "source", "source_id")
        .unique("source_id", keep="first", maintain_order=True)
    )
    ids = pl.concat(
        [
            accounts["account_id"],
            accounts["parent_account_id"],
            identity_map["account_id"],
            moves["source_id"],
        ]
    )
    survivors = _followed(moves.select(id="source_id", to="account_id"), "identity_map maps accounts")
    known = (
        pl.DataFrame({"id": ids.drop_nulls().unique().sort()})
        .join(survivors, on="id", how="left", maintain_order="left")
        .select("id", survivor=pl.coalesce("to", "id"))
    )
    known = known.with_columns(account_id="survivor")
    if policy.account_level == "parent":
        parents = _followed(_parents(accounts, known), "parent_account_id names parents")
        known = known.join(parents, left_on="survivor", right_on="id", how="left", maintain_order="left").with_columns(
            account_id=pl.coalesce("to", "survivor")
        )
    excluded = excluded.group_by(id="account_id").agg(pl.col("reason").min())
    reasons = (
        excluded.join(known, on="id", how="left")
        .select(id=pl.coalesce("survivor", "id"), reason="reason")
        .group_by("id")
        .agg(pl.col("reason").min())
    )
    known = (
        known.join(reasons, left_on="survivor", right_on="id", how="left", maintain_order="left")
        .join(reasons, left_on="account_id", right_on="id", how="left", suffix="_of_top", maintain_order="left")
        .select("id", "account_id", excluded_reason=pl.coalesce("reason", "reason_of_top"))
    )
    return Directory(known, identity_map, excluded, _domains(accounts, known, policy))


def _domains(accounts: pl.DataFrame, known: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """The domains that mean one account: not those of e-mail providers, nor those that several accounts share."""
    named = accounts.select("account_id", domain=pl.col("domain").str.strip_chars().str.to_lowercase())
    return (
        named.filter(
            pl.lit(policy.match_email_domains)
            & (pl.col("domain") != "")
            & ~pl.col("domain").is_in(policy.public_email_domains)
        )
        .join(known, left_on="account_id", right_on="id")
        .select(id="domain", account_id="account_id_right", excluded_reason="excluded_reason")
        .unique()
        .filter(~pl.col("id").is_duplicated())
    )


def account_of_customers(customers: pl.DataFrame, changes: pl.DataFrame, known: Directory) -> pl.DataFrame:
    """The account of every billing customer, also of one that occurs in `subscription_changes` only.

    Grain: source x customer. Columns: source, customer_id, account_id, matched_by, conflicts_with (another account that
    a later match gives), excluded_reason (null if it counts).
    The first match wins: `identity_map`, `account_ref` (an account that is known), `account_id` (a known account of the
    same id), `email_domain` (the only account of the domain of the customer's address, if the policy says so), else the
    customer is an account of its `own`: of the customer's id, with the source's name before it
    where several sources have a customer of that id, for an equal id of two sources means nothing. Decision 16.
    """
    keys = ["source", "customer_id"]
    named = (
        pl.concat(
            [
                customers.select(*keys, "account_ref", "email"),
                changes.select(*keys, account_ref=pl.lit(None, pl.String), email=pl.lit(None, pl.String)),
            ]
        )
        .sort(*keys, "account_ref", "email", nulls_last=True)
        .unique(keys, keep="first", maintain_order=True)
    )
    found = {
        "identity_map": _by_identity_map(named, "customer_id", known),
        "account_ref": _by_id(named, "account_ref", known.known),
        "account_id": _by_id(named, "customer_id", known.known),
        "email_domain": _by_domain(named, "email", known),
        "own": named.select(
            account_id=pl.when(pl.col("customer_id").is_duplicated())
            .then(pl.format("{}:{}", "source", "customer_id"))
            .otherwise("customer_id"),
            excluded_reason=pl.lit(None, pl.String),
        ),
    }
    return _first_match(named.select(keys), "customer_id", found, known)


def account_of_refs(refs: pl.DataFrame, customers: pl.DataFrame, known: Directory) -> pl.DataFrame:
    """The account of every reference that surveys, support, usage, costs or CRM tables make.

    `refs`: source, ref; `customers`: the result of `account_of_customers`. Grain: source x ref that is not null.
    Columns: source, ref, account_id (`unassigned` if nothing matches), conflicts_with, excluded_reason. The first match
    wins: identity map, known account, billing customer (unless customers of that id belong to several accounts), the
    only account of its e-mail domain if the policy says so.
    """
    named = refs.select("source", "ref").drop_nulls().unique().sort("source", "ref")
    unambiguous = (
        customers.group_by(id="customer_id")
        .agg(
            pl.col("account_id").min(),
            pl.col("excluded_reason").min(),
            accounts=pl.col("account_id").n_unique(),
            is_excluded=pl.col("excluded_reason").is_not_null().all(),
        )
        .filter(pl.col("accounts") == 1)
        .select("id", "account_id", excluded_reason=pl.when("is_excluded").then("excluded_reason"))
    )
    found = {
        "identity_map": _by_identity_map(named, "ref", known),
        "account_id": _by_id(named, "ref", known.known),
        "customer_id": _by_id(named, "ref", unambiguous),
        "email_domain": _by_domain(named, "ref", known),
        UNASSIGNED: _nobody(named),
    }
    return _first_match(named, "ref", found, known).drop("matched_by")


def account_of_respondents(respondents: pl.DataFrame, known: Directory) -> pl.DataFrame:
    """The account of every survey respondent: by the identity map, else the only one of the e-mail domain if the
    policy says so; all others are `unassigned`.

    `respondents`: source, respondent_id. Grain: source x respondent_id that is not null. Columns: source,
    respondent_id, account_id, conflicts_with, excluded_reason.
    """
    named = respondents.select("source", "respondent_id").drop_nulls().unique().sort("source", "respondent_id")
    found = {
        "identity_map": _by_identity_map(named, "respondent_id", known),
        "email_domain": _by_domain(named, "respondent_id", known),
        UNASSIGNED: _nobody(named),
    }
    return _first_match(named, "respondent_id", found, known).drop("matched_by")


def resolve(frame: pl.DataFrame, mapping: pl.DataFrame, column: str) -> pl.DataFrame:
    """The frame with the account that `column` means: account_id (`unassigned` without a match) and excluded_reason.

    `mapping`: a result of `account_of_customers`, `account_of_refs` or `account_of_respondents`. Row order is kept; an
    account_id that the frame has already is replaced.
    """
    (key,) = (name for name in _MAPPED_IDS if name in mapping.columns)
    accounts = mapping.select("source", _id=key, _account_id="account_id", _reason="excluded_reason")
    # Only the ids are joined: a join copies all columns of all rows.
    found = frame.select("source", column).join(
        accounts,
        left_on=["source", column],
        right_on=["source", "_id"],
        how="left",
        validate="m:1",
        maintain_order="left",
    )
    return frame.with_columns(account_id=found["_account_id"].fill_null(UNASSIGNED), excluded_reason=found["_reason"])


def resolve_people(frame: pl.DataFrame, refs: pl.DataFrame, respondents: pl.DataFrame) -> pl.DataFrame:
    """Survey rows with the account of their `account_ref`, or where it leads nowhere that of their `respondent_id`."""
    people = resolve(frame, respondents, "respondent_id")
    rows = resolve(frame, refs, "account_ref")
    is_open = (rows["account_id"] == UNASSIGNED) & rows["excluded_reason"].is_null()
    return rows.with_columns(
        pl.when(is_open).then(people[column]).otherwise(rows[column]).alias(column)
        for column in ("account_id", "excluded_reason")
    )


def surviving_accounts(accounts: pl.DataFrame, known: Directory) -> pl.DataFrame:
    """CRM account rows under their resolved account_id, without excluded accounts.

    Of merged accounts (or a parent and its children) the rows of the one that gives its id hold; if the CRM has none of
    it, those of the first id.
    """
    counted = known.known.filter(pl.col("excluded_reason").is_null())
    return _survivors(accounts, counted.select("id", "account_id"))


def without_excluded(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of a resolved frame that count, and how many accounts do not: reason, accounts.

    An excluded account id drops the account; an excluded customer id or reference drops the rows that name it.
    Definitions section 2, the last row.
    """
    counts = (
        frame.filter(pl.col("excluded_reason").is_not_null())
        .group_by(reason="excluded_reason")
        .agg(accounts=pl.col("account_id").n_unique().cast(pl.Int64))
        .sort("reason")
    )
    counted = frame if counts.is_empty() else frame.filter(pl.col("excluded_reason").is_null())
    return counted.drop("excluded_reason"), counts


def with_deletions(changes: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    """Subscription changes in which every item of a deleted customer ends when the customer was deleted.

    See `_ended`. Decision 8; definitions section 2.
    """
    deletions = customers.filter(pl.col("deleted_at").is_not_null()).select("source", "customer_id", "deleted_at")
    if deletions.is_empty():
        return changes
    rows = changes.join(deletions, on=["source", "customer_id"], how="left", validate="m:1", maintain_order="left")
    return _ended(rows).select(changes.columns)


def with_lost_items(changes: pl.DataFrame) -> pl.DataFrame:
    """Subscription changes in which every item that is gone from a full list ends when that was noticed.

    `changes` have `deleted_at`, null in rows that are still there. A row that is gone from an item of which others are
    left was a mistake and counts for nothing; so does one that went before the rest of its item. See `_ended`.
    Definitions section 2, deleted in the source.
    """
    is_gone = pl.col("deleted_at").is_not_null()
    if changes.filter(is_gone).is_empty():
        return changes
    alive = changes.filter(~is_gone)
    gone = (
        changes.filter(is_gone)
        .join(alive, on=["source", "item_id"], how="anti")
        .sort("source", "item_id", "effective_at", "change_id")
        .filter(pl.col("deleted_at") == pl.col("deleted_at").max().over("source", "item_id"))
    )
    return pl.concat([alive, _ended(gone).select(changes.columns)])


def _ended(rows: pl.DataFrame) -> pl.DataFrame:
    """Changes whose items end at `deleted_at` (null where nothing was deleted).

    Adds a row of status `ended`, reason `deleted`, change_id `<item_id>:deleted` for every item that still lives then.
    What would take effect later is dropped; if it was asked for before, it stays as withdrawn at the deletion,
    so that the committed value of the days before does not change.
    """
    at, deleted_at = pl.col("effective_at"), pl.col("deleted_at")
    too_late = ((at > deleted_at) | ((at == deleted_at) & (pl.col("status") != "ended"))).fill_null(False)
    rows = rows.filter(~too_late | (pl.col("requested_at") < deleted_at).fill_null(False)).with_columns(
        withdrawn_at=pl.when(too_late).then(pl.min_horizontal("withdrawn_at", "deleted_at")).otherwise("withdrawn_at")
    )
    items = rows.filter(deleted_at.is_not_null()).select("source", "item_id", item_deleted_at="deleted_at").unique()
    keys = ["source", "item_id", "item_deleted_at"]
    ends = (
        rows.filter(pl.col("withdrawn_at").is_null())
        .join(items, on=["source", "item_id"])
        .filter(at <= pl.col("item_deleted_at"))
        .sort(*keys, "effective_at", "change_id")
        .filter(runs.ends(*keys))
        .filter((deleted_at == pl.col("item_deleted_at")) & (pl.col("status") != "ended"))
        .with_columns(
            change_id=pl.col("item_id") + ":deleted",
            effective_at="deleted_at",
            status=pl.lit("ended"),
            reason=pl.lit(DELETED),
            requested_at=None,
            past_due_since=None,
            term_ends_at=None,
        )
        .select(rows.columns)
        .cast(rows.schema)
    )
    return pl.concat([rows, ends])


def partners(changes: pl.DataFrame) -> pl.DataFrame:
    """Pairs of accounts that share a subscription, or have passed an item on: account_id, partner_id, both ways.

    The value of an item rests on the other items of its subscription, its end on the next change of the item.
    """
    pairs = []
    for shared in ("subscription_id", "item_id"):
        owners = changes.select(shared, "account_id").unique()
        several = owners.filter(pl.col(shared).is_duplicated())
        pairs.append(
            several.join(several.rename({"account_id": "partner_id"}), on=shared).select("account_id", "partner_id")
        )
    return pl.concat(pairs).filter(pl.col("account_id") != pl.col("partner_id")).unique().sort(pl.all())


def identity_coverage(mappings: Mapping[str, pl.DataFrame], arr: pl.DataFrame) -> pl.DataFrame:
    """How many ids found an account, and the ARR on both sides. Grain: kind (as the mapping is called) x source.

    `arr`: account_id, arr_minor of every account; empty where there is no billing. Columns: source, kind, matched,
    unmatched (`unassigned`, or a customer that is an account of its own), conflicting (matches that name different
    accounts), matched_arr_minor (of the accounts that a matched id of the source reaches), unmatched_arr_minor (of all
    others). Definitions section 0, account.
    """
    counted = [
        ids.group_by("source")
        .agg(
            matched=pl.col("is_matched").sum().cast(pl.Int64),
            unmatched=(~pl.col("is_matched")).sum().cast(pl.Int64),
            conflicting=pl.col("conflicts_with").is_not_null().sum().cast(pl.Int64),
        )
        .join(
            ids.filter("is_matched")
            .select("source", "account_id")
            .unique()
            .join(arr, on="account_id")
            .group_by("source")
            .agg(matched_arr_minor=pl.col("arr_minor").sum()),
            on="source",
            how="left",
        )
        .select("source", pl.lit(kind).alias("kind"), "matched", "unmatched", "conflicting", "matched_arr_minor")
        for kind, ids in ((kind, _with_is_matched(mapping)) for kind, mapping in mappings.items())
    ]
    total = None if arr.is_empty() else arr["arr_minor"].sum()
    return (
        pl.concat(counted)
        .with_columns(pl.col("matched_arr_minor").fill_null(pl.lit(None if total is None else 0, pl.Int64)))
        .with_columns(unmatched_arr_minor=pl.lit(total, pl.Int64) - pl.col("matched_arr_minor"))
        .sort("kind", "source")
    )


def identity_conflicts(mappings: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Pairs of accounts that matches of the same ids name: source, kind, account_id (the one that counts),
    conflicts_with, ids. Definitions section 0, account.
    """
    pairs = [
        mapping.drop_nulls("conflicts_with")
        .group_by("source", pl.lit(kind).alias("kind"), "account_id", "conflicts_with")
        .agg(ids=pl.len().cast(pl.Int64))
        for kind, mapping in mappings.items()
    ]
    return pl.concat(pairs).sort("source", "kind", "account_id", "conflicts_with")


def _with_is_matched(mapping: pl.DataFrame) -> pl.DataFrame:
    by = pl.col("matched_by") != "own" if "matched_by" in mapping.columns else pl.col("account_id") != UNASSIGNED
    return mapping.with_columns(is_matched=by)


def _followed(steps: pl.DataFrame, what: str) -> pl.DataFrame:
    """Where each id ends if its steps (id, to) are followed to the last. Doubles the length of the step each round."""
    for _ in range(steps.height.bit_length() + 1):
        onward = steps.join(steps, left_on="to", right_on="id", how="left", suffix="_next", maintain_order="left")
        if onward["to_next"].is_null().all():
            return steps
        steps = onward.select("id", to=pl.coalesce("to_next", "to"))
    circle = steps.filter(pl.col("to").is_in(steps["id"].implode()))["to"].unique().sort()
    names = ", ".join(circle.head(5)) + (f" and {circle.len() - 5} more" if circle.len() > 5 else "")
    raise IdentityCycle(f"{what} in a circle: {names}. Remove one of these links in the source.")


def _parents(accounts: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    """The parent of each account in its newest attributes: id, to. Both after merges."""
    newest = ["account_id", "effective_from", *(["recorded_on"] if "recorded_on" in accounts.columns else [])]
    return (
        _survivors(accounts, known.select("id", "account_id"))
        .sort(*newest, "source", nulls_last=False)
        .filter(runs.ends("account_id"))
        .join(known, left_on="parent_account_id", right_on="id")
        .select(id="account_id", to="survivor")
        .filter(pl.col("id") != pl.col("to"))
    )


def _survivors(accounts: pl.DataFrame, known: pl.DataFrame) -> pl.DataFrame:
    rows = accounts.rename({"account_id": "id"}).join(known, on="id", maintain_order="left")
    leaders = (
        rows.select("account_id", "id")
        .unique()
        .sort("account_id", pl.col("id") != pl.col("account_id"), "id")
        .filter(runs.starts("account_id"))
    )
    return rows.join(leaders, on=["account_id", "id"], how="semi", maintain_order="left").select(accounts.columns)


def _by_id(named: pl.DataFrame, column: str, accounts: pl.DataFrame) -> pl.DataFrame:
    return named.join(accounts, left_on=column, right_on="id", how="left", maintain_order="left").select(
        "account_id", "excluded_reason"
    )


def _by_domain(named: pl.DataFrame, column: str, known: Directory) -> pl.DataFrame:
    """The account of an e-mail address's domain; none of what is no address."""
    domain = pl.col(column).str.strip_chars().str.to_lowercase().str.extract(r"^[^@\s]+@([^@\s]+)$", 1)
    return _by_id(named.select(domain=domain), "domain", known.domains)


def _by_identity_map(named: pl.DataFrame, column: str, known: Directory) -> pl.DataFrame:
    """The account that the identity map gives: the row of the source itself comes before the row of any source."""
    own = known.identity_map.select("source", "source_id", to="account_id")
    anywhere = own.filter(pl.col("source") == ANY_SOURCE).select("source_id", to_anywhere="to")
    targets = (
        named.join(
            own,
            left_on=["source", column],
            right_on=["source", "source_id"],
            how="left",
            validate="m:1",
            maintain_order="left",
        )
        .join(anywhere, left_on=column, right_on="source_id", how="left", validate="m:1", maintain_order="left")
        .select(to=pl.coalesce("to", "to_anywhere"))
    )
    return _by_id(targets, "to", known.known)


def _nobody(named: pl.DataFrame) -> pl.DataFrame:
    return named.select(
        account_id=pl.repeat(UNASSIGNED, pl.len(), dtype=pl.String), excluded_reason=pl.lit(None, pl.String)
    )


def _first_match(named: pl.DataFrame, column: str, found: Mapping[str, pl.DataFrame], known: Directory) -> pl.DataFrame:
    """The first of the matches (row by row as in `named`) that has an account; the last one, a stopgap, always has.

    `conflicts_with`: the account that a later match gives, where it is another; null where all agree.
    """
    options = pl.concat(
        [
            frame.rename({"account_id": f"account_of_{way}", "excluded_reason": f"reason_of_{way}"})
            for way, frame in found.items()
        ],
        how="horizontal",
    )
    matched_by = pl.coalesce(pl.when(pl.col(f"account_of_{way}").is_not_null()).then(pl.lit(way)) for way in found)
    reason = pl.coalesce(pl.when(pl.col("matched_by") == way).then(pl.col(f"reason_of_{way}")) for way in found)
    first = pl.coalesce(f"account_of_{way}" for way in found)
    others = pl.coalesce(
        pl.when(pl.col(f"account_of_{way}") != pl.col("account_id")).then(f"account_of_{way}")
        for way in list(found)[:-1]
    )
    own_reason = named.join(
        known.excluded, left_on=column, right_on="id", how="left", validate="m:1", maintain_order="left"
    )["reason"].alias("own_reason")
    return (
        pl.concat([named, options], how="horizontal")
        .with_columns(own_reason, account_id=first, matched_by=matched_by)
        .select(
            *named.columns,
            "account_id",
            "matched_by",
            conflicts_with=others,
            excluded_reason=pl.coalesce("own_reason", reason),
        )
    )
