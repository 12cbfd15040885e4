"""Formats of files of events: one file a format, and the registry that names them."""
