"""`framevit explain`: where a model looks.

Takes a predictor with weights, and pictures.
Gives attention maps, and how much of them lies inside the boxes.
Must not know thresholds or training.
"""
