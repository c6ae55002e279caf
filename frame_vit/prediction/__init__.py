"""`framevit predict`: pictures in, one row for each out.

Takes files, folders, data sets or a watched folder, and a model by name.
Gives predictions in the order of the inputs, and files of rows that can be continued.
Must not know reports, metrics or training.
"""
