"""The machine: files, devices, processes, signals, the hub, and how progress is reported.

Takes nothing from the other folders.
Gives what any stage may need of the machine it runs on.
Must not know pictures, labels, models or the terminal.
"""
