"""The page: it asks the same package that the command line asks, on this machine or in the browser."""
