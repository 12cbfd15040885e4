"""Erasure and pseudonyms: who is erased, where they are named, and how each trace of them is found."""
