"""The clients of one generator process, from their sockets to the crowd of a gathering."""
