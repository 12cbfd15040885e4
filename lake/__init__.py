"""Delta tables: where they are, how they are read, written, committed to and followed, with Spark and without.

The only code that knows where a table lives (``tests/unit/docs/test_rooms.py`` holds it to that). From the bottom up:
:mod:`~lake.location` and :mod:`~lake.folders`, :mod:`~lake.snapshot` and :mod:`~lake.log`, and the readers and writers
on these: :mod:`~lake.spark_tables` with Spark; :mod:`~lake.arrow_tables`, :mod:`~lake.reader`, :mod:`~lake.tail`
without it; :mod:`~lake.worker_files` and :mod:`~lake.person_rows` in Spark's Python workers.
"""
