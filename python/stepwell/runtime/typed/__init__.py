"""Annotations, compiled: how a value of a type becomes plain, and how decoded JSON becomes the value again."""
