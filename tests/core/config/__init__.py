"""Tests of mirai.config."""
