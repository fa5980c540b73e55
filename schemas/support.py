"""Source contracts of support tools: tickets, replies and ratings of educational resources."""

import polars as pl

from schemas.contract import Contract, Instant, optional, required


class Tickets(Contract, table="tickets", key=("ticket_id",)):
    """One row per support ticket."""

    ticket_id: pl.String = required("Identifier of the ticket.")
    account_ref: pl.String = optional("Account, organisation or customer of the requester.")
    type: pl.String = optional("Issue type; `untyped` where absent.")
    severity: pl.String = optional("low, normal, high or urgent.", isin=("low", "normal", "high", "urgent"))
    status: pl.String = optional("open, pending, solved or closed.", isin=("open", "pending", "solved", "closed"))
    created_at: Instant = required("When it was created.")
    solved_at: Instant = optional("When it was solved.")
    csat_score: pl.Int64 = optional(
        "Rating of the support, 1 (bad) to 5 (good).", in_range={"min_value": 1, "max_value": 5}
    )
    is_excluded: pl.Boolean = optional("True for spam, tests and merged tickets, which no KPI counts.")


class TicketReplies(Contract, table="ticket_replies", key=("reply_id",)):
    """One row per reply on a ticket."""

    reply_id: pl.String = required("Identifier of the reply.")
    ticket_id: pl.String = required("Ticket.")
    replied_at: Instant = required("When it was written.")
    author: pl.String = required("agent, requester or system.", isin=("agent", "requester", "system"))
    is_public: pl.Boolean = required("False for a private note.")
    is_auto: pl.Boolean = optional("True for an automatic reply.")


class ResourceRatings(Contract, table="resource_ratings", key=("view_id",)):
    """One row per view of an educational resource, with its rating if one was given."""

    view_id: pl.String = required("Identifier of the view.")
    resource_id: pl.String = required("Resource viewed.")
    account_ref: pl.String = optional("Account or customer of the reader.")
    viewed_at: Instant = required("When it was viewed.")
    rating: pl.Int64 = optional("Rating from 1 to 5.", in_range={"min_value": 1, "max_value": 5})
    is_helpful: pl.Boolean = optional("Answer to `was this helpful`.")


CONTRACTS: tuple[type[Contract], ...] = (Tickets, TicketReplies, ResourceRatings)
