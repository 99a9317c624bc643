"""Serializers for mirai: one module for each library whose objects it cannot pickle, or not cheaply."""
