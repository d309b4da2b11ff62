"""How models are trained: plans, the ensemble trainer, and the block store."""
