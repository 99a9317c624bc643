"""Bytes between processes: URLs in, connected sockets out; knows nothing of tasks."""
