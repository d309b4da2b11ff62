"""Published numbers held beside ours: claims, verdicts and the table of both."""
