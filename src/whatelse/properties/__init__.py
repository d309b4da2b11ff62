"""The question which properties a model picked up that its task never asked for.

Melis et al., S&P 2019 (P3): participants of collaborative learning see more of each
other's data than they were told.
"""
