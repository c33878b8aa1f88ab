"""Data directories, arks, audio files and trial lists."""
