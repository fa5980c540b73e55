"""When the digest is sent, and to whom: by the first run that publishes in a day, week or month. docs/operations.md."""

from collections.abc import Sequence
from datetime import date, timedelta

from pipelines import sending
from pipelines.config import DigestPlan, Settings
from pipelines.journal import RunRecord
from pipelines.report import output
from pipelines.run import published_dir
from pipelines.sending import Message
from warehouse.publish import open_published


def is_due(every: str, record: RunRecord, former: Sequence[RunRecord]) -> bool:
    """Whether a run that ended sends the digest: it published, as the first in its day, week or month or after it."""
    begin = _begin(every, record.as_of)
    published = [one for one in former if one.outcome == "published"]
    return record.outcome == "published" and all(_begin(every, one.as_of) < begin for one in published)


def send(settings: Settings, plan: DigestPlan) -> list[str]:
    """Sends the digest of the published release; why it could not, by channel. Raises what making it raises."""
    with open_published(published_dir(settings)) as con:
        made = output.digest(con, settings, plan.language)
    return sending.send(plan, Message("digest", f"kpis: {made.title}", made.markdown, made.html))


def _begin(every: str, as_of: date) -> date:
    """The first day of the day, week or month on which the numbers up to `as_of` are read: the day after it."""
    read_on = as_of + timedelta(days=1)
    if every == "week":
        return read_on - timedelta(days=read_on.weekday())
    return read_on.replace(day=1) if every == "month" else read_on
