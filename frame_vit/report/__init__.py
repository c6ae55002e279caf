"""What pages and pictures share.

Takes numbers, examples and figures.
Gives HTML pages in one file, PNG pictures, and the model card.
Must not know where the numbers come from, nor torch.
"""
