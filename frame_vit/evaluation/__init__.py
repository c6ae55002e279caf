"""`framevit evaluate`, `calibrate` and `compare`: how good a model is, and how certain that is.

Takes a predictor and labelled splits.
Gives metrics with intervals, thresholds, reports and gates.
Must not know how a model was trained.
"""
