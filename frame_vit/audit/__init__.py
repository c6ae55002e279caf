"""`framevit prepare`: what is wrong with the data, before it is trained on.

Takes a `Dataset`.
Gives findings with codes, audit.json, audit.html and a list of rows to leave out.
Must not know models that are trained, or torch.
"""
