"""Tests of mirai-launchers, a file for each of its files."""
