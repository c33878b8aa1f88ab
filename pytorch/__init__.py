"""The library of embark: data directories, arks, features, networks, training, scoring.

Lower modules never import higher ones: program, files, progress, marker, jobs < data < features < models < losses < training < extraction;
backend and metrics stand beside them.
"""
