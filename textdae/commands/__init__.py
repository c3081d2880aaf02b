"""The commands, each in one file."""
