"""Sources by configuration: files are read as they came (`files`), then mapped to canonical columns (`mapping`)."""
