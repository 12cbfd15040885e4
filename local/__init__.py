"""A whole platform on one machine: the embedded broker, processes beside a run, and what a run shows."""
