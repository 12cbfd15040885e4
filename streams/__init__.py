"""Streaming queries: how one is started, how far each has come, and by which rules it goes."""
