"""One file a change of the tables; none is edited once it was released."""
