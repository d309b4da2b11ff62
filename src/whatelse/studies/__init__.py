"""Studies: the grammar of a study file, and what it resolves to."""
