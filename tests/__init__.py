"""Tests: real processes where only they can tell, fakes elsewhere."""
