"""What else has the model learned? Privacy and integrity measurements of models."""

__version__ = "0.1.0"
