"""What people and pages talk to over HTTP: one app (``app.py``), one router per concern (``routes/``).

``access/`` says who may ask and how often, ``requests/`` what was sent, ``responses/`` what is answered, and ``page/``
is the live page.
"""
