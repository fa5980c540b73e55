"""Invoices, payments, credits and metered charges of the sample company, as its billing system would have them."""

import numpy as np
import polars as pl

from pipelines.sample.billing import customer_code
from pipelines.sample.catalogue import BUSINESS, CURRENCIES, ENTERPRISE, ONBOARDING_PRICE, PLAN_OF, UNIT
from pipelines.sample.days import add_months, as_instant
from pipelines.sample.extract import Company, code, instant_by, short, word
from pipelines.sample.population import METERED
from pipelines.sample.subscriptions import ADD_ON_CYCLE, ADD_ON_PRORATION, CYCLE, PRORATION

_TAX_PERCENT = np.array([0, 19, 20, 21, 21, 0, 10, 0, 0, 0, 0])
"""By country, in the order of `population.COUNTRIES`."""
_RETRY_DAYS = (3, 7, 14, 21)
_DECLINE_CODES = (
    "insufficient_funds",
    "card_declined",
    "expired_card",
    "do_not_honor",
    "authentication_required",
    "fraudulent",
)
_WRITE_OFF_DAYS = 90


def _billed(company: Company) -> pl.DataFrame:
    """All invoices issued by the day, with amounts and oddities in columns.

    On purpose: some invoices were never written (`unbilled`), some were written twice and one of the two voided
    (`is_void`), some bill a seat `too_much` and are credited later.
    """
    people, dice = company.people, company.dice
    frame = company.history.invoices.filter(pl.col("issued") <= company.as_of)
    who = frame["account"].to_numpy().astype(np.int64)
    key = who * 1024 + frame["number"].to_numpy()
    oddity = dice.uniform("invoice is odd", key)
    main = (frame["amount"] - frame["discount"]).to_numpy()
    is_too_much = (oddity >= 0.006) & (oddity < 0.008) & (main > 0) & (frame["kind"].to_numpy() == CYCLE)
    too_much = np.where(is_too_much, frame["amount"].to_numpy() // frame["seats"].to_numpy(), 0)
    main = main + too_much
    one_time = np.where(frame["one_time"].to_numpy() == 1, UNIT[ONBOARDING_PRICE + people.currency[who]], 0)
    extra = (frame["add_on_amount"] - frame["add_on_discount"]).to_numpy()
    net = main + extra + one_time - frame["credit"].to_numpy()
    tax = net * _TAX_PERCENT[people.country[who]] // 100
    frame = frame.drop("one_time").with_columns(
        second=pl.Series(people.second[who], dtype=pl.Int32),
        key=pl.Series(key),
        main=pl.Series(main),
        too_much=pl.Series(too_much),
        extra=pl.Series(extra),
        one_time=pl.Series(one_time),
        tax=pl.Series(tax),
        total=pl.Series(net + tax),
        currency=company.currency_of(frame["price"]),
        is_void=pl.lit(False),
        suffix=code("") + "." + short("number"),
    )
    twin = frame.filter(pl.Series(oddity < 0.004)).with_columns(
        is_void=pl.lit(True), suffix=pl.col("suffix").str.replace(".", "v", literal=True), paid=pl.lit(-1, pl.Int32)
    )
    return pl.concat([frame.filter(pl.Series((oddity < 0.004) | (oddity >= 0.006))), twin])


def invoices(company: Company) -> pl.DataFrame:
    """One row per invoice."""
    as_of = company.as_of
    is_paid = pl.col("paid").is_between(0, as_of)
    return _billed(company).with_columns(
        invoice_id="n" + pl.col("suffix"),
        customer_id=customer_code(),
        subscription_id=_subscription(),
        status=pl.when("is_void")
        .then(pl.lit("void"))
        .when(is_paid)
        .then(pl.lit("paid"))
        .when(pl.col("issued") + _WRITE_OFF_DAYS <= as_of)
        .then(pl.lit("uncollectible"))
        .otherwise(pl.lit("open")),
        issued_at=as_instant("issued", "second"),
        due_at=as_instant("due", "second"),
        paid_at=instant_by(as_of, "paid"),
        total_minor="total",
        tax_minor="tax",
        known=pl.col("issued"),
    )


def invoice_lines(company: Company) -> pl.DataFrame:
    """One row per line: the plan or add-on, an add-on beside the plan, what a change gives back, packages, tax."""
    frame = _billed(company)
    on_add_on = pl.col("kind").is_in([ADD_ON_CYCLE, ADD_ON_PRORATION])
    frame = frame.with_columns(
        item=_item(pl.when(on_add_on).then(pl.lit("b")).otherwise(pl.lit("a"))),
        is_proration=pl.col("kind").is_in([PRORATION, ADD_ON_PRORATION]),
    )
    bought = frame.filter(pl.col("amount") > 0).with_columns(sold="main")
    beside = frame.filter(pl.col("add_on_amount") > 0).with_columns(
        sold="extra", item=_item(pl.lit("b")), discount="add_on_discount", seats=None
    )
    back = frame.filter(pl.col("credit") > 0).with_columns(sold=-pl.col("credit"), discount=0, seats=None)
    others = {"discount": pl.lit(0), "seats": None, "item": None, "is_proration": False}
    packages = frame.filter(pl.col("one_time") > 0).with_columns(sold="one_time", **others)
    taxes = frame.filter(pl.col("tax") != 0).with_columns(sold="tax", **others)
    return pl.concat(
        [
            _lines("a", "recurring", bought),
            _lines("b", "recurring", beside),
            _lines("c", "recurring", back),
            _lines("d", "one_time", packages),
            _lines("t", "tax", taxes),
        ]
    )


def _lines(letter: str, kind: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Lines of one kind; `sold` is the amount after discounts."""
    return frame.select(
        "is_proration",
        "currency",
        line_id=letter + pl.col("suffix"),
        invoice_id="n" + pl.col("suffix"),
        subscription_id=_subscription(),
        item_id="item",
        kind=pl.lit(kind),
        amount_minor="sold",
        discount_minor=pl.col("discount").cast(pl.Int64),
        quantity=pl.col("seats").cast(pl.Int64),
        period_start=as_instant("start", "second"),
        period_end=as_instant("end", "second"),
        known=pl.col("issued"),
    )


def _subscription() -> pl.Expr:
    return code("s") + "-" + pl.col("subscription").cast(pl.String)


def _item(letter: pl.Expr) -> pl.Expr:
    return code("i") + "-" + pl.col("subscription").cast(pl.String) + letter


def payment_attempts(company: Company) -> pl.DataFrame:
    """One row per attempt: the first at issue, retries after 3, 7, 14 and 21 days, and the one that works."""
    dice, as_of = company.dice, company.as_of
    frame = _billed(company).filter((pl.col("total") > 0) & ~pl.col("is_void")).with_columns(tries=pl.lit(0))
    by_transfer = (pl.col("kind") == CYCLE) & pl.Series(PLAN_OF[frame["price"].to_numpy()] == ENTERPRISE)
    frame = frame.with_columns(fails=(pl.col("paid") != pl.col("issued")) & ~by_transfer)
    failing = frame.filter("fails")
    parts = [failing.with_columns(day=pl.col("issued"), works=pl.lit(False), tries=pl.lit(1))]
    for number, days in enumerate(_RETRY_DAYS, start=2):
        day = pl.col("issued") + days
        fails_again = failing.filter((pl.col("paid") < 0) | (day < pl.col("paid")))
        parts.append(fails_again.with_columns(day=day, works=pl.lit(False), tries=pl.lit(number)))
    paid = frame.filter(pl.col("paid") >= 0)
    waited = pl.col("paid") - pl.col("issued")
    earlier = sum(((waited > days).cast(pl.Int32) for days in _RETRY_DAYS), start=pl.lit(1, pl.Int32))
    parts.append(
        paid.with_columns(day=pl.col("paid"), works=pl.lit(True), tries=pl.when("fails").then(earlier + 1).otherwise(1))
    )
    attempts = pl.concat(parts, how="vertical_relaxed").filter(pl.col("day") <= as_of)
    why = dice.pick("declined because", (45, 20, 17, 10, 5, 3), attempts["key"].to_numpy())
    return attempts.with_columns(
        attempt_id=pl.lit("p") + pl.col("suffix").str.slice(0, 7) + _letter("tries") + pl.col("suffix").str.slice(8),
        invoice_id="n" + pl.col("suffix"),
        customer_id=customer_code(),
        attempt_number="tries",
        attempted_at=as_instant("day", "second"),
        status=pl.when("works").then(pl.lit("succeeded")).otherwise(pl.lit("failed")),
        decline_code=pl.when(~pl.col("works")).then(word(_DECLINE_CODES, why)),
        amount_minor="total",
        known=pl.col("day"),
    )


def _letter(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).replace({str(number): "zabcdefgh"[number] for number in range(1, 9)})


def credit_notes(company: Company) -> pl.DataFrame:
    """Credits: goodwill and outages, seats billed too much, and the rest of a period that ended at once."""
    dice = company.dice
    frame = _billed(company).filter((pl.col("kind") == CYCLE) & ~pl.col("is_void"))
    rest = company.history.credits.select("account", "number", ended="day", rest="amount")
    frame = frame.join(
        rest.unique(["account", "number"], keep="first", maintain_order=True),
        on=["account", "number"],
        how="left",
        maintain_order="left",
    )
    key = frame["key"].to_numpy()
    later = pl.col("issued") + pl.Series(dice.whole("credited after", 3, 30, key), dtype=pl.Int32)
    is_kind = pl.Series(dice.uniform("is credited", key) < 0.006) & (pl.col("main") > 10) & (pl.col("paid") >= 0)
    share = pl.Series(dice.whole("credited percent", 10, 60, key))
    kind = word(("outage", "goodwill"), dice.pick("credited because", (4, 6), key))
    has_rest, is_wrong = pl.col("rest") > 0, pl.col("too_much") > 0
    later_notes = frame.with_columns(
        letter=pl.lit("x"),
        day=later,
        amount_minor=pl.when(is_wrong)
        .then("too_much")
        .when(is_kind & ~has_rest.fill_null(False))
        .then(pl.col("main") * share // 100),
        reason=pl.when(is_wrong).then(pl.lit("billing_error")).otherwise(kind),
    )
    rests = frame.with_columns(
        letter=pl.lit("y"), day=pl.col("ended"), amount_minor="rest", reason=pl.lit("unused_time")
    ).filter(has_rest)
    return pl.concat([later_notes.filter(pl.col("amount_minor").is_not_null()), rests]).with_columns(
        credit_note_id=pl.col("letter") + pl.col("suffix"),
        invoice_id="n" + pl.col("suffix"),
        line_id=pl.when(pl.col("amount") > 0).then("a" + pl.col("suffix")),
        customer_id=customer_code(),
        issued_at=as_instant("day", "second"),
        known=pl.col("day"),
    )


def refunds(company: Company) -> pl.DataFrame:
    """Full refunds of those who quit with their money back, and a few partial ones."""
    dice = company.dice
    frame = _billed(company).filter((pl.col("paid") >= 0) & (pl.col("total") > 10) & ~pl.col("is_void"))
    full = company.history.refunds.select("account", "number", refunded="day").unique(
        ["account", "number"], keep="first"
    )
    frame = frame.join(full, on=["account", "number"], how="left", maintain_order="left")
    key = frame["key"].to_numpy()
    partly = pl.Series(dice.uniform("is refunded in part", key) < 0.0015)
    later = pl.col("paid") + pl.Series(dice.whole("refunded after", 2, 25, key), dtype=pl.Int32)
    return (
        frame.with_columns(
            day=pl.coalesce("refunded", pl.when(partly).then(later)),
            amount_minor=pl.when(pl.col("refunded").is_not_null()).then("total").otherwise(pl.col("total") // 3),
            refund_id="q" + pl.col("suffix"),
            invoice_id="n" + pl.col("suffix"),
            customer_id=customer_code(),
        )
        .filter(pl.col("day").is_not_null())
        .with_columns(refunded_at=as_instant("day", "second"), known=pl.col("day"))
    )


def usage_charges(company: Company) -> pl.DataFrame:
    """Monthly charges for use: overage of larger plans, and accounts that pay by use only."""
    people, dice = company.people, company.dice
    months = company.months.filter(pl.col("plan") >= BUSINESS)
    who = months["account"].to_numpy().astype(np.int64)
    over = (dice.uniform("uses the API", who) < 0.2) & (dice.uniform("overage", who, months["month"].to_numpy()) < 0.6)
    over_who, over_day = who[over], months["start"].to_numpy()[over].astype(np.int64)
    metered = company.those(people.role == METERED)
    lifetime = dice.whole("uses the API for months", 3, 45, metered)
    age = np.arange(lifetime.sum()) - np.repeat(np.cumsum(lifetime) - lifetime, lifetime)
    metered = np.repeat(metered, lifetime)
    who = np.concatenate([over_who, metered])
    day = np.concatenate([over_day, add_months(people.sign_up[metered], age + 1)])
    key = who * 2**16 + day % 2**16
    dollars = np.exp(3.2 + 0.9 * dice.normal("size of the charge", key) + 0.3 * dice.normal("heavy user", who))
    per_dollar = np.array([100, 92, 140])[people.currency[who]]
    return pl.DataFrame({"account": who, "day": day, "second": people.second[who]}).select(
        charge_id=code("u") + "-" + pl.col("day").cast(pl.String),
        customer_id=code("cus_"),
        charged_at=as_instant("day", "second"),
        amount_minor=pl.Series((dollars * per_dollar).astype(np.int64)),
        currency=word(CURRENCIES, people.currency[who]),
        known=pl.col("day").cast(pl.Int32),
    )
