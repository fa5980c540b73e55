"""Every rule of the definitions, sections 0 to 3, and every kind of data they need occurs in the sample company.

Each rule is a query on the raw frames that counts its cases, written without the code that makes them.
"""

from collections.abc import Callable
from datetime import date, timedelta

import polars as pl
import pytest

from pipelines.sample.company import sample_company

Frames = dict[str, pl.DataFrame]


@pytest.fixture(scope="module")
def frames() -> Frames:
    made = sample_company()
    changes = (
        made["subscription_changes"]
        .unique()
        .filter(pl.col("effective_at").is_not_null() & ~pl.col("change_id").str.starts_with("DIRT"))
        .join(made["prices"], on="price_id", how="left", suffix="_of_price")
        .with_columns(
            *(
                pl.coalesce(name, f"{name}_of_price")
                for name in ("product", "plan", "kind", "currency", "unit_amount_minor", "interval", "interval_count")
            ),
            day=pl.col("effective_at").dt.date(),
        )
        .sort("item_id", "effective_at", "change_id")
    )
    previous = [
        pl.col(name).shift(1).over("item_id").alias(f"last_{name}")
        for name in ("status", "plan", "quantity", "unit_amount_minor", "day", "interval")
    ]
    made["states"] = changes.filter(pl.col("withdrawn_at").is_null()).with_columns(*previous)
    made["all_changes"] = changes
    return made


def states(frames: Frames, *rule: pl.Expr) -> int:
    return frames["states"].filter(*rule).height


def status(name: str) -> pl.Expr:
    return pl.col("status") == name


def after(name: str) -> pl.Expr:
    return pl.col("last_status") == name


def runs(name: str, low: int, high: int, then: str) -> list[pl.Expr]:
    """Changes to `then` after low to high days of another status."""
    return [status(then), after(name), (pl.col("day") - pl.col("last_day")).dt.total_days().is_between(low, high)]


def never_paid(frames: Frames, kind: str) -> int:
    """Customers whose states are of one kind only."""
    kinds = frames["states"].group_by("customer_id").agg(pl.col("kind").unique())
    return kinds.filter(pl.col("kind") == [kind]).height


def new_starts(frames: Frames, low: int, high: int) -> int:
    """Subscriptions that begin some days after another one of the same customer ended, as its first return."""
    spans = frames["states"].group_by("customer_id", "subscription_id").agg(
        start=pl.col("day").min(), end=pl.col("day").filter(pl.col("status") == "ended").max()
    )  # fmt: skip
    pairs = spans.join(spans, on="customer_id", suffix="_next").filter(
        pl.col("subscription_id") != pl.col("subscription_id_next")
    )
    return pairs.filter((pl.col("start_next") - pl.col("end")).dt.total_days().is_between(low, high)).height


def discounts(frames: Frames, *rule: pl.Expr) -> int:
    intervals = frames["states"].group_by("subscription_id").agg(pl.col("interval").first())
    return frames["discounts"].join(intervals, on="subscription_id").filter(*rule).height


def same_day_starts_and_ends(frames: Frames) -> int:
    items = frames["states"].group_by("item_id").agg(pl.col("day").n_unique(), pl.col("status").last())
    return items.filter((pl.col("day") == 1) & (pl.col("status") == "ended")).height


def several_subscriptions(frames: Frames) -> int:
    """Customers with a subscription that begins while another runs."""
    spans = frames["states"].group_by("customer_id", "subscription_id").agg(
        start=pl.col("day").min(),
        end=pl.col("day").filter(pl.col("status") == "ended").max().fill_null(date(2099, 1, 1)),
    )  # fmt: skip
    pairs = spans.join(spans, on="customer_id", suffix="_b")
    return pairs.filter((pl.col("start") < pl.col("start_b")) & (pl.col("start_b") < pl.col("end"))).height


def mapped_customers(frames: Frames) -> int:
    return frames["customers"].join(frames["identity_map"], left_on="customer_id", right_on="source_id").height


