"""Was this record in the training data? Shokri et al., S&P 2017, and after."""
