"""Where shards of offers live and passes over them run."""