def unmapped_customers(frames: Frames) -> int:
    unnamed = frames["customers"].filter(pl.col("account_ref").is_null() & pl.col("customer_id").is_not_null())
    return unnamed.join(frames["identity_map"], left_on="customer_id", right_on="source_id", how="anti").height


def accounts_with_two_customers(frames: Frames) -> int:
    """Accounts with two billing customers, one of them by the identity map."""
    mapped = frames["customers"].join(
        frames["identity_map"].select("source_id", account="account_id"),
        left_on="customer_id", right_on="source_id", how="left",
    ).with_columns(account=pl.coalesce("account", "account_ref"))  # fmt: skip
    return mapped.group_by("account").len().filter((pl.col("len") > 1) & pl.col("account").is_not_null()).height


def late_term_renewals(frames: Frames) -> pl.DataFrame:
    decided = frames["contracts"].filter(pl.col("outcome") == "renewed")
    return decided.with_columns(late=(pl.col("decided_at") - pl.col("term_end")).dt.total_days())


def attempts_of_failed(frames: Frames) -> pl.DataFrame:
    return frames["payment_attempts"].unique().group_by("invoice_id").agg(
        failed=(pl.col("status") == "failed").sum(), succeeded=(pl.col("status") == "succeeded").sum()
    )  # fmt: skip


def answers_twice(frames: Frames) -> int:
    answers = frames["survey_responses"].unique()
    return answers.group_by("survey_id", "respondent_id", "wave").len().filter(pl.col("len") > 1).height


def lines(frames: Frames) -> pl.DataFrame:
    return frames["invoice_lines"].join(frames["invoices"], on="invoice_id", suffix="_of_invoice")


def full_refunds(frames: Frames) -> int:
    """Invoices refunded whole to customers who quit at once."""
    whole = frames["refunds"].join(frames["invoices"], on="invoice_id", suffix="_billed").filter(
        pl.col("amount_minor") == pl.col("total_minor")
    )  # fmt: skip
    quitters = frames["states"].filter(status("ended"), pl.col("reason") == "refund")
    return whole.join(quitters, on="customer_id", how="semi").height


