"""What all reports share: HTML pages, figures and the model card.

Takes numbers, examples and figures.
Gives HTML pages of one file each, PNG figures, and the text of the model card.
Must not know where the numbers come from, nor torch.
"""
