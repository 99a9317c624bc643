"""The decisions, tested without socket, thread, clock or file."""
