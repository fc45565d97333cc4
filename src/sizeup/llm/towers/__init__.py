"""Encoders beside the text model: exact tensors of vision and audio towers, and of what joins them to the text."""
