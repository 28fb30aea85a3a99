"""The only room that knows file formats and column names."""
