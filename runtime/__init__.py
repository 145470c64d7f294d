"""How a service lives: settings, the NATS connection, the journal as a stream, start and graceful stop."""
