"""What runs: one thin file per job, named by what it does. ``jobs.runtime`` holds what jobs share."""
