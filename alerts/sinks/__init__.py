"""Where alerts are sent: one file a sink, and the registry that settings name them by."""
