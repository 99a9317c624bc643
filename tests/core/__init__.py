"""Tests of mirai-core, a file for each of its files."""
