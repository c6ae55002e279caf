"""The configuration: every key with its default and meaning.

Takes YAML files and `--set` overrides.
Gives one checked, frozen `Config`.
Must not know data sets, models or torch.
"""
