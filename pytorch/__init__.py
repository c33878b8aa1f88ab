"""The library of embark: data directories, arks, features, networks, training, scoring.

Lower modules never import higher ones: program, files, progress, marker < data < jobs, features, models, losses < experiment, extraction < training < report;
backend, metrics and engines stand beside data.
"""
