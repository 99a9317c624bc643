"""What users call: thin, documented, no sockets."""
