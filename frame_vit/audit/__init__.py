"""The audit of a data set: `framevit prepare` reports what is wrong with it before a model is trained on it.

Takes a config, and the `Dataset` that it names.
Gives findings with codes, audit.json, audit.html and a list of rows to exclude.
Must not know trained models or torch.
"""
