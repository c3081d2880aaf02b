"""Typed settings, and the reader of YAML files and `key=value` overrides."""
