"""What a micro-batch does: records become events, tiles, features and scores, step by step or in one pass."""
