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
    "benign_test_accuracy",
    "accuracy_change",
    "bit_error_rate",
    "mape",
    "mape_published",
    "mape_floor",
    "ssim",
    "ssim_published",
    "correlation",
    "token_precision",
    "token_recall",
    "cosine_similarity",
    "capacity_used",
    "lossless_bits",
    "detected",
    "false_alarms",
]
"""A quantity of an attack's ``summary`` that has one value for every seed."""
