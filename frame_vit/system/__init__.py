"""The machine: files, locks, caches, devices, process groups, interrupts, the hub, progress, and `doctor`'s diagnosis.

Takes nothing from the other folders, only paths, names and the environment.
Gives what any stage may need of the machine it runs on.
Must not know pictures, labels, models or the terminal.
"""
