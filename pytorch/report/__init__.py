"""The page of an experiment: what is read, drawn and written."""
