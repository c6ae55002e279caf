"""Classifiers and their metadata: created, loaded, saved.

Takes a hub name or a folder, and a label space.
Gives a `Classifier`: a torch module with its `ModelMetadata` and its image processor.
Must not know data sets, training or predictions.
"""
