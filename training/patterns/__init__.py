"""Common behaviour found and put into words: frequent paths, steps against chance, segments of sessions and users.

Pure: frames and numbers in, numbers and sentences out. ``jobs/mine_patterns`` reads and writes the tables.
"""
