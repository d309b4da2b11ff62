"""What is learned from: registry, loaders, and the data set artefact."""
