"""Records that others make: of other schemas, several in one, packed or encoded -> the events in them."""
