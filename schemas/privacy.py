"""Which columns tell who somebody is, and what becomes of them when a person is erased."""

from schemas.contract import Contract, column_specs

PERSON_IDS = ("respondent_id", "user_id", "source_id")
"""Personal ids that are part of a key or join rows: a pseudonym takes their place. Other personal columns go blank."""

ACCOUNT_IDS = ("customer_id", "account_ref", "account_id", "parent_account_id")
"""Ids that the KPIs go by. They stay, unless they are an address: then a pseudonym takes their place."""

ADDRESSES = ("email",)


def blanked_columns(contract: type[Contract]) -> list[str]:
    """The columns of a table that are blank in the rows of an erased person."""
    return [spec.name for spec in column_specs(contract) if spec.personal and spec.name not in PERSON_IDS]
