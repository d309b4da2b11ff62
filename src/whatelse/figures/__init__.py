"""Figures and tables of a study, drawn from what its attacks wrote."""
