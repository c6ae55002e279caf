"""`framevit evaluate`, `calibrate` and `compare`: how good a model is, and with what certainty.

Takes a predictor and labelled splits.
Gives metrics with intervals, thresholds, reports and gates.
Must not know how a model was trained.
"""
