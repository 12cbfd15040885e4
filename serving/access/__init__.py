"""Who may ask, how often, and how long a connection may take: keys, roles, sign-in, limits, audit."""
