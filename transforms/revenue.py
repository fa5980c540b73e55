"""Revenue per customer: ARPA and ARR. Definitions section 6."""

import polars as pl

from schemas.currencies import EXPONENTS
from schemas.policy import Policy
from transforms.rates import Rate, with_rates
from transforms.slices import SLICE


def revenue_per_customer(movements: pl.DataFrame, policy: Policy) -> pl.DataFrame:
    """ARR, MRR and ARPA per slice, from the net series of `movement_slices`.

    Grain: grain x period_start x basis x currency x dimension x member. `arpa` is closing MRR per paying customer in
    major units of `currency` a month; its numerator is closing ARR in annualised minor units. MRR measures in major
    units stand beside the exact `*_arr_minor`. Definitions sections 2 and 6.
    """
    net = movements.filter(pl.col("series") == "net")
    unit = pl.lit(10.0).pow(pl.col("currency").replace_strict(EXPONENTS, return_dtype=pl.Int64))
    measures = {
        "arr_minor": "closing_arr_minor",
        "arr_list_minor": "closing_arr_list_minor",
        "arr_committed_minor": "closing_arr_committed_minor",
        "arr_past_due_minor": "closing_arr_past_due_minor",
        "arr_renewal_grace_minor": "closing_arr_renewal_grace_minor",
    }
    rows = net.select(
        "grain",
        "period_start",
        "period_end",
        "is_complete",
        "basis",
        "currency",
        *SLICE,
        paying_customers="closing_paying_customers",
        **measures,
        arr=pl.col("closing_arr_minor") / unit,
        **{
            name.replace("arr", "mrr").removesuffix("_minor"): pl.col(source) / 12 / unit
            for name, source in measures.items()
        },
    ).rename({"mrr": "mrr_net"})
    arpa = Rate("arpa", pl.col("arr_minor"), pl.col("paying_customers"))
    return with_rates(rows, [arpa], pl.col("paying_customers"), policy.small_n).with_columns(
        arpa=pl.col("arpa") / 12 / unit
    )
