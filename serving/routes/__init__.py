"""What is asked of the server: one module with a ``router`` per concern, included by ``app.py``."""
