"""The decisions: plain values in, plain values out; no socket, thread, clock or file."""
