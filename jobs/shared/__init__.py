"""What several jobs do alike and nothing else needs."""
