"""The one pixel path, from an encoded file to the array that a model reads.

Takes files or bytes, and a `Preprocessing`.
Gives uint8 arrays at the model's size, views of them, and what can be measured of them.
Must not know labels, data sets or models.
"""
