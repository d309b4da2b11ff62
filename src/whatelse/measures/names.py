"""What figures draw and claims judge, by name."""

from typing import Literal

Metric = Literal[
    "precision",
    "recall",
    "accuracy",
    "auc",
    "train_accuracy",
    "test_accuracy",
    "class_precision_mean",
    "class_precision_median",
    "class_recall_median",
]
"""A quantity of an attack's ``summary`` that has one value for every seed."""
