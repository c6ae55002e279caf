"""`framevit verify`, `monitor` and `review`: what a line's decisions were, and whether the line is still what it was.

Takes the rows that predict wrote, with their records.
Gives findings, control charts and sheets for people.
Must not know how a model was trained, or what computes its answers.
"""
