"""What people and pages talk to over HTTP: one app (``app.py``), one router per concern."""
