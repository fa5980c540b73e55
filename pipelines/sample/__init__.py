"""The embedded sample company: an invented business whose data shows every rule at work. `docs/sample-company.md`."""

from pipelines.sample.company import sample_company

__all__ = ["sample_company"]
