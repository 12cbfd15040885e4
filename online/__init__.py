"""The online view: what the server answers about one person, kept by person beside the tables."""
