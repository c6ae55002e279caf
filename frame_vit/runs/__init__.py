"""Run folders: found, numbered, described, resumed.

Takes a name or path that a person gave, or the facts that a training writes into its folder.
Gives paths, checkpoints, history, and the split that a model is evaluated on.
Must not know how a model is trained or evaluated.
"""
