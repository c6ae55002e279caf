"""The help topics that `framevit help` prints: one Markdown file each.

Takes a topic's name.
Gives its Markdown, with the tables that are made from the code.
Must not know how the text is shown, and loads nothing that only one topic needs.
"""
