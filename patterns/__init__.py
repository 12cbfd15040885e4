"""Common behaviour found and put into words: frequent paths, steps against chance, segments of sessions and users.

Pure: frames and numbers in, numbers and sentences out; but for ``tables`` and ``report_files``, which read and write.
"""