RULES: dict[str, Callable[[Frames], int]] = {
    "a trial that converts": lambda f: states(f, status("active"), after("trialing")),
    "a trial that never pays": lambda f: states(f, status("ended"), after("trialing")),
    "a monthly plan": lambda f: states(f, pl.col("interval") == "month"),
    "a quarterly plan": lambda f: states(f, pl.col("interval") == "quarter"),
    "a yearly plan": lambda f: states(f, pl.col("interval") == "year"),
    "a plan of several weeks, months or years": lambda f: states(f, pl.col("interval_count") > 1),
    "US dollars": lambda f: states(f, pl.col("currency") == "USD"),
    "euros": lambda f: states(f, pl.col("currency") == "EUR"),
    "yen, which have no minor unit": lambda f: states(f, pl.col("currency") == "JPY"),
    "more seats": lambda f: states(f, status("active"), after("active"), pl.col("quantity") > pl.col("last_quantity")),
    "fewer seats": lambda f: states(f, status("active"), after("active"), pl.col("quantity") < pl.col("last_quantity")),
    "fewer seats, asked for before": lambda f: states(
        f, status("active"), pl.col("quantity") < pl.col("last_quantity"), pl.col("requested_at").is_not_null()
    ),
    "a price rise": lambda f: states(
        f, status("active"), pl.col("plan") == pl.col("last_plan"), pl.col("interval") == pl.col("last_interval"),
        pl.col("unit_amount_minor") > pl.col("last_unit_amount_minor"),
    ),
    "an upgrade": lambda f: states(f, pl.col("plan") == "Business", pl.col("last_plan") == "Team"),
    "a downgrade": lambda f: states(f, pl.col("plan") == "Team", pl.col("last_plan") == "Business"),
    "a change from monthly to yearly": lambda f: states(
        f, pl.col("interval") == "year", pl.col("last_interval") == "month"
    ),
    "cancelled and created on one day": lambda f: new_starts(f, 0, 0),
    "a new start within three days": lambda f: new_starts(f, 1, 3),
    "a new start after four to fifteen days": lambda f: new_starts(f, 4, 15),
    "a win-back": lambda f: new_starts(f, 40, 600),
    "several subscriptions of one customer": several_subscriptions,
    "two items of one subscription": lambda f: f["states"].group_by("subscription_id").agg(
        pl.col("item_id").n_unique()
    ).filter(pl.col("item_id") > 1).height,
    "start and end on one day": same_day_starts_and_ends,
    "a discount for ever": lambda f: discounts(f, pl.col("duration") == "forever", pl.col("percent_off_bp") < 10_000),
    "a discount for some months": lambda f: discounts(f, pl.col("duration") == "repeating"),
    "a coupon for one month of a monthly plan": lambda f: discounts(
        f, pl.col("duration") == "once", pl.col("interval") == "month"
    ),
    "a coupon for one year of a yearly plan": lambda f: discounts(
        f, pl.col("duration") == "once", pl.col("interval") == "year"
    ),
    "an amount off": lambda f: discounts(f, pl.col("amount_off_minor") > 0),
    "all of the price off for a time": lambda f: discounts(
        f, pl.col("percent_off_bp") == 10_000, pl.col("duration") == "repeating"
    ),
    "all of the price off for ever": lambda f: discounts(
        f, pl.col("percent_off_bp") == 10_000, pl.col("duration") == "forever"
    ),
    "a cancellation at the period's end": lambda f: states(
        f, status("ended"), pl.col("requested_at") < pl.col("effective_at")
    ),
    "a cancellation that is still to come": lambda f: states(f, status("ended"), pl.col("day") > date(2026, 9, 30)),
    "a withdrawn cancellation": lambda f: f["all_changes"].filter(pl.col("withdrawn_at").is_not_null()).height,
    "an immediate cancellation": lambda f: states(
        f, status("ended"), after("active"), pl.col("requested_at").is_null(), pl.col("reason") == "requested"
    ),
    "a full refund": full_refunds,
    "a pause that is resumed within 90 days": lambda f: states(f, *runs("paused", 1, 90, "active")),
    "a pause of more than 90 days": lambda f: states(f, *runs("paused", 91, 400, "active")),
    "a pause that ends the subscription": lambda f: states(f, status("ended"), after("paused")),
    "past due, recovered within grace": lambda f: states(f, *runs("past_due", 1, 29, "active")),
    "past due, recovered after grace": lambda f: states(f, *runs("past_due", 31, 120, "active")),
    "past due without an end": lambda f: f["states"].group_by("item_id").last().filter(
        status("past_due"), pl.col("day") < date(2026, 8, 1)
    ).height,
    "past due, ended by billing": lambda f: states(f, *runs("past_due", 1, 29, "ended")),
    "unpaid": lambda f: states(f, status("unpaid"), after("past_due")),
    "unpaid, then paid again": lambda f: states(
        f, status("active"), after("unpaid"), pl.col("reason") == "payment_recovered"
    ),
    "a fixed term": lambda f: states(f, pl.col("term_ends_at").is_not_null()),
    "a fixed term that lapses": lambda f: f["states"].group_by("item_id").last().filter(
        status("active"), pl.col("term_ends_at").dt.date() < date(2026, 8, 1)
    ).height,
    "a fixed term renewed late, within grace": lambda f: late_term_renewals(f).filter(
        pl.col("late").is_between(1, 29)
    ).height,
    "a fixed term renewed early": lambda f: late_term_renewals(f).filter(pl.col("late") < -10).height,
    "a term renewed at a higher value": lambda f: late_term_renewals(f).filter(
        pl.col("renewed_arr_minor") > pl.col("arr_minor")
    ).height,
    "a term renewed in part": lambda f: late_term_renewals(f).filter(
        pl.col("renewed_arr_minor") < pl.col("arr_minor")
    ).height,
    "a term that is lost": lambda f: f["contracts"].filter(pl.col("outcome") == "lost").height,
    "a term that is open after its end": lambda f: f["contracts"].filter(
        pl.col("outcome").is_null(), pl.col("term_end") < date(2026, 8, 1), ~pl.col("is_evergreen")
    ).height,
    "a term cancelled before it is due": lambda f: f["contracts"].filter(
        pl.col("cancelled_at") < pl.col("term_end")
    ).height,
    "a month-to-month term": lambda f: f["contracts"].filter("is_evergreen").height,
    "a term that is due soon": lambda f: f["contracts"].filter(
        pl.col("term_end").is_between(date(2026, 10, 1), date(2026, 12, 31)), pl.col("outcome").is_null()
    ).height,
    "an account in two currencies at once": lambda f: f["states"].group_by("customer_id").agg(
        pl.col("currency").n_unique(), pl.col("status").filter(status("ended")).len().alias("ends")
    ).filter((pl.col("currency") > 1) & (pl.col("ends") == 0)).height,
    "a currency switch on one day": lambda f: f["states"].filter(status("ended")).join(
        f["states"].filter(status("active")), on=["customer_id", "day"]
    ).filter(pl.col("currency") != pl.col("currency_right")).height,
    "re-created under a new customer id": accounts_with_two_customers,
    "a subscription ended by the migration": lambda f: states(f, status("ended"), pl.col("reason") == "migrated"),
    "two CRM accounts merged": lambda f: f["accounts"].join(
        f["identity_map"], left_on="account_id", right_on="source_id"
    ).height,
    "a deleted customer that was active": lambda f: f["customers"].filter(pl.col("deleted_at").is_not_null()).join(
        f["states"].group_by("customer_id").agg(pl.col("status").last()), on="customer_id"
    ).filter(status("active")).height,
    "a deleted customer that had ended": lambda f: f["customers"].filter(pl.col("deleted_at").is_not_null()).join(
        f["states"].group_by("customer_id").agg(pl.col("status").last()), on="customer_id"
    ).filter(status("ended")).height,
    "a test account": lambda f: f["excluded_accounts"].filter(pl.col("reason") == "test").height,
    "an internal account": lambda f: f["excluded_accounts"].filter(pl.col("reason") == "internal").height,
    "a partner account": lambda f: f["excluded_accounts"].filter(pl.col("reason") == "partner").height,
    "use without a licence": lambda f: never_paid(f, "metered"),
    "a metered price with a minimum": lambda f: states(
        f, pl.col("kind") == "metered", pl.col("unit_amount_minor") > 0
    ),
    "one-time purchases only": lambda f: never_paid(f, "one_time"),
    "a one-time charge": lambda f: f["invoice_lines"].filter(pl.col("kind") == "one_time").height,
    "the free plan, then a paid one": lambda f: states(
        f, pl.col("last_plan") == "Free", pl.col("unit_amount_minor") > 0
    ),
    "a paid plan, then the free one": lambda f: states(f, pl.col("plan") == "Free", pl.col("last_plan") != "Free"),
    "a customer that only the identity map links": mapped_customers,
    "a customer that nobody links": unmapped_customers,
    "a respondent that nobody links": lambda f: f["survey_responses"].filter(pl.col("account_ref").is_null()).join(
        f["identity_map"], left_on="respondent_id", right_on="source_id", how="anti"
    ).height,
    "a respondent that the identity map links": lambda f: f["survey_responses"].join(
        f["identity_map"], left_on="respondent_id", right_on="source_id"
    ).height,
    "a ticket that nobody links": lambda f: f["tickets"].filter(pl.col("account_ref").is_null()).height,
    "a ticket of an organisation": lambda f: f["tickets"].join(
        f["identity_map"], left_on="account_ref", right_on="source_id"
    ).height,
    "an account with a parent": lambda f: f["accounts"].filter(pl.col("parent_account_id").is_not_null()).height,
    "an account without a customer": lambda f: f["accounts"].filter(pl.col("account_id").str.starts_with("A")).join(
        f["customers"].with_columns(account_id="A" + pl.col("customer_id").str.slice(4)), on="account_id", how="anti"
    ).height,
    "an owner who changes": lambda f: f["accounts"].group_by("account_id").agg(
        pl.col("owner").n_unique()
    ).filter(pl.col("owner") > 1).height,
    "an account above the potential of the policy": lambda f: f["accounts"].filter(
        pl.col("expansion_potential") >= 70
    ).height,
    "a payment that fails and is recovered": lambda f: attempts_of_failed(f).filter(
        (pl.col("failed") > 0) & (pl.col("succeeded") > 0)
    ).height,
    "a payment that fails for good": lambda f: attempts_of_failed(f).filter(
        (pl.col("failed") >= 5) & (pl.col("succeeded") == 0)
    ).height,
    "an invoice that is still open": lambda f: f["invoices"].filter(pl.col("status") == "open").height,
    "a voided invoice": lambda f: f["invoices"].filter(pl.col("status") == "void").height,
    "an invoice written off": lambda f: f["invoices"].filter(pl.col("status") == "uncollectible").height,
    "a prorated line": lambda f: f["invoice_lines"].filter("is_proration", pl.col("amount_minor") > 0).height,
    "a line that gives back": lambda f: f["invoice_lines"].filter("is_proration", pl.col("amount_minor") < 0).height,
    "a line with tax": lambda f: f["invoice_lines"].filter(pl.col("kind") == "tax").height,
    "a line without a subscription": lambda f: f["invoice_lines"].filter(
        pl.col("kind") == "recurring", pl.col("item_id").is_null()
    ).height,
    "a credit note": lambda f: f["credit_notes"].join(
        f["invoice_lines"], on="line_id"
    ).filter(pl.col("amount_minor") <= pl.col("amount_minor_right")).height,
    "a cost that is reversed": lambda f: f["costs"].filter(pl.col("amount_minor") < 0).height,
    "a cost of a segment": lambda f: f["costs"].filter(pl.col("segment").is_not_null()).height,
    "a superseded answer": answers_twice,
    "an unfinished answer": lambda f: f["survey_responses"].filter(~pl.col("is_complete")).height,
    "an invitation that bounced": lambda f: f["survey_invitations"].filter(~pl.col("is_delivered")).height,
    "a survey without delivery data": lambda f: f["survey_responses"].join(
        f["survey_invitations"], on="survey_id", how="anti"
    ).join(f["surveys"], on="survey_id").height,
    "a scale whose high end is bad": lambda f: f["surveys"].filter(~pl.col("higher_is_better")).height,
    "a thumb": lambda f: f["surveys"].filter(pl.col("scale_max") == 1).height,
    "a low score that was followed up": lambda f: f["survey_responses"].filter(
        pl.col("contacted_at") > pl.col("responded_at")
    ).height,
    "a ticket without a type": lambda f: f["tickets"].filter(pl.col("type").is_null()).height,
    "a ticket without an answer": lambda f: f["tickets"].join(
        f["ticket_replies"].filter((pl.col("author") == "agent") & pl.col("is_public")), on="ticket_id", how="anti"
    ).height,
    "an automatic reply": lambda f: f["ticket_replies"].filter("is_auto").height,
    "a private note": lambda f: f["ticket_replies"].filter(~pl.col("is_public")).height,
    "a ticket that does not count": lambda f: f["tickets"].filter("is_excluded").height,
    "seats without a limit": lambda f: f["seats"].filter(pl.col("purchased_seats").is_null()).height,
    "onboarding that is late": lambda f: f["milestones"].filter(pl.col("completed_on") > pl.col("due_on")).height,
    "onboarding that is still open": lambda f: f["milestones"].filter(pl.col("completed_on").is_null()).height,
    "an outcome achieved": lambda f: f["outcomes"].filter(pl.col("achieved_on") <= pl.col("due_on")).height,
    "a lost opportunity": lambda f: f["opportunities"].filter(~pl.col("is_won")).height,
    "a loss reason that the policy does not know": lambda f: f["loss_reasons"].filter(
        pl.col("reason") == "Champion left"
    ).height,
    "an account lost for non-payment": lambda f: f["loss_reasons"].filter(
        pl.col("reason") == "payment_failed"
    ).height,
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_sample_company_has(frames, rule):
    assert RULES[rule](frames) > 0


IN_THE_POPULATION = (
    "a trial that converts",
    "more seats",
    "fewer seats",
    "an upgrade",
    "a downgrade",
    "a price rise",
    "a withdrawn cancellation",
    "an immediate cancellation",
    "a pause that is resumed within 90 days",
    "a pause of more than 90 days",
    "past due, recovered within grace",
    "past due, recovered after grace",
    "past due, ended by billing",
    "unpaid, then paid again",
    "a fixed term renewed late, within grace",
    "a win-back",
    "several subscriptions of one customer",
    "re-created under a new customer id",
)


@pytest.mark.parametrize("rule", IN_THE_POPULATION)
def test_beyond_the_hand_placed_accounts_the_population_has(frames, rule):
    without_stories = {
        table: frame.filter(~pl.any_horizontal(pl.col(pl.String).fill_null("").str.contains("ST-")))
        for table, frame in frames.items()
    }
    assert RULES[rule](without_stories) > 0


# -- Does it look like a company? ------------------------------------------------------------------------------------


def test_revenue_grows_every_year(frames):
    dollars = frames["invoices"].filter((pl.col("currency") == "USD") & (pl.col("status") == "paid"))
    by_year = dollars.group_by(pl.col("issued_at").dt.year()).agg(pl.col("total_minor").sum()).sort("issued_at")
    first, second, third, _ = by_year["total_minor"]
    assert first < second < third


def test_sign_ups_follow_the_season(frames):
    created = frames["customers"].filter(pl.col("created_at").dt.year() < 2026)
    months = dict(created.group_by(pl.col("created_at").dt.month()).len().rows())
    assert months[1] + months[9] > 1.2 * (months[7] + months[8])


def ends_per_month(frames: Frames, plan: str, interval: str) -> float:
    """Ended main items of the population per item and month of running, roughly: ends over months billed."""
    items = frames["states"].filter(
        pl.col("item_id").str.ends_with("a"), pl.col("product") == "Core", pl.col("plan") == plan,
        pl.col("interval") == interval,
    )  # fmt: skip
    ended = items.filter(status("ended"), pl.col("last_status").is_in(["active", "past_due"])).height
    spans = items.group_by("item_id").agg(
        start=pl.col("day").filter(status("active")).min(),
        end=pl.col("day").filter(status("ended")).max().fill_null(date(2026, 9, 30)),
    )
    return float(ended / (spans.select((pl.col("end") - pl.col("start")).dt.total_days().sum()).item() / 30.4))


def test_small_monthly_plans_lose_three_to_five_percent_a_month_and_larger_plans_less(frames):
    rates = {plan: ends_per_month(frames, plan, "month") for plan in ("Starter", "Team", "Business")}
    assert 0.02 < rates["Starter"] < 0.06
    assert rates["Starter"] > rates["Team"] > rates["Business"]
    assert ends_per_month(frames, "Enterprise", "year") < rates["Team"]


def leaving_days(frames: Frames) -> pl.DataFrame:
    """Accounts of the population that left by choice, and when."""
    left = frames["states"].filter(
        status("ended"), after("active"), pl.col("item_id").str.ends_with("a"),
        pl.col("change_id").str.starts_with("c"),
        pl.col("reason").is_in(["requested", "price", "competitor", "low_usage", "missing_feature", "poor_support"]),
    )  # fmt: skip
    return left.select(account_ref="A" + pl.col("customer_id").str.slice(4), left="day").sort("left")


def test_use_falls_before_an_account_leaves(frames):
    users = frames["daily_use"].filter(pl.col("feature") == "login").join(leaving_days(frames), on="account_ref")
    before = users.with_columns(days=(pl.col("left") - pl.col("day")).dt.total_days())
    joined = frames["states"].filter(status("active")).group_by("customer_id").agg(start=pl.col("day").min())
    old = joined.filter(pl.col("start") < date(2025, 1, 1)).select("A" + pl.col("customer_id").str.slice(4))
    before = before.filter(
        pl.col("account_ref").is_in(old.to_series().implode()), pl.col("left") > date(2025, 8, 1)
    )  # fmt: skip
    near, far = (before.filter(pl.col("days").is_between(low, low + 59)).height for low in (1, 121))
    assert near < 0.75 * far


def test_detractors_leave_more_often_than_promoters(frames):
    answers = frames["survey_responses"].filter(
        pl.col("survey_id") == "nps", "is_complete", pl.col("responded_at").dt.date() < date(2026, 4, 1)
    ).with_columns(day=pl.col("responded_at").dt.date())  # fmt: skip
    leaves = answers.drop_nulls("account_ref").join(leaving_days(frames), on="account_ref", how="left").with_columns(
        gone=(pl.col("left") - pl.col("day")).is_between(timedelta(0), timedelta(days=180)).fill_null(False)
    )  # fmt: skip
    shares = {
        name: leaves.filter(pl.col("score").is_between(low, high))["gone"].mean()
        for name, low, high in (("detractors", 0, 6), ("promoters", 9, 10))
    }
    assert shares["detractors"] > 1.5 * shares["promoters"]


def test_invoices_of_whole_periods_bill_what_the_states_say(frames):
    """The amount before discounts is price x seats of the state at the start, but for the seats billed too much."""
    billed = lines(frames).filter(
        pl.col("kind") == "recurring", ~pl.col("is_proration"), pl.col("status") != "void",
        pl.col("item_id").is_not_null(),
    ).sort("period_start")  # fmt: skip
    held = frames["states"].sort("effective_at", "change_id").select(
        "item_id", "effective_at", "status", price="unit_amount_minor", seats="quantity"
    )  # fmt: skip
    compared = billed.join_asof(
        held, left_on="period_start", right_on="effective_at", by="item_id", check_sortedness=False, suffix="_of_state"
    ).with_columns(too_much=pl.col("amount_minor") + pl.col("discount_minor") - pl.col("price") * pl.col("seats"))
    assert compared["price"].is_not_null().all()
    assert compared["status_of_state"].is_in(["active", "past_due"]).all()
    different = compared.filter(pl.col("too_much") != 0)
    assert 0 < different.height < 0.005 * compared.height
    corrected = different.join(frames["credit_notes"], on="line_id", how="left", suffix="_credited")
    assert (corrected["amount_minor_credited"] == corrected["too_much"]).all()


def test_lines_of_whole_periods_are_discounted_if_and_only_if_a_discount_runs(frames):
    billed = lines(frames).filter(
        pl.col("kind") == "recurring", ~pl.col("is_proration"), pl.col("item_id").str.ends_with("a"),
        pl.col("amount_minor") + pl.col("discount_minor") > 0, ~pl.col("invoice_id").str.contains("ST-"),
    )  # fmt: skip
    start, begins, ends = pl.col("period_start"), pl.col("starts_at"), pl.col("ends_at")
    running = (
        billed.join(frames["discounts"], on="subscription_id", suffix="_of_discount")
        .filter((begins <= start) & (start < ends).fill_null(True))
        .filter((pl.col("duration") != "once") | (begins == start))
    )
    discounted = set(billed.filter(pl.col("discount_minor") > 0)["line_id"])
    assert len(discounted) > 100
    assert discounted == set(running["line_id"])
