"""One module per source or family of sources; ``prepare`` imports the one it runs."""
