"""Pictures, from an encoded file to the array that a model reads: the same way for training and prediction.

Takes files or bytes, and a `Preprocessing`.
Gives uint8 arrays at the model's size, views of them, and measures such as light and sharpness.
Must not know labels, data sets or models.
"""
