"""Does a model carry its training data: payloads in its file and in its answers."""
