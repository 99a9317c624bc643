"""Tests of mirai-serial, a file for each of its files."""
