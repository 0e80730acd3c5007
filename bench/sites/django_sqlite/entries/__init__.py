"""The application of the table."""
