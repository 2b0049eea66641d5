"""What is published: the metrics of models, from prediction and label events."""
