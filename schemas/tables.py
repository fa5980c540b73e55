"""Every published table by its full name: facts and marts."""

from schemas import facts, marts
from schemas.contract import Contract, table_name

PUBLISHED: dict[str, type[Contract]] = {
    table_name(contract): contract for contract in (*facts.CONTRACTS, *marts.CONTRACTS)
}
