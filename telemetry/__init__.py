"""What running programs tell of themselves: log lines, metrics, and how long each step takes."""
