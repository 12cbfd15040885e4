"""Files of events: which format they have, and how each of their lines becomes an event."""
