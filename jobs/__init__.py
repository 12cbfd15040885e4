"""What runs: one thin file per job, named by what it does. ``jobs.shared`` holds what several of them do alike."""
