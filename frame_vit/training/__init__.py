"""`framevit train`: from a config to a tested model, safe to interrupt.

Takes a `Config`.
Gives a run folder: checkpoints, the best model, and its evaluation.
Must not know the terminal.
"""
