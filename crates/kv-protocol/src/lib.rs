//! Requests and replies as data, the line protocol, and the one table of commands.
