"""Data sets, from what a person names to splits of decoded examples.

Takes a source (hub name, folder, file) and the `data` section of a config.
Gives a `Dataset`: a label space, and splits whose pixels are memory-mapped.
Must not know models, training or torch.
"""
