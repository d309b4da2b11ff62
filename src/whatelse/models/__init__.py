"""Architectures: parameters and forward passes, stacked over models."""
