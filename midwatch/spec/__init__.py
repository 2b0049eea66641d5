"""The platform file: strict models, values people write, and loading with every problem named."""
