"""Run folders: found, numbered, locked, described, and taken up again.

Takes a place that a person names, or what a training writes down.
Gives paths, checkpoints, history, and the split that a model is to be judged on.
Must not know how a model is trained or judged.
"""
