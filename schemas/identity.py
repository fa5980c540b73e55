"""Source contracts of identity: which ids mean the same account, and which accounts do not count."""

import polars as pl

from schemas.contract import Contract, optional, required


class IdentityMap(Contract, table="identity_map", key=("source", "source_id")):
    """One row per id of a source system and the account that it belongs to."""

    source: pl.String = required("Source system as named in sources.yaml; `*` for any.")
    source_id: pl.String = required("Id in that system.", personal=True)
    account_id: pl.String = required("Account.")


class ExcludedAccounts(Contract, table="excluded_accounts", key=("account_id",)):
    """One row per account that no KPI counts."""

    account_id: pl.String = required("Account.")
    reason: pl.String = required("test, internal, partner or another reason.")
    note: pl.String = optional("Free text.")


CONTRACTS: tuple[type[Contract], ...] = (IdentityMap, ExcludedAccounts)
