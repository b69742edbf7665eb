"""What is done to whole studies of a database: they are deleted, renamed, copied and compared."""
