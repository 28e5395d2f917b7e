"""From features to responses: exact ridge, and what chooses its layer."""
