"""Everything that moves data: sources, assets, the job, the command line. No KPI rules."""
