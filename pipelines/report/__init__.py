"""The report: one HTML page of a published release, and the portrait of one account. It shows; it reckons no KPI."""

LANGUAGES = ("en", "es", "pt")
