"""Every source contract by table name, and how ids of a table lead to an account."""

from schemas import billing, crm, finance, identity, support, surveys, usage
from schemas.contract import Contract, table_name

SYSTEMS: dict[str, tuple[type[Contract], ...]] = {
    "billing": billing.CONTRACTS,
    "crm": crm.CONTRACTS,
    "surveys": surveys.CONTRACTS,
    "support": support.CONTRACTS,
    "usage": usage.CONTRACTS,
    "finance": finance.CONTRACTS,
    "identity": identity.CONTRACTS,
}

CONTRACTS: dict[str, type[Contract]] = {table_name(c): c for contracts in SYSTEMS.values() for c in contracts}

SYSTEM_OF: dict[str, str] = {table_name(c): system for system, contracts in SYSTEMS.items() for c in contracts}
