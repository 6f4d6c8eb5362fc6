//! The server: listeners, sessions, configuration, shutdown.
