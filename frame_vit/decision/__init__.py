"""From probabilities to decisions with bounds: pure functions over arrays.

Takes logits, labels and measures of pictures.
Gives temperature, thresholds, rates with intervals, and novelty flags.
Must not know files, data sets, models or torch.
"""
