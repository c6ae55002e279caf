"""From probabilities to decisions with statistical bounds: pure functions over arrays.

Takes logits, labels and features of pictures.
Gives a temperature, thresholds, verdicts, rates with intervals, and novelty flags.
Must not know files, data sets, models or torch.
"""
