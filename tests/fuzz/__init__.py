"""Generated client messages against the real transport, session and core, and over real sockets."""
