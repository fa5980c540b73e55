"""The headline KPIs of a published release, and any KPI by period or member, as rows ready to print."""
