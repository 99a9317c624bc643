"""YAML profiles: found, read, checked, and set."""
