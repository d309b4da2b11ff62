"""Which behaviour did someone hide in it? Backdoors of federated learning (P4)."""
