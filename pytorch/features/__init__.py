"""Kaldi's features, voice activity detection and mean normalisation."""
