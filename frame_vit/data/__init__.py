"""Data sets, from the name of a source to splits of decoded, labelled examples.

Takes a source (hub name, folder, file) and the `data` section of a config.
Gives a `Dataset`: the label space, and splits whose pixels are memory-mapped.
Must not know models, training or torch.
"""
