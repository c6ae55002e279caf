"""The command line: parse, call one function, print. The only folder that imports typer and rich.

Takes words, files and flags.
Gives tables, JSON, progress and exit codes.
Must not know how anything is computed.
"""
