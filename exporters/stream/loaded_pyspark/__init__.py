"""PySpark's daemon with what workers run loaded; by its name who looks for `pyspark.daemon` finds the workers."""
