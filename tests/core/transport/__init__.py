"""Each transport, and what all of them promise."""
