"""What is published: model metrics from prediction and label events, and instruments for model servers."""
