"""`framevit explain`: where a model looks.

Takes a predictor with weights, and pictures.
Gives attention maps, and the share of them that lies inside the boxes of the parts.
Must not know thresholds or training.
"""
