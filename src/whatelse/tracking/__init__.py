"""Tracking: a view of the results in MLflow. The files stay the truth."""
