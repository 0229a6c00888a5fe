"""Other servers of the same repository: which versions each has proven to have, and where requests may go."""
