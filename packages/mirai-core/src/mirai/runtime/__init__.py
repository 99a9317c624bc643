"""The loops that carry events between protocol and transport."""
