"""The configuration: every key with its default and meaning.

Takes a YAML file and `--set` overrides.
Gives one frozen `Config` whose keys do not contradict each other.
Must not know data sets, models or torch.
"""
