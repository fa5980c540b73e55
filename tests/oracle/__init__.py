"""An independent, slow reckoning of the MRR core, to hold the fast one against."""
